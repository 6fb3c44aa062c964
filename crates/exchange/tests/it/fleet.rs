//! Several instances of one exchange, on one PostgreSQL and one Redis, and a crowd that asks them all at once.

use crate::client::{Answer, Connection, JSON, wire};
use crate::database::Postgres;
use crate::server::{Home, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::net::SocketAddr;

const FLAGS: &[&str] = &["--workers", "2"];

/// Three instances.
pub(crate) struct Fleet {
    pub(crate) instances: Vec<Server>,
    /// Goes after them.
    _postgres: Postgres,
}

impl Fleet {
    /// With the usual catalogue, at most 3 requests an address, and these settings.
    pub(crate) fn start(redis_url: &str, settings: &[(&str, &str)]) -> Self {
        let postgres = Postgres::new();
        let home = || Home::empty().set("BOURSE_DATABASE_URL", &postgres.url);
        drop(home().usual());
        let start = |_| {
            let home = shared(home(), redis_url);
            let home = settings.iter().fold(home, |home, (name, value)| home.set(name, value));
            home.serve_with(FLAGS)
        };
        Self { instances: (0..3).map(start).collect(), _postgres: postgres }
    }

    /// Ends an instance by SIGTERM and starts it again where it was.
    pub(crate) fn restart(&mut self, instance: usize) {
        let server = self.instances.remove(instance);
        let address = server.address;
        self.instances.insert(instance, server.stop().serve_at(address, FLAGS));
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.address).collect()
    }
}

/// The home of an instance that keeps a limit of 3 with others, and may wait for Redis on the busiest machine.
pub(crate) fn shared(home: Home, redis_url: &str) -> Home {
    home.set("BOURSE_REDIS_URL", redis_url)
        .set("BOURSE_RATE_LIMIT_REQUESTS", &3)
        .set("BOURSE_REDIS_TIMEOUT_MS", &2000)
}

/// The body of a request that has all the time that Redis may take.
pub(crate) fn patient_bid(ip: &str) -> String {
    json!({"supply_id": "supply1", "ip": ip, "country": "US", "tmax": 5000}).to_string()
}

/// Clients that are connected, and ask at once.
pub(crate) struct Crowd(Vec<Connection>);

impl Crowd {
    pub(crate) fn of(clients: usize, address: SocketAddr) -> Self {
        let limit = getrlimit(Resource::Nofile);
        // Refused, it stays as it is, and the connections say whether it was enough.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        Self((0..clients).map(|_| Connection::open(address)).collect())
    }

    /// What each of them is told.
    pub(crate) fn bid(&mut self, body: &str) -> Vec<Answer> {
        let wire = wire("POST", "/bid", JSON, body.as_bytes());
        self.0.iter_mut().for_each(|client| client.send(&wire));
        self.0.iter_mut().map(|client| client.next().expect("an answer")).collect()
    }
}
