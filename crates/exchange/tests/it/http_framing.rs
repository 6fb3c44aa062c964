//! HTTP/1.1 framing: every byte belongs to exactly one request, and bytes with two meanings to none.

use crate::catalogues::constants;
use crate::client::{Answer, Connection, JSON, any_bid, wire};
use crate::server::{Home, Server};

/// A server whose every auction sells.
fn selling() -> Server {
    Home::empty().with(&constants(&[("b", 0, 0.5)])).serve()
}

/// Everything that is answered to these bytes, the last ones of their connection.
fn answers(server: &Server, bytes: impl AsRef<[u8]>) -> Vec<Answer> {
    let mut connection = server.connect();
    connection.send(bytes);
    connection.end();
    connection.rest()
}

/// A second request, to be hidden behind an ambiguous first one.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nhost: bourse\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!("POST /bid HTTP/1.1\r\nhost: bourse\r\ncontent-type: application/json\r\n{headers}\r\n{body}")
}

/// A body in chunks of these sizes, the last one included.
fn chunked(body: &str, size: usize) -> String {
    let chunks =
        body.as_bytes().chunks(size).map(|c| format!("{:x}\r\n{}\r\n", c.len(), String::from_utf8_lossy(c)));
    chunks.collect::<String>() + "0\r\n\r\n"
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = selling();
    let bid = wire("POST", "/bid", JSON, any_bid().as_bytes());
    let mut bytes = Vec::new();
    for _ in 0..50 {
        bytes.extend(wire("GET", "/health/live", &[], b""));
        bytes.extend(&bid);
        bytes.extend(wire("GET", "/supplies", &[], b""));
        bytes.extend(wire("POST", "/bid", JSON, b"{"));
    }
    let mut connection = server.connect();
    connection.send(bytes);
    for round in 0..50 {
        assert_eq!(connection.next().unwrap().text(), r#"{"status":"ok"}"#, "round {round}");
        assert_eq!(connection.next().unwrap().text(), r#"{"winner":"b","price":0.50}"#, "round {round}");
        assert_eq!(connection.next().unwrap().text(), r#"[{"id":"supply1"}]"#, "round {round}");
        connection.next().unwrap().is_refusal(400, "malformed_json");
    }
}

#[test]
fn a_refusal_and_an_empty_answer_in_one_packet_stay_two_answers() {
    let server = selling();
    let mut connection = server.connect();
    let paths = ["/nope", "/api/docs", "/nope", "/health/live"];
    connection.send(paths.map(|path| wire("GET", path, &[], b"")).concat());
    let statuses = paths.map(|_| connection.next().unwrap().status);
    assert_eq!(statuses, [404, 303, 404, 200]);
}

#[test]
fn an_answer_is_not_held_back_by_the_beginning_of_the_next_request() {
    let server = selling();
    let bid = wire("POST", "/bid", JSON, any_bid().as_bytes());
    for at in [1, 10, bid.len() - 1] {
        let mut connection = server.connect();
        connection.send([&bid, &bid[..at]].concat());
        assert_eq!(
            connection.next().expect("the first answer").status,
            200,
            "{at} bytes of the next request"
        );
        connection.send(&bid[at..]);
        assert_eq!(
            connection.next().expect("the second answer").status,
            200,
            "{at} bytes of the next request"
        );
    }
}

#[test]
fn the_last_answer_arrives_whatever_else_was_sent() {
    let server = selling();
    for last in [
        wire("POST", "/bid", &[JSON[0], ("connection", "close")], any_bid().as_bytes()),
        wire("GET", "/health/live", &[("connection", "close")], b""),
        post("transfer-encoding: chunked\r\n", &chunked(&any_bid(), 7)).into_bytes(),
    ] {
        let answers = answers(&server, [&last[..], HIDDEN.as_bytes()].concat());
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200], "{}", String::from_utf8_lossy(&last));
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = selling();
    let mut connection = server.connect();
    for _ in 0..2 {
        wire("POST", "/bid", JSON, any_bid().as_bytes()).chunks(1).for_each(|byte| connection.send(byte));
        assert_eq!(connection.next().unwrap().status, 200);
    }
}

#[test]
fn a_request_may_be_cut_anywhere_into_two_packets() {
    let server = selling();
    let mut connection = server.connect();
    let bytes = wire("POST", "/bid", JSON, any_bid().as_bytes());
    for at in 1..bytes.len() {
        connection.send(&bytes[..at]);
        connection.send(&bytes[at..]);
        assert_eq!(connection.next().unwrap().status, 200, "cut at {at}");
    }
}

#[test]
fn a_chunked_body_is_read_whole_and_ends_its_connection() {
    let server = selling();
    for (headers, body) in [
        ("transfer-encoding: chunked\r\n", chunked(&any_bid(), 7)),
        ("Transfer-Encoding: Chunked\r\n", chunked(&any_bid(), 1000)),
        (
            "transfer-encoding: chunked\r\ntrailer: x\r\n",
            chunked(&any_bid(), 9).replace("0\r\n\r\n", "0\r\nx: y\r\n\r\n"),
        ),
        ("transfer-encoding: chunked\r\n", chunked(&any_bid(), 7).replace("\r\n{", ";name=value\r\n{")),
    ] {
        let verdicts: Vec<_> =
            answers(&server, post(headers, &body) + HIDDEN).iter().map(Answer::verdict).collect();
        assert_eq!(verdicts, ["200"], "{headers}{body}");
    }
}

#[test]
fn after_ambiguous_framing_no_second_answer_is_produced() {
    let server = selling();
    let body = any_bid();
    let (n, one_chunk) = (body.len(), chunked(&body, 1000));
    let both = |length: usize| format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n");
    let turned = |length: usize| format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n");
    for request in [
        post(&both(one_chunk.len()), &one_chunk),
        post(&both(one_chunk.len() + HIDDEN.len()), &one_chunk),
        post(&both(5), &one_chunk),
        post(&both(0), &one_chunk),
        post(&turned(0), &one_chunk),
        post(&turned(n), &one_chunk),
        post(&format!("content-length: {n}\r\ncontent-length: {}\r\n", n + HIDDEN.len()), &body),
        post(&format!("content-length: {}\r\ncontent-length: {n}\r\n", n + HIDDEN.len()), &body),
        post(&format!("content-length: {n}, {}\r\n", n + HIDDEN.len()), &body),
        post(&format!("content-length: +{n}\r\n"), &body),
        post(&format!("content-length: -{n}\r\n"), &body),
        post(&format!("content-length: 0x{n:x}\r\n"), &body),
        post(&format!("content-length: {n}.0\r\n"), &body),
        post("content-length: 18446744073709551617\r\n", &body),
        post("content-length:\r\n", &body),
        post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", &one_chunk),
        post("transfer-encoding: chunked, chunked\r\n", &one_chunk),
        post("transfer-encoding: identity\r\n", &one_chunk),
        post("transfer-encoding: chunked, identity\r\n", &one_chunk),
        post("transfer-encoding: xchunked\r\n", &one_chunk),
        post("transfer-encoding: gzip, chunked\r\n", &one_chunk),
        post("transfer-encoding: \x0bchunked\r\n", &one_chunk),
        post(&format!("content-length: {n}\r\ntransfer-encoding : chunked\r\n"), &one_chunk),
        post(&format!("content-length: {n}\r\n transfer-encoding: chunked\r\n"), &one_chunk),
        post(&format!("content-length: {n}\r\nx: y\r\n\ttransfer-encoding: chunked\r\n"), &one_chunk),
        post(&format!("content-length : {n}\r\n"), &body),
        post(&format!(" content-length: {n}\r\n"), &body),
        post(&format!("content-length: {n}\rtransfer-encoding: chunked\r\n"), &one_chunk),
        post(&format!("x\0y: z\r\ncontent-length: {n}\r\n"), &body),
        post("transfer-encoding: chunked\r\n", &one_chunk.replacen("\r\n", "\n", 1)),
        post("transfer-encoding: chunked\r\n", &format!("0x{one_chunk}")),
        post("transfer-encoding: chunked\r\n", &format!("-{one_chunk}")),
        post("transfer-encoding: chunked\r\n", &format!("10000000000000000{one_chunk}")),
        post("transfer-encoding: chunked\r\n", &one_chunk.replace("}\r\n", "}XX\r\n")),
        post("transfer-encoding: chunked\r\n", &one_chunk.replace("}\r\n", "}")),
        format!("POST /bid HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n{one_chunk}"),
    ] {
        let answers = answers(&server, request.clone() + HIDDEN);
        assert!(answers.len() <= 1, "{request}\n{answers:#?}");
        for answer in answers {
            assert!([200, 400, 501].contains(&answer.status), "{request}\n{answer:?}");
            assert_eq!(
                answer.verdict().as_str(),
                if answer.status == 200 { "200" } else { "400 malformed_request" }
            );
        }
    }
}

#[test]
fn two_differing_lengths_and_folded_headers_are_refused() {
    let server = selling();
    for headers in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length : 1\r\n",
        "content-length: 1\r\nx: y\r\n z\r\n",
        "content-length: x\r\n",
    ] {
        let answers = answers(&server, post(headers, "1"));
        assert_eq!(answers.len(), 1, "{headers}");
        answers[0].is_refusal(400, "malformed_request");
        assert_eq!(answers[0].header("connection"), Some("close"), "{headers}");
    }
}

#[test]
fn bytes_that_are_no_request_are_a_problem_and_the_end_of_the_connection() {
    let server = selling();
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET / FTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nhost: x\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nh(st: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\rb\r\n\r\n",
        b"<policy-file-request/>\0\r\n\r\n",
        b"{\"supply_id\":\"supply1\"}\r\n\r\n",
    ] {
        let shown = String::from_utf8_lossy(bytes);
        let answers = answers(&server, [bytes, HIDDEN.as_bytes()].concat());
        assert_eq!(answers.len(), 1, "{shown:?}: {answers:?}");
        answers[0].is_refusal(400, "malformed_request");
    }
    assert_eq!(server.bid(any_bid()).status, 200);
}

#[test]
fn http_2_is_cut_or_refused() {
    let server = selling();
    let answers = answers(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(answers.len() <= 1 && answers.iter().all(|answer| answer.status == 400), "{answers:?}");
}

#[test]
fn a_bare_lf_means_the_same_everywhere_or_is_refused() {
    let server = selling();
    let body = any_bid();
    let request = post(&format!("content-length: {}\r\n", body.len()), &body).replace("\r\n", "\n");
    let answers = answers(&server, request + HIDDEN);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert!([&[400][..], &[200, 404]].contains(&&statuses[..]), "{answers:?}");
}

#[test]
fn a_request_has_exactly_one_host() {
    let server = selling();
    for (headers, status) in
        [("host: bourse\r\n", 200), ("host:\r\n", 200), ("", 400), ("host: a\r\nhost: b\r\n", 400)]
    {
        let answers = answers(&server, format!("GET /health/live HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(
            answers.iter().map(|a| a.status).collect::<Vec<_>>(),
            [status],
            "{headers:?}: RFC 9112 §3.2"
        );
    }
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let server = selling();
    let body = any_bid();
    let request = format!(
        "POST /bid HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = server.connect();
    connection.send(request);
    assert_eq!(connection.next().unwrap().status, 200);
    assert!(connection.is_ended());
}

#[test]
fn who_expects_100_continue_is_told_to_go_on_and_then_answered() {
    let server = selling();
    let body = any_bid();
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(post(&format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len()), ""));
        assert_eq!(connection.next().unwrap().status, 100);
        connection.send(&body);
        assert_eq!(connection.next().unwrap().status, 200);
    }
}

#[test]
fn a_target_may_be_absolute() {
    let server = selling();
    let mut connection = server.connect();
    let target = format!("http://{}/bid", server.address);
    assert_eq!(connection.request("POST", &target, JSON, any_bid().as_bytes()).status, 200);
    assert_eq!(connection.request("GET", "http://elsewhere/supplies", &[], b"").status, 200);
    assert!(connection.request("OPTIONS", "*", &[], b"").status < 500);
    assert!(server.request("CONNECT", "bourse:443", &[], b"").status < 500);
}

#[test]
fn a_connection_is_kept_or_closed_as_the_client_says() {
    let server = selling();
    let mut kept = server.connect();
    (0..100).for_each(|_| assert_eq!(kept.bid(any_bid()).status, 200));
    let mut closed = server.connect();
    let answer = closed.request("POST", "/bid", &[JSON[0], ("connection", "close")], any_bid().as_bytes());
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(closed.is_ended());
}

#[test]
fn a_client_that_leaves_early_harms_nobody() {
    let server = selling();
    let bytes = wire("POST", "/bid", JSON, any_bid().as_bytes());
    for at in (0..=bytes.len()).step_by(5) {
        let mut connection = Connection::open(server.address);
        connection.send(&bytes[..at]);
    }
    let mut half = server.connect();
    half.send(&bytes[..bytes.len() - 1]);
    half.end();
    assert!(half.rest().iter().all(|answer| answer.status == 400));
    assert_eq!(server.bid(any_bid()).status, 200);
}
