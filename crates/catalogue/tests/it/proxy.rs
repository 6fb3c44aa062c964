//! A way to PostgreSQL that breaks once, just when a transaction is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where the first COMMIT ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It never reaches the server.
    BeforeCommit,
    /// The server's answer never comes back.
    AfterCommit,
}

/// The URL of a proxy to the server of `url`.
pub(crate) async fn proxy(url: &str, cut: Cut) -> String {
    let (before, rest) = url.split_once('@').unwrap();
    let server = rest.split_once('/').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("{before}@{}/", listener.local_addr().unwrap());
    let done = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(carry(client, server, cut, Arc::clone(&done)));
        }
    });
    through
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    cut: Cut,
    done: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let bytes = &asked[..read?];
                let commit = bytes.windows(6).any(|word| word == b"COMMIT");
                let now = commit && !done.swap(true, Ordering::Relaxed);
                if bytes.is_empty() || (now && cut == Cut::BeforeCommit) {
                    return Ok(());
                }
                server.write_all(bytes).await?;
                if now {
                    // The answer shows that it is committed; nobody else sees it.
                    let _ = server.read(&mut answered).await?;
                    return Ok(());
                }
            }
            read = server.read(&mut answered) => {
                let bytes = &answered[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}
