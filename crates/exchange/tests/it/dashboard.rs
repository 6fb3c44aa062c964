//! The dashboard in a real browser: what it shows, live, to eyes, keyboards and assistive technology.

use crate::browser::Page;
use crate::client::{any_bid, bid_body};
use crate::server::{AtEnd, Home, Server, eventually};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn open(server: &Server) -> Page {
    let mut page = Page::open(&format!("http://{}/", server.address));
    page.until("document.querySelector('#status')?.dataset.kind === 'ok'");
    page
}

/// Six supplies, thirty bidders of two countries, in which every kind of answer comes up.
fn market() -> Value {
    let simulation = |i: usize| {
        json!({"no_bid_probability": (10 + 2 * (i % 10)) as f64 / 100.0, "price": {"uniform": [0.05, 0.6]},
            "latency_ms": {"lognormal": {"median": 30 + 7 * (i % 20), "sigma": 0.6}}})
    };
    let country = |i: usize| if i.is_multiple_of(3) { "GB" } else { "US" };
    let ids: Vec<String> = (0..30).map(|i| format!("bidder{i:02}")).collect();
    let bidders: Map<String, Value> = ids
        .iter()
        .enumerate()
        .map(|(i, id)| (id.clone(), json!({"country": country(i), "simulation": simulation(i)})))
        .collect();
    let supply = |i: usize| {
        let listed: Vec<&String> = ids.iter().skip(i).step_by(2).collect();
        let auction = if i == 0 { "second_price" } else { "first_price" };
        (format!("supply{i}"), json!({"bidders": listed, "auction": auction, "bid_floor": 0.10}))
    };
    json!({"supplies": (0..6).map(supply).collect::<Map<String, Value>>(), "bidders": bidders})
}

/// Bids of two countries, evenly, and not so many that other tests have no machine left.
fn load(server: &Server, stop: &AtomicBool) {
    let mut connection = server.connect();
    for i in 0usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = bid_body(&format!("supply{}", i % 6), &format!("10.0.{}.{}", i / 250 % 250, i % 250));
        connection.bid(if i.is_multiple_of(4) { body.replace("US", "GB") } else { body });
        thread::sleep(Duration::from_millis(2));
    }
}

/// The cells of a table that the page shows, by id and heading, without what is there for eyes.
fn shown(page: &mut Page, of: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let rows = page.eval(&format!(
        "Object.fromEntries([...document.querySelectorAll('#{of}-table tbody tr')].map((row) => [
            row.querySelector('th').innerText.split(' ')[0],
            Object.fromEntries([...row.querySelectorAll('td')].map((cell) => [cell.dataset.label, cell.innerText]))]))"
    ));
    serde_json::from_value(rows).unwrap()
}

/// A number as a person reads it.
fn number(text: &str) -> f64 {
    text.replace(['$', ','], "").parse().unwrap_or_else(|_| panic!("{text}"))
}

/// The sums over all supplies that /stat says of each bidder: wins, revenue, no-bids, timeouts.
fn by_bidder(stat: &Value) -> BTreeMap<String, [f64; 4]> {
    let mut sums: BTreeMap<String, [f64; 4]> = BTreeMap::new();
    for supply in stat.as_object().unwrap().values() {
        for (id, counts) in supply["bidders"].as_object().unwrap() {
            let sum = sums.entry(id.clone()).or_default();
            for (sum, of) in sum.iter_mut().zip(["wins", "total_revenue", "no_bids", "timeouts"]) {
                *sum += counts[of].as_f64().unwrap();
            }
        }
    }
    sums
}

