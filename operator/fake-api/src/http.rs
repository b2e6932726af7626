//! The same server over HTTP, for programs that are processes of their own.

use std::convert::Infallible;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Caller, FakeApi, refusal};

impl FakeApi {
    /// Answers whoever connects, for as long as this is polled.
    pub async fn listen(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let _ = stream.set_nodelay(true);
            let (api, caller) = (self.clone(), Caller::default());
            let service = service_fn(move |request| {
                let answer = api.clone().serve(caller.clone(), request);
                async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|error| refusal(503, &error.to_string()))) }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}
