//! A server in front of a node that behaves as what stands in the way does.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What it does.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Passes requests on to a node, but answers those for an upgrade itself, with 400, as many a proxy does.
    NoUpgrades(SocketAddr),
    /// Answers every request with one of these texts, by path.
    Files(Vec<(&'static str, &'static str, String)>),
}

/// A running one; dropping it ends it and its connections.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

const MOST_HEAD: usize = 16 * 1024;

impl Front {
    pub(crate) async fn start(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut links = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while links.try_join_next().is_some() {}
                let manner = manner.clone();
                links.spawn(async move {
                    // A browser that leaves is no fault.
                    let _ = serve(client, &manner).await;
                });
            }
        });
        Ok(Self {
            address,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

/// One connection: its first request decides where it goes, as browsers open a connection of its own for each upgrade.
async fn serve(mut client: TcpStream, manner: &Manner) -> Result<()> {
    client.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MOST_HEAD {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    match manner {
        Manner::NoUpgrades(_) if text.contains("upgrade: websocket") => {
            reply(&mut client, "400 Bad Request", "text/plain", "").await
        }
        Manner::NoUpgrades(node) => {
            let mut node = TcpStream::connect(node).await?;
            node.set_nodelay(true)?;
            node.write_all(&head).await?;
            copy_bidirectional(&mut client, &mut node).await?;
            Ok(())
        }
        Manner::Files(files) => {
            let path = text.split_whitespace().nth(1).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            match files.iter().find(|(name, ..)| *name == path) {
                Some((_, kind, body)) => reply(&mut client, "200 OK", kind, body).await,
                None => reply(&mut client, "404 Not Found", "text/plain", "").await,
            }
        }
    }
}

async fn reply(client: &mut TcpStream, status: &str, kind: &str, body: &str) -> Result<()> {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\naccess-control-allow-origin: *\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    Ok(())
}
