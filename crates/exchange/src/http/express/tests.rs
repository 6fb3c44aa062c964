//! The plain form, by a table and against hyper.

use super::super::bid::declared_as_json;
use super::super::connection::HEAD_MAX;
use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use streams::{Dice, stream};

#[path = "../../../tests/it/chaos/streams.rs"]
mod streams;

const WANTED: Wanted = Wanted { key: RateLimitKey::Body, parent: true };

fn plain(request: &str) -> Option<&str> {
    let plain = Plain::read(request.as_bytes(), WANTED, 100).ok()?;
    std::str::from_utf8(plain.body).ok()
}

#[test]
fn only_the_plain_form_is_taken() {
    let with = |headers: &str, body: &str| format!("POST /bid HTTP/1.1\r\n{headers}\r\n{body}");
    for (headers, body, expected) in [
        ("Host: a\r\nContent-Length: 2\r\n", "{}", Some("{}")),
        ("host: a\r\ncontent-length: 2\r\ncontent-type: Application/JSON\r\n", "{}", Some("{}")),
        ("Host: a\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\nX-Any: y\r\n", "{}more", Some("{}")),
        ("Host: a\r\nContent-Length: 0\r\n", "", Some("")),
        // Not whole, or too long.
        ("Host: a\r\nContent-Length: 3\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 101\r\n", &" ".repeat(101), None),
        // Framed in another way, or in none.
        ("Host: a\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n", "{}", None),
        ("Host: a\r\nContent-Length: +2\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2, 2\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n", "{}", None),
        // More than a plain request says.
        ("Content-Length: 2\r\n", "{}", None),
        ("Host: a\r\nHost: a\r\nContent-Length: 2\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nConnection: close\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nUpgrade: h2c\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n", "{}", None),
        ("Host: a\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n", "{}", None),
        ("Host : a\r\nContent-Length: 2\r\n", "{}", None),
        ("Host: a\r\n folded\r\nContent-Length: 2\r\n", "{}", None),
    ] {
        assert_eq!(plain(&with(headers, body)), expected, "{headers}");
    }
    for line in ["POST /bid HTTP/1.0", "GET /bid HTTP/1.1", "POST /bid?a HTTP/1.1", "POST /bids HTTP/1.1"] {
        assert_eq!(plain(&format!("{line}\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}")), None, "{line}");
    }
}

#[test]
fn a_length_is_digits_and_nothing_else() {
    for (text, expected) in
        [("0", Some(0)), ("007", Some(7)), ("65536", Some(65_536)), ("999999", Some(999_999))]
            .into_iter()
            .chain(["", "-1", "+1", "1 ", "1234567", "0x1"].map(|text| (text, None)))
    {
        assert_eq!(decimal(text.as_bytes()), expected, "{text}");
    }
}

/// Every request that hyper reads from these bytes, in order; up to the first that ends the connection.
fn read_by_hyper(runtime: &tokio::runtime::Runtime, bytes: &[u8]) -> Vec<(Parts, Bytes)> {
    let requests = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(Collected::to_bytes);
        // A body that breaks off makes no request.
        requests.borrow_mut().extend(body.ok().map(|body| (head, body)));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut http = hyper::server::conn::http1::Builder::new();
        // Bytes that are no request are an error here.
        let _ = http
            .half_close(true)
            .max_header_size(HEAD_MAX)
            .serve_connection(TokioIo::new(server), service)
            .await;
    });
    requests.into_inner()
}

/// What makes the express lane right: what it takes, hyper reads the same, asks for the same page and goes on.
#[test]
fn hyper_reads_every_plain_request_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cases = std::env::var("BOURSE_TEST_CASES").map_or(20_000, |cases| cases.parse().unwrap());
    let seed = u64::from(std::process::id());
    let (mut plain_ones, mut others) = (0, 0);
    for case in 0..cases {
        let bytes = stream(&mut Dice(seed << 32 | case));
        let mut at = 0;
        let mut plain = Vec::new();
        // No more than what is read at once.
        let read_at_once = |at: usize| &bytes[at..bytes.len().min(at + READ_BYTES)];
        while let Ok(next) = Plain::read(read_at_once(at), WANTED, 65_536) {
            at += next.bytes;
            plain.push(next.body);
        }
        if plain.is_empty() {
            others += 1;
            continue;
        }
        let read = read_by_hyper(&runtime, &bytes);
        let shown = || format!("case {case} of seed {seed}: {}", bytes.escape_ascii());
        assert!(read.len() >= plain.len(), "hyper reads {} of {}, {}", read.len(), plain.len(), shown());
        for ((head, body), plain) in read.iter().zip(&plain) {
            let page = (&head.method, head.uri.path_and_query().map(|path| path.as_str()));
            assert_eq!(page, (&Method::POST, Some("/bid")), "{}", shown());
            assert_eq!(
                (head.version, body),
                (Version::HTTP_11, &Bytes::copy_from_slice(plain)),
                "{}",
                shown()
            );
            assert_eq!(head.headers.get_all(HOST).iter().count(), 1, "{}", shown());
            assert!(!head.headers.contains_key(TRANSFER_ENCODING), "{}", shown());
            assert!(declared_as_json(&head.headers).is_ok(), "{}", shown());
            plain_ones += 1;
        }
    }
    println!(
        "{cases} streams of seed {seed}: {plain_ones} plain requests, {others} streams without one first"
    );
    assert!(plain_ones > cases / 4 && others > cases / 20);
}
