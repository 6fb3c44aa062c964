//! `bourse health`: asks a running server whether requests should be sent to it.
//!
//! * Whom: the address of the setting `listen`, on this machine; or the one of a URL.
//! * Exit: 0 if it says yes. Errors: one line with what it says, or why it cannot be asked.

use crate::config::Config;
use anyhow::{Context, Result, anyhow, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take: an orchestrator asks every few seconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// The page that says it.
const PAGE: &str = "/health/ready";
/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Asks, and says what the answer was.
pub fn run(config: &Config, url: Option<&str>) -> Result<()> {
    let url = match url {
        Some(url) => read_url(url)?,
        None => url_of(config.listen)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let answer = runtime.block_on(ask(&url))?;
    ensure!(answer.is_ready, "{url} says {}", answer.status);
    println!("{url} says {}", answer.status);
    Ok(())
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether requests should be sent to it.
    pub is_ready: bool,
    /// `ok`, or why not.
    pub status: String,
}

/// Where a server that listens at `listen` is asked from its own machine.
pub fn url_of(listen: SocketAddr) -> Result<Uri> {
    ensure!(listen.port() != 0, "listen: port 0 may have become any; name the server with --url");
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    read_url(&format!("http://{}", SocketAddr::new(ip, listen.port())))
}

/// The URL of the page to ask; one without a path is a server's.
fn read_url(url: &str) -> Result<Uri> {
    let wanted = || anyhow!("--url: {url:?} is none; write http://HOST:PORT");
    let uri: Uri = url.parse().map_err(|_| wanted())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        bail!(wanted());
    }
    if uri.path() != "/" {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PAGE.parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// Asks the page.
pub async fn ask(url: &Uri) -> Result<Answer> {
    let asked = timeout(PATIENCE, get(url)).await;
    let answer = asked.map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs())).flatten();
    answer.with_context(|| {
        format!(
            "{url} does not answer; start the server, or name where it listens with --url or BOURSE_LISTEN"
        )
    })
}

async fn get(url: &Uri) -> Result<Answer> {
    let authority = url.authority().context("it names no host")?;
    // An IPv6 address stands in brackets in a URL only.
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let page = url.path_and_query().map_or(PAGE, |page| page.as_str());
    let request = Request::get(page).header(HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let read = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
        let body = read.map_err(|error| anyhow!("its answer cannot be read: {error}"))?.to_bytes();
        let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let status = said.as_ref().and_then(|said| said["status"].as_str());
        let status = status.map_or_else(|| head.status.to_string(), str::to_owned);
        Ok(Answer { is_ready: head.status.is_success(), status })
    };
    // The connection ends with its sender, when the answer has been read, or breaks.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_this_machine_reaches_it() {
        for (listen, expected) in [
            ("127.0.0.1:8000", Some("http://127.0.0.1:8000/health/ready")),
            ("0.0.0.0:8001", Some("http://127.0.0.1:8001/health/ready")),
            ("[::]:8002", Some("http://[::1]:8002/health/ready")),
            ("192.0.2.7:80", Some("http://192.0.2.7:80/health/ready")),
            ("127.0.0.1:0", None),
        ] {
            let url = url_of(listen.parse().unwrap()).ok().map(|url| url.to_string());
            assert_eq!(url.as_deref(), expected, "{listen}");
        }
    }

    #[test]
    fn a_url_names_a_server_or_a_page_of_one() {
        for (url, expected) in [
            ("http://db:9", Some("http://db:9/health/ready")),
            ("http://db/", Some("http://db/health/ready")),
            ("http://db:9/health/live", Some("http://db:9/health/live")),
            ("https://db", None),
            ("db:9", None),
            ("/health", None),
            ("http://", None),
        ] {
            assert_eq!(read_url(url).ok().map(|url| url.to_string()).as_deref(), expected, "{url}");
        }
    }
}
