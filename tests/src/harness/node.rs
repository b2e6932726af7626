//! A media node as a process on free ports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::http::Method;
use anyhow::{Context, Result, ensure};
use headwater_contract::{
    DRAIN_PATH, Drain, HELLO_PATH, NodeHello, PULLS_PATH, Pull, Pulls, Role, Source, StreamState,
};
use tempfile::TempDir;

use super::http::Answer;
use super::process::{Process, Signal};
use super::{http, ports, program, wait_until, wait_until_every};

/// How long a node may take to start; a debug build on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Name of the file with its token.
const TOKEN: &str = "token";

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub process: Process,
    /// RTMP listener.
    pub rtmp: SocketAddr,
    /// Delivery listener.
    pub http: SocketAddr,
    /// Ops listener.
    pub ops: SocketAddr,
    /// Token of its control API.
    pub token: String,
    role: Role,
    args: Vec<String>,
    folder: TempDir,
}

/// When a node's delivery port first lists the stream at `/api/streams`, where only what can be played stands; asked often enough to
/// be measured.
pub async fn listed(http: &str, stream: &str, within: Duration) -> Result<Instant> {
    let url = format!("http://{http}/api/streams");
    let wanted = format!("\"name\":\"{stream}\"");
    wait_until_every(
        Duration::from_millis(5),
        within,
        "the node lists the stream",
        || async {
            let text = http::get(&url).await.map(|answer| answer.text()).unwrap_or_default();
            if text.contains(&wanted) {
                Ok(Instant::now())
            } else {
                Err(text)
            }
        },
    )
    .await
}

impl Node {
    /// Starts an origin and waits until it is ready.
    pub async fn origin() -> Result<Self> {
        Self::start(Role::Origin, &[]).await
    }

    /// Starts an edge that pulls on demand from `upstream`, and waits until it is ready.
    pub async fn edge(upstream: &Node) -> Result<Self> {
        Self::start(
            Role::Edge,
            &[
                "--upstream",
                &format!("rtmp://{}/live", upstream.rtmp),
                "--ready-wait",
                "1s",
            ],
        )
        .await
    }

    /// Starts a node with further flags and waits until it is ready.
    pub async fn start(role: Role, flags: &[&str]) -> Result<Self> {
        let node = Self::start_unready(role, flags).await?;
        node.ready().await?;
        Ok(node)
    }

    /// Starts a node and waits only until it answers.
    pub async fn start_unready(role: Role, flags: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let token: String = std::iter::repeat_with(|| char::from(rand::random_range(b'a'..=b'z')))
            .take(32)
            .collect();
        let token_file = folder.path().join(TOKEN);
        std::fs::write(&token_file, format!("{token}\n"))?;
        let (rtmp, http, ops) = (ports::free()?, ports::free()?, ports::free()?);
        let role_name = if role == Role::Origin { "origin" } else { "edge" };
        let mut args = vec![
            role_name.to_owned(),
            "--name".to_owned(),
            format!("{role_name}-{}", rtmp.port()),
        ];
        for (flag, value) in [
            ("--rtmp-listen", rtmp.to_string()),
            ("--http-listen", http.to_string()),
            ("--ops-listen", ops.to_string()),
            ("--control-token-file", token_file.display().to_string()),
        ] {
            args.extend([flag.to_owned(), value]);
        }
        args.push("--end-with-stdin".to_owned());
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let process = Process::start(role_name, &program("media-node")?, &args)?;
        let mut node = Self {
            process,
            rtmp,
            http,
            ops,
            token,
            role,
            args,
            folder,
        };
        node.alive().await?;
        Ok(node)
    }