#[test]
fn it_follows_the_load_and_then_says_what_stat_says() {
    let server = Home::empty().with(&market()).serve_with(&["--workers", "2"]);
    let mut page = open(&server);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = AtEnd(|| stop.store(true, Ordering::Relaxed));
        (0..2).for_each(|_| _ = scope.spawn(|| load(&server, &stop)));
        page.until("Number(document.querySelector('#auctions').innerText.replaceAll(',', '')) > 0");
        let before = page.text("#auctions-beside");
        eventually("the page goes on by itself", || page.text("#auctions-beside") != before);
        page.until("document.querySelectorAll('#auctions-chart .line').length > 0");
        page.until("document.querySelectorAll('#bidders-table .bars rect').length > 20");
        let chart = page.eval(
            "(() => { const at = document.querySelector('#auctions-chart').getBoundingClientRect();
            return { x: at.right - 2, y: at.top + 9 } })()",
        );
        page.call(
            "Input.dispatchMouseEvent",
            &json!({"type": "mouseMoved", "x": chart["x"], "y": chart["y"]}),
        );
        page.until("/ago|now/.test(document.querySelector('#auctions-beside').innerText)");
        page.call("Input.dispatchMouseEvent", &json!({"type": "mouseMoved", "x": 1, "y": 1}));
    });
    let stat = server.json("/stat");
    let requests: u64 = stat.as_object().unwrap().values().map(|s| s["total_reqs"].as_u64().unwrap()).sum();
    let all = "document.querySelector('#auctions-beside').innerText.replace(/[^0-9]/g, '')";
    page.until(&format!("{all} === '{requests}'"));

    // Until every bidder is on the page.
    page.eval("document.querySelector('#bidders-table .more').click()");
    page.until("document.querySelectorAll('#bidders-table tbody tr').length === 30");
    let (bidders, expected) = (shown(&mut page, "bidders"), by_bidder(&stat));
    assert_eq!(bidders.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (id, [wins, revenue, no_bids, timeouts]) in expected {
        let cells = &bidders[&id];
        for (heading, value) in [("Wins", wins), ("No-bids", no_bids), ("Timeouts", timeouts)] {
            assert_eq!(number(&cells[heading]) as u64, value as u64, "{heading} of {id}: {cells:?}");
        }
        assert!((number(&cells["Revenue"]) - revenue).abs() < 0.006, "{id} {revenue}: {cells:?}");
    }
    for (id, cells) in shown(&mut page, "supplies") {
        assert_eq!(number(&cells["Requests"]) as u64, stat[&id]["total_reqs"], "{id}");
    }
    assert_eq!(shown(&mut page, "countries").len(), 2);
    page.is_content();

    page.eval("document.querySelector('#auction-form .primary').click()");
    page.until("!document.querySelector('#auction-steps').hidden");
    page.eval("Promise.all(document.getAnimations().map((animation) => animation.finished)).then(() => 0)");
    for scheme in ["light", "dark"] {
        page.prefer(scheme);
        for (width, height, name) in [(1440, 900, "desktop"), (390, 844, "phone")] {
            page.resize(width, height);
            page.keep(&format!("dashboard-{name}-{scheme}"));
        }
    }
    page.is_content();
}

