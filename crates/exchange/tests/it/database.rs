//! Databases to test with: a new one for each test, on either engine, and a way to one that can be cut.

use crate::server::Home;
use sqlx::{Connection as _, PgConnection, Row as _};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The server that `cargo xtask test` has started.
fn server_url() -> String {
    std::env::var("BOURSE_TEST_POSTGRES_URL")
        .expect("BOURSE_TEST_POSTGRES_URL is not set: run cargo xtask test, which starts PostgreSQL")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn execute(url: &str, sql: &str) -> Vec<String> {
    block_on(async {
        let mut connection = PgConnection::connect(url).await.expect("a connection to PostgreSQL");
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    })
}

/// A new database of the PostgreSQL server; dropped when dropped.
pub(crate) struct Postgres {
    name: String,
    pub(crate) url: String,
}

impl Postgres {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bourse_it_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let server = server_url();
        execute(&server, &format!("CREATE DATABASE {name}"));
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        Self { name, url }
    }

    /// The first column of what this gives, as text.
    pub(crate) fn sql(&self, sql: &str) -> Vec<String> {
        execute(&self.url, sql)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that fails before a server is there has nothing to drop.
        if let Ok(server) = std::env::var("BOURSE_TEST_POSTGRES_URL") {
            execute(&server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// Does the same on an empty SQLite and on an empty PostgreSQL.
pub(crate) fn on_both(check: impl Fn(Home)) {
    check(Home::empty());
    let postgres = Postgres::new();
    check(Home::empty().set("BOURSE_DATABASE_URL", &postgres.url));
}

/// A way to the database of `url` that can be cut and mended.
pub(crate) struct Way {
    pub(crate) url: String,
    is_cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    pub(crate) fn to(url: &str) -> Self {
        let (user, rest) = url
            .split_once("://")
            .map(|(_, rest)| rest.rsplit_once('@').unwrap_or(("postgres", rest)))
            .unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let server: SocketAddr = host.replace("localhost", "127.0.0.1").parse().expect(host);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = Self {
            url: format!("postgres://{user}@{address}/{name}"),
            is_cut: Arc::default(),
            streams: Arc::default(),
        };
        let (is_cut, streams) = (Arc::clone(&way.is_cut), Arc::clone(&way.streams));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let ends = [client.try_clone(), server.try_clone()].map(Result::unwrap);
                let mut streams = streams.lock().unwrap();
                // Cut, it hangs up on whoever calls; asked under the lock, for none may slip past a cut.
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                streams.extend(ends);
                drop(streams);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || carry(from, to));
                thread::spawn(move || carry(server, client));
            }
        });
        way
    }

    pub(crate) fn cut(&self) {
        let mut streams = self.streams.lock().unwrap();
        self.is_cut.store(true, Ordering::SeqCst);
        streams.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    pub(crate) fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
