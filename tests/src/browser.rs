//! A headless Chromium, driven over a pipe by its own protocol (CDP): a page, what it logs, and what it asks for.
//!
//! It reaches nothing but 127.0.0.1. Invariant: the browser ends with the value: when the pipe closes, it does too.

use std::{collections::VecDeque, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long an answer or a condition may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// The pipe is at numbers 3 and 4, where only a shell can put it without unsafe code.
const LAUNCH: &str = r#"exec chromium "$@" 3<&0 4>&1 </dev/null >&2"#;
/// Nothing of its own, and no name but this machine's.
const FLAGS: [&str; 14] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A browser with one page.
pub struct Browser {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: String,
    calls: u64,
    events: VecDeque<Value>,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Dark colours are preferred.
    pub dark: bool,
}

impl Browser {
    /// Starts it, with an empty page.
    ///
    /// # Errors
    /// There is no Chromium: tests/run.sh installs it.
    pub async fn open() -> Result<Self> {
        let profile = TempDir::new()?;
        let mut child = Command::new("sh")
            .args(["-c", LAUNCH, "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start a shell")?;
        let input = child.stdin.take().context("its input is piped")?;
        let output = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut browser = Self {
            _child: child,
            input,
            output,
            session: String::new(),
            calls: 0,
            events: VecDeque::new(),
            _profile: profile,
        };
        let made = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let made = made.context("no Chromium answers: install it with tests/run.sh")?;
        let target = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target).await?;
        attached["sessionId"].as_str().context("a session has an id")?.clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    /// One call of the protocol; its result.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            call["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        let exchange = async {
            self.input.write_all(&bytes).await?;
            loop {
                let message = self.message().await?;
                if message["id"] == id {
                    return Ok(message);
                }
                self.events.push_back(message);
            }
        };
        let answer: Result<Value> = timeout(PATIENCE, exchange).await.context("the browser is silent")?;
        let answer = answer?;
        ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        Ok(answer["result"].clone())
    }

    async fn message(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        let read = self.output.read_until(0, &mut bytes).await?;
        ensure!(read > 0, "the browser has ended");
        bytes.pop();
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Sizes and colours from now on.
    pub async fn look(&mut self, look: Look) -> Result<()> {
        let (width, height) = (look.width, look.height);
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let colours = if look.dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": colours},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await?;
        Ok(())
    }

    /// Goes to an address, and waits until its scripts have run.
    pub async fn go(&mut self, url: &str) -> Result<()> {
        let gone = self.call("Page.navigate", json!({ "url": url })).await?;
        ensure!(gone["errorText"].is_null(), "{url}: {}", gone["errorText"]);
        self.until("document.readyState === 'complete'").await
    }

    /// The value of an expression in the page; a promise is waited for.
    pub async fn value(&mut self, expression: &str) -> Result<Value> {
        let wanted = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let got = self.call("Runtime.evaluate", wanted).await?;
        if !got["exceptionDetails"].is_null() {
            bail!("{expression}: {}", got["exceptionDetails"]);
        }
        Ok(got["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) -> Result<()> {
        let look = async {
            while self.value(expression).await? != json!(true) {
                self.value("new Promise((next) => setTimeout(next, 25))").await?;
            }
            Ok(())
        };
        let looked: Result<Result<()>, _> = timeout(PATIENCE, look).await;
        match looked {
            Ok(ended) => ended,
            Err(_late) => {
                let text = self.value("document.body.innerText").await?;
                bail!("never in a minute: {expression}; the page says: {}", text.as_str().unwrap_or_default())
            }
        }
    }

    /// Presses and releases a key, such as `Tab`.
    pub async fn press(&mut self, key: &str, code: u32) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Types into what has the focus.
    pub async fn write(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({ "text": text })).await?;
        Ok(())
    }

    /// Saves a picture of the whole page.
    pub async fn picture(&mut self, file: &Path) -> Result<()> {
        // Until what was laid out is painted, too.
        self.value("new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)))").await?;
        let size = self.call("Page.getLayoutMetrics", json!({})).await?["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.call("Page.captureScreenshot", wanted).await?;
        let text = picture["data"].as_str().context("a picture is base64")?;
        std::fs::create_dir_all(file.parent().context("a picture lies in a folder")?)?;
        std::fs::write(file, STANDARD.decode(text)?)?;
        Ok(())
    }

    /// Every event of a method so far, in order.
    pub fn events(&self, method: &str) -> Vec<&Value> {
        let of = self.events.iter().filter(|event| event["method"] == method);
        of.map(|event| &event["params"]).collect()
    }

    /// What went wrong in the page: errors and warnings in its console, exceptions, dialogs.
    pub fn troubles(&self) -> Vec<String> {
        let told = self.events("Runtime.consoleAPICalled").into_iter();
        let told = told.filter(|event| event["type"] == "error" || event["type"] == "warning");
        let logged = self.events("Log.entryAdded").into_iter().map(|event| &event["entry"]);
        let logged = logged.filter(|entry| entry["level"] == "error" || entry["level"] == "warning");
        let thrown = self.events("Runtime.exceptionThrown").into_iter();
        let asked = self.events("Page.javascriptDialogOpening").into_iter();
        told.chain(logged).chain(thrown).chain(asked).map(Value::to_string).collect()
    }

    /// Everything that the page asked for.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.events("Network.requestWillBeSent").into_iter();
        asked.filter_map(|event| event["request"]["url"].as_str()).map(str::to_owned).collect()
    }
}
