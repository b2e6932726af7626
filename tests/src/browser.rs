//! A real browser for tests: headless Chromium by the W3C WebDriver protocol, and what the player page says of itself.
//!
//! `chromedriver` is taken from `CHROMEDRIVER` or the path, and picks a free port itself. Driver and browser end with the [`Browser`].

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const START: Duration = Duration::from_secs(20);
/// Times that chromedriver is started before it counts as broken.
const DRIVERS: usize = 10;
const COMMAND: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A running browser with one window. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

/// What `window.headwater` says (documented in `player.js`), with the clock and the playhead at that moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Player {
    /// See `player.js`.
    pub state: String,
    /// Lag of what is seen against the origin's clock.
    pub latency_ms: Option<f64>,
    /// Bits per second received.
    pub bitrate_bps: f64,
    /// Frames that were not shown.
    pub dropped_frames: u64,
    /// Who serves.
    pub node: String,
    /// Incarnation of the stream.
    pub epoch: Option<u64>,
    /// Moves done.
    pub moves: u64,
    /// Connections made after a loss.
    pub reconnects: u64,
    /// Times that the picture stood still.
    pub stalls: u64,
    /// Jumps after the first picture.
    pub seeks: u64,
    /// Playback rate.
    pub rate: f64,
    /// Ahead of the playhead.
    pub buffer_ms: f64,
    /// `currentTime` in seconds, −1 without a picture.
    pub position: f64,
    /// Width of the picture in pixels, 0 without one.
    pub width: u32,
    /// The browser's monotonic clock.
    pub now_ms: f64,
}

const PLAYER: &str = "const { video, ...rest } = Object.fromEntries(
    ['state', 'latencyMs', 'bitrateBps', 'droppedFrames', 'node', 'epoch', 'moves', 'reconnects', 'stalls', 'seeks', 'rate', 'bufferMs', 'video']
      .map((name) => [name, headwater[name]]));
  return { ...rest, position: video?.currentTime ?? -1, width: video?.videoWidth ?? 0, nowMs: performance.now() };";

/// Watches the playhead every 10 ms from inside the page; see [`Browser::longest_freeze`].
const WATCH: &str = "const watch = window.freezeWatch = { longest: 0, at: performance.now(), position: -1 };
  const look = () => {
    const now = performance.now();
    const position = headwater.video?.currentTime ?? -1;
    watch.longest = Math.max(watch.longest, now - watch.at);
    if (position !== watch.position) Object.assign(watch, { position, at: now });
    if (window.freezeWatch === watch) setTimeout(look, 10);
  };
  look();";

impl Browser {
    /// Starts chromedriver and a headless Chromium that lets pages play sound without a click.
    ///
    /// # Errors
    /// chromedriver or Chromium is not there, or does not start within 20 s.
    pub async fn start() -> anyhow::Result<Self> {
        let (driver, port) = driver().await?;
        let mut browser = Self {
            driver,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            session: String::new(),
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox", // tests run as root in containers
            "--disable-dev-shm-usage",
            "--autoplay-policy=no-user-gesture-required",
            "--mute-audio",
            "--window-size=1280,900",
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let made = browser
            .command("POST", "/session", wanted)
            .await
            .context("failed to start Chromium")?;
        browser.session = made["sessionId"]
            .as_str()
            .context("chromedriver gave no session")?
            .to_owned();
        Ok(browser)
    }

    /// Opens a page and waits for its `load` event.
    ///
    /// # Errors
    /// The page can't be reached.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.in_session("url", json!({ "url": url })).await.map(drop)
    }

    /// Runs `script` as the body of a function in the page; a promise that it returns is awaited.
    ///
    /// # Errors
    /// The script throws; the error holds what it threw.
    pub async fn eval(&self, script: &str) -> anyhow::Result<Value> {
        self.in_session("execute/sync", json!({"script": script, "args": []}))
            .await
    }

    /// Waits until `expression` is truthy, and gives its value.
    ///
    /// # Errors
    /// `deadline` has passed; the error holds what the player and the console say.
    pub async fn wait_until(&self, expression: &str, deadline: Duration) -> anyhow::Result<Value> {
        let end = Instant::now() + deadline;
        let script = format!("const value = {expression}; return [Boolean(value), value ?? null];");
        loop {
            let mut answer = self.eval(&script).await?;
            if answer[0] == true {
                return Ok(answer[1].take());
            }
            if Instant::now() > end {
                let player = self.eval(PLAYER).await.unwrap_or(Value::Null);
                let console = self.console().await.unwrap_or_default().join("\n");
                bail!("not within {deadline:?}: {expression}\nplayer: {player}\nconsole:\n{console}");
            }
            sleep(POLL).await;
        }
    }

