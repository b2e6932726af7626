//! Runs `*.test.js`, the tests of the pure modules of the player and the console, in Chromium: on a fresh machine there is no other JavaScript.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use e2e::browser::Browser;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const SUITES: [&str; 8] = [
    "boxes", "choice", "console", "gate", "pace", "report", "splice", "tuning",
];

/// `/play/{file}` and `/console/{file}` from the pages' folders, `/tests/{file}` from this one, an empty document elsewhere.
async fn serve_files() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = request.uri().path();
    let file: Option<PathBuf> = match path.rsplit_once('/') {
        Some(("/play", name)) => Some(tests.join("../media-node/src/deliver/page").join(name)),
        Some(("/console", name)) => Some(tests.join("../operator/src/console").join(name)),
        Some(("/tests", name)) => Some(tests.join("browser").join(name)),
        _ => None,
    };
    let (kind, body) = match file {
        None => ("text/html", Ok(b"<!doctype html><link rel=icon href=data:,>".to_vec())),
        Some(file) => ("text/javascript", std::fs::read(file)),
    };
    let status = if body.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    let response = Response::builder().status(status).header("content-type", kind);
    response.body(Full::from(body.unwrap_or_default())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_decisions_of_player_and_console_hold_their_tests() {
    let address = serve_files().await;
    let browser = Browser::start().await.unwrap();
    browser.open(&format!("http://{address}/")).await.unwrap();
    let suites: Vec<String> = SUITES.iter().map(|suite| format!("/tests/{suite}.test.js")).collect();
    let script = format!(
        "(async () => {{
           for (const suite of {suites:?}) await import(suite);
           return (await import('/tests/check.js')).run();
         }})().then((result) => (window.result = result), (error) => (window.result = {{ count: 0, failures: [String(error)] }}));"
    );
    browser.eval(&script).await.unwrap();
    let result = browser
        .wait_until("window.result", Duration::from_secs(30))
        .await
        .unwrap();
    let failures: Vec<&str> = result["failures"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|f| f.as_str())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(
        result["count"].as_u64() >= Some(71),
        "only {} tests ran",
        result["count"]
    );
}
