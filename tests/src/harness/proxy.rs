//! A TCP proxy on loopback that behaves as a network does: passes, stalls without a word, or breaks.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Passes bytes both ways.
    Pass,
    /// Passes nothing, ends nothing: a cable that was pulled. New connections hang.
    Stall,
    /// Ends every connection, and each new one at once.
    Cut,
}

/// A running proxy; it ends when dropped, and with it every connection.
#[derive(Debug)]
pub struct Proxy {
    /// Where to connect to instead of the upstream.
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    upstream: watch::Sender<SocketAddr>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts a proxy before `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, watched) = watch::channel(Weather::Pass);
        let (upstream, leads_to) = watch::channel(upstream);
        let task = tokio::spawn(async move {
            let mut links = tokio::task::JoinSet::new();
            while let Ok((down, _)) = listener.accept().await {
                while links.try_join_next().is_some() {}
                let (watched, upstream) = (watched.clone(), *leads_to.borrow());
                links.spawn(async move {
                    // The end of a link is what this proxy is for: nothing to tell.
                    let _ = link(down, upstream, watched).await;
                });
            }
        });
        Ok(Self {
            address,
            weather,
            upstream,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Leads connections that come from now on elsewhere.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Changes the weather for all connections, at once.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn link(down: TcpStream, upstream: SocketAddr, mut weather: watch::Receiver<Weather>) -> Result<()> {
    weather.wait_for(|w| *w != Weather::Stall).await?;
    if *weather.borrow() == Weather::Cut {
        return Ok(());
    }
    let up = TcpStream::connect(upstream).await?;
    down.set_nodelay(true)?;
    up.set_nodelay(true)?;
    let (mut down_in, mut down_out) = down.into_split();
    let (mut up_in, mut up_out) = up.into_split();
    let mut other = weather.clone();
    let mut cut = weather.clone();
    tokio::select! {
        end = carry(&mut down_in, &mut up_out, &mut weather) => end,
        end = carry(&mut up_in, &mut down_out, &mut other) => end,
        _ = cut.wait_for(|w| *w == Weather::Cut) => Ok(()),
    }
}

async fn carry(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    weather: &mut watch::Receiver<Weather>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        weather.wait_for(|w| *w == Weather::Pass).await?;
        let count = from.read(&mut buffer).await?;
        // What came as the weather turned is held, as a network would.
        weather.wait_for(|w| *w == Weather::Pass).await?;
        if count == 0 {
            to.shutdown().await?;
            // The other direction goes on until it ends too.
            std::future::pending::<()>().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