#[test]
fn an_auction_is_held_by_keyboard_alone_and_told_as_it_is_recorded() {
    let home = Home::empty().set("BOURSE_RATE_LIMIT_REQUESTS", "2").set("BOURSE_RATE_LIMIT_WINDOW_S", "600");
    let server = home.with(&market()).serve();
    let mut page = open(&server);
    let mut fields =
        [("supply_id", "supply0"), ("country", "us"), ("ip", "203.0.113.77"), ("tmax", "250")].into_iter();
    let mut next = fields.next();
    for _ in 0..60 {
        page.press("Tab");
        let focus = page.eval("document.activeElement.name || document.activeElement.innerText");
        match next {
            Some((name, value)) if focus == name => {
                page.write(value);
                next = fields.next();
            }
            None if focus == "Hold the auction" => break,
            _ => {}
        }
    }
    assert_eq!(next, None, "every field was come to");
    for held in 1..=2 {
        page.press("Enter");
        page.until("document.querySelectorAll('#auction-steps > li').length === 6");
        eventually("the outcome is said", || !page.text("#auction-said").is_empty());
        assert_eq!(server.json("/stat")["supply0"]["total_reqs"], held);
        page.eval("document.querySelector('#auction-form .primary').focus()");
    }
    page.is_content();
    let told = page.text("#auction-steps");
    let id = told.split("--auction ").nth(1).unwrap().trim().to_owned();
    let line = server.home.run(&["journal", "cat", "--auction", &id]).done();
    let recorded: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&recorded["tmax_ms"], &recorded["country"]), (&json!(250), &json!("US")));
    let bidders = recorded["bidders"].as_array().unwrap();
    let asked: Vec<_> = bidders.iter().filter(|bidder| bidder["answer"].is_string()).collect();
    assert!(told.contains(&format!("{} of {}", asked.len(), bidders.len())), "{told}");
    let rows = page.eval(
        "Object.fromEntries([...document.querySelectorAll('.answers tbody tr')].map((row) =>
            [row.querySelector('th').innerText, row.querySelector('.fate').innerText]))",
    );
    for bidder in asked {
        let fate = match (bidder["answer"].as_str().unwrap(), &bidder["bids"][0]) {
            ("timeout", _) => "too late",
            ("no_bid", _) => "passed",
            (_, bid) if bid["fate"] == "won" => "won",
            (_, bid) if bid["reason"] == 100 => "below the floor",
            _ => "outbid",
        };
        assert_eq!(rows[bidder["id"].as_str().unwrap()], fate, "{bidder}");
    }
    match recorded["winner"].as_str() {
        Some(winner) => {
            let price = format!("${:.2}", recorded["price"].as_f64().unwrap());
            assert!(page.text("#auction-said").contains(winner) && told.contains(&price), "{told}");
        }
        None => assert!(told.contains("Not sold"), "{told}"),
    }

    page.press("Enter");
    page.until("document.querySelector('#auction-steps .refused') !== null");
    assert!(page.text("#auction-said").contains("2 requests in 600 s"));
    page.forgive();
    page.eval("document.querySelector('#auction-address').click()");
    page.eval("document.querySelector('#auction-form .primary').click()");
    page.until("document.querySelectorAll('#auction-steps > li').length === 6");
    page.is_content();
}

#[test]
fn tables_are_sorted_and_filtered_by_keyboard() {
    let server = Home::empty().with(&market()).serve();
    (0..60).for_each(|i| _ = server.bid(bid_body(&format!("supply{}", i % 6), "192.0.2.1")));
    let mut page = open(&server);
    page.press("Tab");
    assert_eq!(page.text(":focus"), "Skip to the figures", "the first stop leads past the rest");
    page.until("document.querySelectorAll('#bidders-table tbody tr').length > 9");
    page.eval("document.querySelector('#bidders-table thead button').focus()");
    page.press("Enter");
    page.until("document.querySelector('#bidders-table th[aria-sort=ascending]')?.innerText === 'Bidder'");
    page.until("document.querySelector('#bidders-table tbody th').innerText === 'bidder00'");
    page.eval("document.querySelector('#bidders-tools input').focus()");
    page.write("R1");
    let rows = "[...document.querySelectorAll('#bidders-table tbody th')].map((cell) => cell.innerText)";
    page.until(&format!("{rows}.length === 10 && {rows}.every((id) => id.startsWith('bidder1'))"));
    assert_eq!(page.text("#bidders-count"), "10 of 10 that match, of 30");
    // Also in what comes later.
    let heard = page.text("#meta");
    eventually("another second", || page.text("#meta") != heard);
    page.until(&format!("{rows}.length === 10"));
    page.is_content();
}

/// What the text of every element has for contrast with what is behind it (WCAG 2.2 §1.4.3), if it is too little.
const PALE: &str = r#"(() => {
    const pixel = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const over = (colour, under) => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = `rgb(${under.join()})`; pixel.fillRect(0, 0, 1, 1);
        pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1);
        return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const behind = (node) => node ? over(getComputedStyle(node).backgroundColor, behind(node.parentElement)) : [255, 255, 255];
    const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    return [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility()
        && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())).map((node) => {
        const under = behind(node);
        const pair = [light(under), light(over(getComputedStyle(node).color, under))].sort((a, b) => b - a);
        return [(pair[0] + 0.05) / (pair[1] + 0.05), node.tagName + '.' + node.className, node.innerText];
    }).filter(([ratio]) => ratio < 4.5);
})()"#;