    /// Starts it anew with the same flags, after it has ended.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = Process::start("media-node", &program("media-node")?, &self.args)?;
        self.alive().await?;
        self.ready().await
    }

    async fn alive(&mut self) -> Result<()> {
        let url = format!("http://{}/livez", self.ops);
        for attempt in 0.. {
            ensure!(
                self.process.ended().is_none(),
                "the node ended at once:\n{}",
                self.process.log_tail()
            );
            match http::get(&url).await {
                Ok(answer) if answer.status.is_success() => break,
                last if attempt > START.as_millis() / 20 => {
                    last.with_context(|| format!("the node does not answer:\n{}", self.process.log_tail()))?;
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Ok(())
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) -> Result<()> {
        let url = format!("http://{}/readyz", self.ops);
        wait_until(START, "the node is ready", || async {
            match http::get(&url).await {
                Ok(answer) if answer.status.is_success() => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// What it may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// File that its token stands in.
    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join(TOKEN)
    }

    /// `rtmp://…/live/{stream}`.
    pub fn rtmp_url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.rtmp)
    }

    /// `http://…{path}` on the delivery port.
    pub fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// `ws://…/live/{stream}.mp4`.
    pub fn ws_url(&self, stream: &str) -> String {
        format!("ws://{}/live/{stream}.mp4", self.http)
    }

    /// A request to the control API with the token.
    pub async fn control(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        http::send(method, &format!("http://{}{path}", self.ops), Some(&self.token), body).await
    }

    /// Identity and state.
    pub async fn hello(&self) -> Result<NodeHello> {
        self.control(Method::GET, HELLO_PATH, None).await?.json()
    }

    /// Its metrics.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(&format!("http://{}/metrics", self.ops)).await?.text())
    }

    /// One sample of its metrics, by name with labels as they stand in the text.
    pub async fn metric(&self, sample: &str) -> Result<Option<f64>> {
        let text = self.metrics().await?;
        let line = text
            .lines()
            .find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next())
            .map(|value| value.parse().context("metric"))
            .transpose()
    }

    /// Tells it to pull these streams from `upstream`, and nothing else.
    pub async fn pull(&self, upstream: SocketAddr, streams: &[&str]) -> Result<()> {
        self.pull_knowing(upstream, None, streams).await
    }

    /// As [`Node::pull`], and where the delivery port of that node is.
    pub async fn pull_knowing(&self, upstream: SocketAddr, http: Option<SocketAddr>, streams: &[&str]) -> Result<()> {
        let pulls = streams.iter().map(|stream| Pull {
            stream: (*stream).to_owned(),
            sources: vec![Source {
                url: format!("rtmp://{upstream}/live/{stream}"),
                http: http.map(|http| format!("http://{http}")),
            }],
        });
        let pulls = Pulls {
            term: None,
            pulls: pulls.collect(),
            on_demand: None,
        };
        let answer = self
            .control(Method::PUT, PULLS_PATH, Some(serde_json::to_vec(&pulls)?))
            .await?;
        ensure!(
            answer.status.is_success(),
            "pulls refused: {} {}",
            answer.status,
            answer.text()
        );
        Ok(())
    }

    /// Tells it to drain within `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Result<()> {
        let drain = Drain {
            term: None,
            deadline: jiff::Timestamp::now() + deadline,
        };
        let answer = self
            .control(Method::PUT, DRAIN_PATH, Some(serde_json::to_vec(&drain)?))
            .await?;
        ensure!(
            answer.status.is_success(),
            "drain refused: {} {}",
            answer.status,
            answer.text()
        );
        Ok(())
    }

    /// Waits until a viewer of the stream would be served at once.
    pub async fn playable(&self, stream: &str, within: Duration) -> Result<StreamState> {
        wait_until(within, &format!("{stream} is playable"), || async {
            let hello = self.hello().await.map_err(|error| format!("{error:#}"))?;
            let found = hello.streams.iter().find(|s| s.name == stream && s.playable);
            found
                .cloned()
                .ok_or_else(|| format!("{:?}, failing {:?}", hello.streams, hello.figures.failing_pulls))
        })
        .await
    }

    /// Waits until the node no longer has the stream.
    pub async fn gone(&self, stream: &str, within: Duration) -> Result<()> {
        wait_until(within, &format!("{stream} is gone"), || async {
            let hello = self.hello().await.map_err(|error| format!("{error:#}"))?;
            if hello.streams.iter().any(|s| s.name == stream) {
                Err(format!("{:?}", hello.streams))
            } else {
                Ok(())
            }
        })
        .await
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::Kill).await?;
        self.process.wait(Duration::from_secs(5)).await?;
        Ok(())
    }
}