    /// What the player page says of itself.
    ///
    /// # Errors
    /// The page that is open is not the player's.
    pub async fn player(&self) -> anyhow::Result<Player> {
        let facts = self.eval(PLAYER).await?;
        serde_json::from_value(facts.clone()).with_context(|| format!("not a player: {facts}"))
    }

    /// From now on the page itself notes how long the playhead stands still.
    ///
    /// # Errors
    /// The page that is open is not the player's.
    pub async fn watch_for_freezes(&self) -> anyhow::Result<()> {
        self.eval(WATCH).await.map(drop)
    }

    /// The longest time that the playhead stood still since [`Browser::watch_for_freezes`].
    ///
    /// # Errors
    /// Nobody watches.
    pub async fn longest_freeze(&self) -> anyhow::Result<Duration> {
        let ms = self
            .eval("return Math.max(freezeWatch.longest, performance.now() - freezeWatch.at);")
            .await?;
        Ok(Duration::from_secs_f64(ms.as_f64().context("nobody watches")? / 1000.0))
    }

    /// Shows pages as on a screen of this size in CSS pixels whose system asks for `scheme`, `dark` or `light`.
    ///
    /// # Errors
    /// The browser does not know the command, which is one of Chromium's own.
    pub async fn look_like(&self, width: u32, height: u32, scheme: &str) -> anyhow::Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", scheme).await
    }

    async fn devtools(&self, command: &str, params: Value) -> anyhow::Result<()> {
        self.in_session("goog/cdp/execute", json!({"cmd": command, "params": params}))
            .await
            .map(drop)
    }

    /// Writes a PNG of the window.
    ///
    /// # Errors
    /// The file can't be written.
    pub async fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let path_of_session = format!("/session/{}/screenshot", self.session);
        let image = self.command("GET", &path_of_session, Value::Null).await?;
        let image = base64::engine::general_purpose::STANDARD.decode(image.as_str().unwrap_or_default())?;
        std::fs::write(path, image).with_context(|| format!("failed to write {}", path.display()))
    }

    /// The lines that the console got since the last call.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn console(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.in_session("se/log", json!({"type": "browser"})).await?;
        let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(entries
            .iter()
            .map(|entry| format!("{}: {}", entry["level"], entry["message"]))
            .collect())
    }

    async fn in_session(&self, command: &str, body: Value) -> anyhow::Result<Value> {
        self.command("POST", &format!("/session/{}/{command}", self.session), body)
            .await
    }

    /// One WebDriver command: a request on a connection of its own, `value` of the answer.
    async fn command(&self, method: &str, path: &str, body: Value) -> anyhow::Result<Value> {
        let exchange = async {
            let stream = tokio::net::TcpStream::connect(self.address).await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .header("host", self.address.to_string())
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let bytes = answer.into_body().collect().await?.to_bytes();
            let mut answer: Value = serde_json::from_slice(&bytes)?;
            ensure!(
                status.is_success(),
                "{}: {}",
                answer["value"]["error"],
                answer["value"]["message"]
            );
            anyhow::Ok(answer["value"].take())
        };
        timeout(COMMAND, exchange)
            .await
            .with_context(|| format!("no answer to {method} {path}"))?
            .with_context(|| format!("{method} {path} failed"))
    }
}

impl Drop for Browser {
    /// The driver ends its browser when the session is deleted; killed, it would leave it behind.
    fn drop(&mut self) {
        if self.session.is_empty() {
            return;
        }
        let Ok(mut stream) = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)) else {
            return;
        };
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.session, self.address
        );
        let set = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if set.is_ok() && stream.write_all(request.as_bytes()).is_ok() {
            let mut answer = [0; 512];
            let _ended_or_late = stream.read(&mut answer);
        }
        let _already_gone = self.driver.start_kill();
    }
}

/// A running chromedriver and its port. It picks one that is free for IPv6 and ends at once where IPv4 has it taken, as it often is
/// where many nodes run: then it is started again.
async fn driver() -> anyhow::Result<(Child, u16)> {
    let program = std::env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
    let mut result = Err(anyhow::anyhow!("chromedriver was not started"));
    for _ in 0..DRIVERS {
        let mut driver = Command::new(&program)
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let stdout = driver.stdout.take().context("chromedriver has no standard output")?;
        let port = timeout(START, announced_port(BufReader::new(stdout)))
            .await
            .context("chromedriver said no port within its time")?;
        match port {
            Ok(port) => return Ok((driver, port)),
            Err(error) => result = Err(error),
        }
    }
    result
}

/// The port of "ChromeDriver was started successfully on port N."
async fn announced_port(mut lines: impl tokio::io::AsyncBufRead + Unpin) -> anyhow::Result<u16> {
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(lines.read_line(&mut line).await? > 0, "chromedriver ended at once");
        if let Some((_, port)) = line
            .trim_end()
            .trim_end_matches('.')
            .rsplit_once("successfully on port ")
        {
            return port.parse().with_context(|| format!("not a port: {line}"));
        }
    }
}
