//! Fetches from the node upstream what this one has not packaged itself, by the same URLs that viewers use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It took too long.
    #[error("{url}: no answer within {} s", FETCH.as_secs())]
    Timeout {
        /// What was fetched.
        url: String,
    },
    /// The address, the connection or the answer is broken.
    #[error("{url}: {reason}")]
    Broken {
        /// What was fetched.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It said no.
    #[error("{url}: answered {status}")]
    Refused {
        /// What was fetched.
        url: String,
        /// How.
        status: StatusCode,
    },
}

/// A fetch takes at most this long; a description may be waited for so long at the upstream.
const FETCH: Duration = Duration::from_secs(10);
/// Fetches at once; further ones wait for their turn.
const AT_ONCE: usize = 64;

/// The client of a node.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Semaphore>);

impl Default for Upstream {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Upstream {
    /// The body at `base` followed by `name`, at most `most` bytes. `base` is an `http:` URL that ends with a slash.
    pub async fn fetch(&self, base: &str, name: &str, most: usize) -> Result<Bytes, FetchError> {
        let url = format!("{base}{name}");
        let fetch = async {
            let _turn = self.0.acquire().await;
            get(&url, most).await
        };
        match tokio::time::timeout(FETCH, fetch).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::Timeout { url }),
        }
    }
}

async fn get(url: &str, most: usize) -> Result<Bytes, FetchError> {
    let broken = |reason: &dyn std::fmt::Display| FetchError::Broken {
        url: url.to_owned(),
        reason: reason.to_string(),
    };
    let uri: Uri = url.parse().map_err(|error| broken(&error))?;
    let authority = uri.authority().ok_or_else(|| broken(&"it names no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| broken(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::USER_AGENT, concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(FetchError::Refused {
                url: url.to_owned(),
                status,
            });
        }
        let body = Limited::new(response.into_body(), most).collect().await;
        Ok(body.map_err(|error| broken(&error))?.to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        fetched = &mut exchange => fetched,
        ended = connection => match ended {
            // The answer may be here as a whole though the connection is closed.
            Ok(()) => exchange.await,
            Err(error) => Err(broken(&error)),
        },
    }
}
