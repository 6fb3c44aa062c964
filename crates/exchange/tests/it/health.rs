//! `bourse health`: what an orchestrator is told by the program itself.

use crate::server::{Home, Server, eventually};

#[test]
fn a_server_that_is_ready_is_healthy() {
    let server = Server::usual();
    let by_setting = {
        let mut command = server.home.command(&["health"]);
        command.env("BOURSE_LISTEN", server.address.to_string());
        crate::server::said(command).done()
    };
    let url = format!("http://{}", server.address);
    let by_url = server.home.run(&["health", "--url", &url]).done();
    for out in [by_setting, by_url] {
        assert_eq!(out, format!("{url}/health/ready says ok\n"));
    }
}

#[test]
fn a_server_that_is_about_to_drain_serves_on_and_is_not_healthy() {
    let mut server = Home::empty().usual().set("BOURSE_HTTP_DRAIN_DELAY_MS", &600_000).serve();
    server.signal("TERM");
    eventually("it says so", || server.get("/health/ready").status == 503);
    let url = format!("http://{}", server.address);
    let said = server.home.run(&["health", "--url", &url]);
    assert!(said.one_line_error().ends_with("/health/ready says draining"), "{said:?}");
    assert!([200, 400].contains(&server.bid(crate::client::any_bid()).status));
    server.signal("TERM");
    assert_eq!(server.exit().code(), Some(0), "the second signal ends the delay: {}", server.log());
}

#[test]
fn who_cannot_be_asked_is_one_line_that_names_it() {
    let home = Home::empty();
    let closed = format!("http://127.0.0.1:{}", crate::programs::free_port());
    for (url, named) in [
        (closed.as_str(), &["does not answer", "refused", "--url"][..]),
        ("https://127.0.0.1:1", &["--url", "http://HOST:PORT"]),
        ("nonsense", &["--url", "http://HOST:PORT"]),
        ("http://no-such-host.invalid", &["does not answer", "no-such-host.invalid"]),
    ] {
        let said = home.run(&["health", "--url", url]);
        let line = said.one_line_error();
        assert!(named.iter().all(|part| line.contains(part)), "{url}: {line}");
    }
    let said = home.set("BOURSE_LISTEN", "127.0.0.1:0").run(&["health"]);
    assert!(said.one_line_error().contains("--url"), "{said:?}");
}
