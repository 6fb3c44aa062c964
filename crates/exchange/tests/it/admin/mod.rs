//! The admin API: who gets in, what a change does and leaves behind, and what it shows.

mod edit;
mod guard;
mod load;
mod operate;

use crate::client::{Answer, Connection};
use crate::server::{Home, Server};
use serde_json::Value;
use std::net::SocketAddr;

/// A server with an admin API, and a token for it.
struct Admin {
    server: Server,
    address: SocketAddr,
    token: String,
    digest: String,
}

/// A token and its sum.
fn token(home: &Home) -> (String, String) {
    let made: Value = serde_json::from_str(&home.run(&["admin", "token", "--json"]).done()).unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("token"), text("token_sha256"))
}

impl Admin {
    /// In a home that has a catalogue.
    fn start(home: Home) -> Self {
        let (token, digest) = token(&home);
        let home = home.set("BOURSE_ADMIN_LISTEN", "127.0.0.1:0").set("BOURSE_ADMIN_TOKEN_SHA256", &digest);
        let server = home.serve();
        let address = server.ready.split("admin API: http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok()).expect(&server.ready);
        Self { server, address, token, digest }
    }

    fn usual() -> Self {
        Self::start(Home::empty().usual())
    }

    /// A request with the token.
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers =
            [&[("authorization", &*bearer), ("content-type", "application/json")], headers].concat();
        self.ask_as(method, path, &headers, body)
    }

    /// A request with nothing but these headers.
    fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        Connection::open(self.address).request(method, path, headers, body.as_bytes())
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// A change that is made and in force.
    #[track_caller]
    fn make(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.ask(method, path, &[], &text);
        assert!([200, 201].contains(&answer.status), "{method} {path}: {}", answer.text());
        let changed = answer.json();
        assert!(changed["in_force"] != Value::Bool(false), "{changed}");
        changed
    }

    /// Every line of the audit log.
    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.server.home.data_dir().join("audit.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}
