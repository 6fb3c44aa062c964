//! A headless Chromium of a test's own, driven by the DevTools protocol over one websocket.
//!
//! * Whatever the page says is wrong (an exception, a console error, a file that does not load) is kept, for
//!   [`Page::is_content`] to fail on.
//! * Screenshots are kept under `target/screenshots`.

use crate::programs::program;
use crate::server::eventually;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

/// One page of a browser of its own; both end when it is dropped.
pub(crate) struct Page {
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    wrong: Vec<String>,
    browser: Child,
    _profile: TempDir,
}

impl Page {
    /// Opens the page at `url`, as wide and high as a desktop's.
    pub(crate) fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program("chromium", "chromium"));
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut browser = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("chromium");
        let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listens = lines.find_map(|line| Some(line.split_once("DevTools listening on ")?.1.to_owned()));
        // It has more to say, and somebody has to read it.
        std::thread::spawn(move || lines.for_each(drop));
        let devtools = listens.expect("chromium listens");
        let address = devtools.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(devtools.as_str(), stream).expect("a websocket");
        let mut page =
            Self { socket, session: None, calls: 0, wrong: Vec::new(), browser, _profile: profile };
        let target = page.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = page.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.resize(1440, 900);
        page.call("Page.navigate", &json!({"url": url}));
        page
    }

    /// Calls a method and gives its result.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).expect("a call");
        loop {
            let text = match self.socket.read().expect("an answer") {
                Message::Text(text) => text,
                _ => continue,
            };
            let said: Value = serde_json::from_str(text.as_str()).unwrap();
            if said["id"] == self.calls {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            self.hear(&said);
        }
    }

    fn hear(&mut self, said: &Value) {
        let params = &said["params"];
        let is_wrong = match said["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => {
                ["error", "warning", "assert"].contains(&params["type"].as_str().unwrap())
            }
            "Log.entryAdded" => ["error", "warning"].contains(&params["entry"]["level"].as_str().unwrap()),
            _ => false,
        };
        if is_wrong {
            self.wrong.push(params.to_string());
        }
    }

    /// What the expression is, after whatever it waits for.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until the expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        eventually(expression, || self.eval(expression) == true);
    }

    /// The text of the first element that matches.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        self.eval(&format!("document.querySelector({selector}).innerText")).as_str().unwrap().to_owned()
    }

    /// Presses and lets go of a key.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => panic!("{key}"),
        };
        let event = |kind: &str| {
            let text = if kind == "keyDown" { text } else { "" };
            json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text})
        };
        self.call("Input.dispatchKeyEvent", &event("keyDown"));
        self.call("Input.dispatchKeyEvent", &event("keyUp"));
    }

    /// Types into what has the focus, in place of what was there.
    pub(crate) fn write(&mut self, text: &str) {
        self.eval("document.activeElement.select()");
        self.call("Input.insertText", &json!({"text": text}));
    }

    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let is_phone = width < 600;
        let scale = if is_phone { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// `light` or `dark`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Keeps a picture of the page, all of it, under `target/screenshots`.
    pub(crate) fn keep(&mut self, name: &str) {
        let size = self.call("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.call("Page.captureScreenshot", &shot);
        let bytes = data_encoding::BASE64.decode(picture["data"].as_str().unwrap().as_bytes()).unwrap();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Every node that assistive technology is told of: its role and its name.
    pub(crate) fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// Fails if the page has said that anything is wrong.
    #[track_caller]
    pub(crate) fn is_content(&mut self) {
        self.eval("0");
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }

    /// Forgets what was wrong: it was meant to be.
    pub(crate) fn forgive(&mut self) {
        self.eval("0");
        self.wrong.clear();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
