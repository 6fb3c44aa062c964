//! Streams of requests, from plain to nonsense, each found again by its number.

/// A small generator (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const LINES: [&str; 12] = [
    "POST /bid HTTP/1.0",
    "GET /bid HTTP/1.1",
    "HEAD /health/live HTTP/1.1",
    "GET /supplies HTTP/1.1",
    "POST /bid?a=b HTTP/1.1",
    "POST http://h/bid HTTP/1.1",
    "POST  /bid HTTP/1.1",
    "post /bid HTTP/1.1",
    "POST /bid HTTP/1.2",
    "POST /bid",
    "OPTIONS * HTTP/1.1",
    "\r\nPOST /bid HTTP/1.1",
];

const HEADERS: [&str; 26] = [
    "Host: b",
    "host:",
    "Host : a",
    "User-Agent: curl/8",
    "Accept: */*",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: Keep-Alive, x",
    "Connection: upgrade",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Content-Type: application/json",
    "Content-Type: APPLICATION/JSON; charset=utf-8",
    "Content-Type: text/plain",
    "content-type: application/x+json",
    "Content-Encoding: identity",
    "Content-Encoding: gzip",
    "Transfer-Encoding: identity",
    "Trailer: a",
    "X-Forwarded-For: 192.0.2.7, 10.0.0.1",
    "X-Any: \u{fc}",
    "X-Any: a\u{0}b",
    " folded: once",
    "no colon",
    "Content-Length: 4",
];

const BODIES: [&str; 10] = [
    r#"{"supply_id":"supply1","ip":"192.0.2.1","country":"DE"}"#,
    r#"{"supply_id":"nobody","ip":"192.0.2.1","country":"US"}"#,
    r#"{"supply_id":"supply1","ip":"192.0.2.1","country":"US","tmax":0}"#,
    r#"{"supply_id":"supply1","ip":"192.0.2.1","ip":"192.0.2.1","country":"US"}"#,
    r#"{"supply_id":"supply1","ip":"192.0.2.300","country":"USA"}"#,
    r#"{"supply_id":"supply1"}"#,
    "{",
    "[]",
    "",
    "\u{feff}{}",
];

fn body(dice: &mut Dice) -> String {
    if dice.one_in(5) {
        return dice.pick(&BODIES).to_owned();
    }
    let supply = dice.pick(&["supply1", "supply1", "supply1", "two\\u0041"]);
    let (ip, tmax) = (dice.below(3), dice.below(300) + 1);
    format!(r#"{{"supply_id":"{supply}","ip":"192.0.2.{ip}","country":"US","tmax":{tmax}}}"#)
}

/// A request that is plain half of the time.
fn request(dice: &mut Dice) -> Vec<u8> {
    let body = body(dice);
    let end = if dice.one_in(20) { "\n" } else { "\r\n" };
    let line = if dice.one_in(8) { dice.pick(&LINES) } else { "POST /bid HTTP/1.1" };
    let mut lines = vec![line.to_owned()];
    if !dice.one_in(20) {
        lines.push("Host: a".to_owned());
    }
    let odd = if dice.one_in(2) { dice.below(3) } else { 0 };
    (0..odd).for_each(|_| lines.push(dice.pick(&HEADERS).to_owned()));
    if dice.one_in(60) {
        lines.extend((0..dice.below(120)).map(|i| format!("x-{i}: y")));
    }
    if dice.one_in(60) {
        lines.push(format!("x-long: {}", "y".repeat(dice.below(20_000))));
    }
    let mut payload = body.clone().into_bytes();
    match dice.below(16) {
        0 => {}
        1 => lines.push(format!("Content-Length: {}", (body.len() + dice.below(5)).saturating_sub(2))),
        2 => lines.push(format!(
            "Content-Length: {}{}",
            dice.pick(&["+", "0", "000000", "-", " 1"]),
            body.len()
        )),
        3 => lines.extend([0, dice.below(2)].map(|more| format!("Content-Length: {}", body.len() + more))),
        4 => {
            lines.push("Transfer-Encoding: chunked".to_owned());
            if dice.one_in(4) {
                lines.push(format!("Content-Length: {}", body.len()));
            }
            payload =
                format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len() + usize::from(dice.one_in(10))).into();
        }
        _ => lines.push(format!("content-length: {}", body.len())),
    }
    let mut bytes = lines.join(end).into_bytes();
    bytes.extend_from_slice(format!("{end}{end}").as_bytes());
    bytes.append(&mut payload);
    bytes
}

/// A few requests, or many, in one stream; some of them damaged.
pub(super) fn stream(dice: &mut Dice) -> Vec<u8> {
    let requests = if dice.one_in(20) { dice.below(60) } else { 1 + dice.below(3) };
    let mut bytes: Vec<u8> = (0..requests).flat_map(|_| request(dice)).collect();
    if dice.one_in(4) && !bytes.is_empty() {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, dice.pick(&["\r", "\n", "\0", " ", ":", "5"]).as_bytes()[0]),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