#[test]
fn everything_has_a_name_a_place_and_contrast() {
    let server = Home::empty().with(&market()).serve();
    (0..60).for_each(|i| _ = server.bid(bid_body(&format!("supply{}", i % 6), "192.0.2.1")));
    let mut page = open(&server);
    page.until("document.querySelectorAll('#bidders-table tbody tr').length > 4");
    page.eval("document.querySelector('#auction-form .primary').click()");
    page.until("!document.querySelector('#auction-steps').hidden");
    page.eval("Promise.all(document.getAnimations().map((animation) => animation.finished)).then(() => 0)");
    page.eval("document.querySelector('h1').style.color = '#888'");
    assert!(page.eval(PALE).to_string().contains("H1"), "what is pale is found");
    page.eval("document.querySelector('h1').style.color = ''");
    for (width, scheme) in [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark"), (320, "dark")] {
        page.resize(width, 844);
        page.prefer(scheme);
        let pale = page.eval(PALE);
        assert_eq!(pale, json!([]), "at {width} in {scheme}");
        let wide = "document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(page.eval(wide), true, "{width} wide, and it scrolls sideways");
        let nodes = page.accessible();
        let count = |wanted: &str| nodes.iter().filter(|(role, _)| role == wanted).count();
        for (role, least) in
            [("banner", 1), ("navigation", 1), ("main", 1), ("heading", 10), ("table", 5), ("status", 2)]
        {
            assert!(count(role) >= least, "{} of {role} at {width}", count(role));
        }
        assert!(count("columnheader") > 20 || width < 1000, "headers at {width}");
        assert!(count("rowheader") > 10 && count("cell") > 50, "cells at {width}");
        let named = [
            "link",
            "button",
            "textbox",
            "searchbox",
            "combobox",
            "spinbutton",
            "table",
            "image",
            "region",
            "list",
        ];
        for (role, name) in &nodes {
            let is_step = role == "list" && name.is_empty();
            assert!(
                !named.contains(&role.as_str()) || !name.is_empty() || is_step,
                "a {role} without a name at {width}"
            );
        }
    }
    page.is_content();
}

#[test]
fn it_says_when_it_is_stale_and_comes_back_by_itself() {
    let server = Server::usual();
    let mut page = open(&server);
    server.signal("STOP");
    page.until("document.querySelector('#status').dataset.kind === 'stale'");
    assert!(page.text("#status").contains("stale"));
    server.signal("CONT");
    page.until("document.querySelector('#status').dataset.kind === 'ok'");

    let address = server.address;
    let home = server.killed();
    page.until("document.querySelector('#status').dataset.kind === 'stale'");
    let mut command = home.command(&["serve", "--listen", &address.to_string()]);
    let again = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let again = std::cell::RefCell::new(again);
    let _end = AtEnd(|| {
        let _ = again.borrow_mut().kill();
        let _ = again.borrow_mut().wait();
    });
    page.until("document.querySelector('#status').dataset.kind === 'ok'");
    // That the server was away is an error to the browser.
    page.forgive();
}

#[test]
fn an_id_is_never_markup_and_nothing_but_its_own_files_runs() {
    let odd = "<img src=x onerror=alert(1)>\"'&";
    let catalogue = json!({"supplies": {odd: [odd, "日本"]}, "bidders": {odd: {"country": "US"}, "日本": {"country": "US"}}});
    let server = Home::empty().with(&catalogue).serve();
    let mut page = open(&server);
    server.bid(bid_body(odd, "192.0.2.1"));
    page.until(&format!("document.querySelector('#supplies-table tbody th')?.innerText === {}", json!(odd)));
    page.until(&format!("document.forms[0].elements.supply_id.value === {}", json!(odd)));
    page.eval("document.querySelector('#auction-form .primary').click()");
    page.until("document.querySelectorAll('#auction-steps > li').length === 6");
    assert_eq!(page.eval("document.querySelectorAll('img').length"), 1, "the one in the head");
    page.is_content();
    let answer = server.request("GET", "/", &[("accept", "text/html")], b"");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!answer.text().contains("style=") && !answer.text().contains("<style"), "{}", answer.text());
    page.eval("const script = document.createElement('script'); script.text = 'window.ran = 1'; document.body.append(script)");
    assert_eq!(page.eval("window.ran ?? null"), Value::Null);
    server.bid(any_bid());
}
