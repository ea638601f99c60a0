//! A headless Chromium, driven over WebDriver's HTTP (W3C WebDriver, 2018) as far as tests need it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;

/// Programs are looked for there as well.
const DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/opt/chromium"];

/// Set by `cargo xtask test`, which installs one: a test that finds no browser fails then, instead of passing unrun.
const REQUIRED: &str = "QUORATE_BROWSER";

/// What Chromium is started with: it talks to no host but the one it is sent to.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

pub struct Browser {
    at: SocketAddr,
    session: String,
    driver: Child,
    _profile: TempDir,
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(DIRS.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

impl Browser {
    /// None where there is no browser, unless there must be one.
    ///
    /// # Panics
    /// When there is one and it does not start.
    pub async fn start(width: u32, height: u32) -> Option<Self> {
        let (Some(driver), Some(chromium)) = (find("chromedriver"), find("chromium")) else {
            assert!(std::env::var_os(REQUIRED).is_none(), "no browser: apt-get install chromium chromium-driver");
            eprintln!("not run: there is no chromium with its chromedriver");
            return None;
        };
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let driver = Command::new(driver)
            .arg(format!("--port={}", at.port()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let profile = TempDir::new().expect("a scratch directory");
        let mut browser = Self { at, session: String::new(), driver, _profile: profile };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(at).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        flags.push(format!("--user-data-dir={}", browser._profile.path().display()));
        flags.push(format!("--window-size={width},{height}"));
        let options = json!({ "binary": chromium, "args": flags });
        let asked = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let opened = browser.command("POST", "/session", &asked).await;
        browser.session = opened["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {opened}")).to_owned();
        Some(browser)
    }

    async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = if method == "GET" { String::new() } else { body.to_string() };
        let answer = http::request(self.at, method, path, &self.at.to_string(), &text).await;
        let mut value: Value = serde_json::from_str(&answer.body).expect("WebDriver answers in JSON");
        assert_eq!(answer.status, 200, "{path}: {value}");
        value["value"].take()
    }

    async fn in_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.command(method, &format!("/session/{}{path}", self.session), body).await
    }

    pub async fn open(&self, url: &str) {
        self.in_session("POST", "/url", &json!({ "url": url })).await;
    }

    /// What a function's body returns, run in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.in_session("POST", "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Runs it until it returns true.
    ///
    /// # Panics
    /// When it does not within twenty seconds.
    pub async fn until(&self, script: &str) {
        for _ in 0..200 {
            if self.run(script).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {script}; the page says {}", self.run("return document.body.innerText").await);
    }

    /// By the protocol of the developer tools.
    async fn tools(&self, command: &str, parameters: Value) {
        self.in_session("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await;
    }

    /// As on a screen of this width.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn prefer_dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.tools("Emulation.setEmulatedMedia", features).await;
    }

    /// Writes what is seen into a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub async fn screenshot(&self, file: &Path) {
        let taken = self.in_session("GET", "/screenshot", &Value::Null).await;
        let bytes = base64(taken.as_str().expect("a picture"));
        std::fs::write(file, bytes).expect("the picture is written");
    }

    pub async fn stop(self) {
        self.in_session("DELETE", "", &json!({})).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has an address").port()
}

/// RFC 4648; what is no figure of it is passed over.
fn base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
