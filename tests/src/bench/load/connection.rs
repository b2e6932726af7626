//! One viewer's connection: a socket, and the readers of its protocol over it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Address, Protocol};
use crate::wire::rtmp::{self, Client, Goal, Target};
use crate::wire::websocket::{self, Piece};
use crate::wire::{Error, Sink, flv, fmp4, http};

/// How long a server may take to accept a viewer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// One read; large, so that a viewer that is behind catches up with few system calls.
const READ: usize = 256 * 1024;

thread_local! {
    /// One for all viewers of a thread: a viewer keeps no buffer of its own.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A connection on which media comes or will come.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    reader: Reader,
    out: Vec<u8>,
}

#[derive(Debug)]
enum Reader {
    Rtmp(Box<Client>),
    Http(http::Response, Media),
    WebSocket(http::Response, websocket::Reader, Media),
}

#[derive(Debug)]
enum Media {
    Flv(flv::Reader),
    Fmp4(Box<fmp4::Reader>),
}

impl Media {
    fn feed(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        match self {
            Media::Flv(reader) => reader.feed(data, sink),
            Media::Fmp4(reader) => reader.feed(data, sink),
        }
    }
}

impl Connection {
    /// Connects and asks for the stream; what the server says to it comes with [`Connection::read`].
    pub(super) async fn open(address: &Address, peer: SocketAddr, head_limit: usize) -> Result<Self> {
        let connect = timeout(PATIENCE, TcpStream::connect(peer)).await;
        let socket = connect
            .context("connecting took too long")?
            .context("failed to connect")?;
        timeout(PATIENCE, Self::ask(socket, address, head_limit))
            .await
            .context("the server did not answer in time")?
    }

    async fn ask(mut socket: TcpStream, address: &Address, head_limit: usize) -> Result<Self> {
        let mut out = Vec::new();
        let media = || match address.path.rsplit('.').next() {
            Some("flv") => Media::Flv(flv::Reader::new(head_limit)),
            _ => Media::Fmp4(Box::new(fmp4::Reader::new(head_limit))),
        };
        let reader = match address.protocol {
            Protocol::Rtmp => {
                let target: Target = format!("rtmp://{}{}", address.authority, address.path).parse()?;
                socket.write_all(&rtmp::hello()).await?;
                let mut answer = vec![0u8; 1 + 2 * rtmp::HANDSHAKE];
                socket
                    .read_exact(&mut answer)
                    .await
                    .context("failed to read the handshake")?;
                out.extend_from_slice(&answer[1..1 + rtmp::HANDSHAKE]);
                Reader::Rtmp(Box::new(Client::new(Goal::Play, target, head_limit, &mut out)))
            }
            Protocol::Flv | Protocol::Mp4 => {
                out.extend_from_slice(
                    format!(
                        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: headwater-bench\r\n\r\n",
                        address.path, address.authority
                    )
                    .as_bytes(),
                );
                Reader::Http(http::Response::new(200), media())
            }
            Protocol::Hls => bail!("HLS has no one connection"),
            Protocol::Ws => {
                out.extend_from_slice(
                    format!(
                        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aGVhZHdhdGVyLWJlbmNoMQ==\r\n\r\n",
                        address.path, address.authority
                    )
                    .as_bytes(),
                );
                Reader::WebSocket(http::Response::new(101), websocket::Reader::default(), media())
            }
        };
        socket.write_all(&out).await.context("failed to send")?;
        out.clear();
        Ok(Self { socket, reader, out })
    }

    /// Reads once, tells the sink, answers where the protocol wants it. Returns the bytes read. Cancel safe.
    pub(super) async fn read(&mut self, sink: &mut (dyn Sink + Send)) -> Result<usize> {
        let Self { socket, reader, out } = self;
        let count = read_once(socket, &mut |data| feed(reader, out, data, sink)).await?;
        if count == 0 {
            bail!("the server closed the connection");
        }
        // Answers are a few bytes every few seconds: they fit the socket's buffer.
        if !out.is_empty()
            && let Ok(written) = socket.try_write(out)
        {
            out.drain(..written);
        }
        Ok(count)
    }
}

/// Reads once into the thread's buffer and passes on what came: no bytes at the end. Cancel safe.
pub(super) async fn read_once(
    socket: &mut TcpStream,
    take: &mut (dyn FnMut(&[u8]) -> Result<(), Error> + Send),
) -> Result<usize> {
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut *socket).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    let data = buffer.filled();
                    Poll::Ready(take(data).map(|()| data.len()).map_err(anyhow::Error::from))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(anyhow::Error::from(error).context("failed to receive"))),
                Poll::Pending => Poll::Pending,
            }
        })
    })
    .await
}

fn feed(reader: &mut Reader, out: &mut Vec<u8>, data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
    match reader {
        Reader::Rtmp(client) => client.feed(data, out, sink),
        Reader::Http(response, media) => response.feed(data, &mut |body| media.feed(body, sink)),
        Reader::WebSocket(response, frames, media) => response.feed(data, &mut |body| {
            frames.feed(body, out, &mut |piece| match piece {
                Piece::Binary(bytes) => media.feed(bytes, sink),
                Piece::Text(text) => {
                    sink.text(text);
                    Ok(())
                }
            })
        }),
    }
}
