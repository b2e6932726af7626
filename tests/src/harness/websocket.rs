//! A WebSocket viewer that keeps every message: an independent client, so that framing is checked too.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a node may take to accept.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connected viewer.
#[derive(Debug)]
pub struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Binary messages as they came.
    pub binary: Vec<Vec<u8>>,
    /// Text messages as they came.
    pub texts: Vec<Value>,
}

impl Viewer {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self> {
        let connect = timeout(PATIENCE, connect_async(url)).await;
        let (socket, _) = connect
            .with_context(|| format!("{url} did not answer"))?
            .with_context(|| format!("{url} refused"))?;
        Ok(Self {
            socket,
            binary: Vec::new(),
            texts: Vec::new(),
        })
    }

    /// Takes one message; false at the end.
    pub async fn next(&mut self) -> Result<bool> {
        match self.socket.next().await {
            Some(Ok(Message::Binary(bytes))) => self.binary.push(bytes.to_vec()),
            Some(Ok(Message::Text(text))) => self.texts.push(serde_json::from_str(&text)?),
            Some(Ok(Message::Close(_))) | None => return Ok(false),
            Some(Ok(_)) => {}
            Some(Err(error)) => bail!("WebSocket: {error}"),
        }
        Ok(true)
    }

    /// Takes messages until `done` says so; fails at the deadline or at the end of the stream.
    pub async fn until(&mut self, within: Duration, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let wait = async {
            while !done(self) {
                if !self.next().await? {
                    bail!("the server closed before: {what}");
                }
            }
            Ok(())
        };
        let waited = timeout(within, wait).await;
        waited.with_context(|| format!("not within {within:?}: {what}"))?
    }

    /// Takes messages to the end.
    pub async fn to_end(&mut self, within: Duration) -> Result<()> {
        let wait = async {
            while self.next().await? {}
            anyhow::Ok(())
        };
        timeout(within, wait)
            .await
            .with_context(|| format!("no end within {within:?}"))?
    }

    /// Texts of a type.
    pub fn texts_of(&self, kind: &str) -> Vec<&Value> {
        self.texts.iter().filter(|text| text["type"] == kind).collect()
    }

    /// How many binary messages are init segments.
    pub fn inits(&self) -> usize {
        self.binary
            .iter()
            .filter(|message| message.get(4..8) == Some(b"ftyp"))
            .count()
    }
}
