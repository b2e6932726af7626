//! The player and the load tool against servers of a stream that keeps every rule, and against ones that break some.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use e2e::bench::load;
use e2e::hls::Rule;
use e2e::hls::client::{self, Ledger, Mode, Options, Report, Route};
use e2e::hls::model::Model;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

/// What a server does wrong.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wrong {
    /// It has everything so much later.
    lag: Duration,
    /// No part with this index is there.
    missing: Option<u64>,
    /// Parts with this index have other bytes.
    other: Option<u64>,
    /// Nothing new comes from here to there, in parts since the server's start.
    pause: Option<(u64, u64)>,
}

struct Server {
    model: Model,
    wrong: Wrong,
    /// Parts that there were at its start.
    start: u64,
}

/// A stream that began half a minute ago.
fn running() -> Model {
    let begin = Timestamp::now() - SignedDuration::from_secs(30);
    Model {
        begin,
        ..Model::default()
    }
}

async fn serve(model: &Model, wrong: Wrong) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let start = model.parts_at(Timestamp::now());
    let server = Arc::new(Server {
        model: model.clone(),
        wrong,
        start,
    });
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let server = server.clone();
            tokio::spawn(async move {
                let answer = service_fn(|request| server.answer(request));
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), answer)
                    .await
            });
        }
    });
    address
}

impl Server {
    fn parts(&self) -> u64 {
        let now = Timestamp::now() - SignedDuration::try_from(self.wrong.lag).unwrap();
        let parts = self.model.parts_at(now);
        match self.wrong.pause {
            Some((from, to)) if (from..to).contains(&(parts - self.start)) => self.start + from,
            _ => parts,
        }
    }

    /// Waits until there are so many parts, for at most 5 s.
    async fn wait(&self, parts: u64) -> bool {
        for _ in 0..1000 {
            if self.parts() >= parts {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let directive = |name: &str| {
            let value = query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let name = request
            .uri()
            .path()
            .trim_start_matches("/live/m")
            .trim_start_matches('/')
            .to_owned();
        if let (Some(msn), Some(part)) = (directive("_HLS_msn"), directive("_HLS_part")) {
            self.wait((msn - self.model.first) * self.model.parts + part + 1).await;
        }
        let parts = self.parts();
        let body = match name.strip_suffix(".m3u8") {
            Some("") => self.model.multivariant("m/").into_bytes(),
            Some("plain") => self.model.multivariant("plain-").into_bytes(),
            Some(name) => match name.strip_prefix("plain-") {
                Some(kind) => self.model.plain(kind, parts).into_bytes(),
                None => self
                    .model
                    .playlist(name, parts, query.contains("_HLS_skip"))
                    .into_bytes(),
            },
            None => match self.media(&name).await {
                Some(body) => body,
                None => return Ok(Response::builder().status(404).body(Full::default()).unwrap()),
            },
        };
        let gzip = request
            .headers()
            .get("accept-encoding")
            .is_some_and(|value| value == "gzip");
        if gzip {
            let mut coder = flate2::read::GzEncoder::new(&body[..], flate2::Compression::fast());
            let mut packed = Vec::new();
            std::io::Read::read_to_end(&mut coder, &mut packed).unwrap();
            return Ok(Response::builder()
                .header("content-encoding", "gzip")
                .body(Full::from(packed))
                .unwrap());
        }
        Ok(Response::new(Full::from(body)))
    }

    async fn media(&self, name: &str) -> Option<Vec<u8>> {
        let part: Option<u64> = name.split('.').nth(1).and_then(|part| part.parse().ok());
        if part.is_some() && part == self.wrong.missing {
            return None;
        }
        for _ in 0..1000 {
            if let Some(mut body) = self.model.file(name, self.parts()) {
                if part.is_some() && part == self.wrong.other {
                    *body.last_mut()? ^= 1;
                }
                return Some(body);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }
}

async fn servers(wrongs: &[Wrong]) -> Vec<String> {
    let model = running();
    let mut bases = Vec::new();
    for wrong in wrongs {
        bases.push(format!("http://{}", serve(&model, wrong.clone()).await));
    }
    bases
}

async fn play(options: Options, seconds: u64) -> Report {
    let client = client::start(options);
    client.playing().await.unwrap();
    client.watch(Duration::from_secs(seconds)).await;
    client.stop().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_of_three_right_servers_has_nothing_to_report() {
    let bases = servers(&[
        Wrong::default(),
        Wrong {
            lag: Duration::from_millis(60),
            ..Wrong::default()
        },
        Wrong::default(),
    ])
    .await;
    for route in [Route::InTurn, Route::Random] {
        let options = Options {
            route,
            audit: true,
            ..Options::new(bases.clone(), "live/m")
        };
        let report = play(options, 5).await;
        report.clean().unwrap();
        assert!(
            report.servers.len() == 3 && report.servers.values().all(|count| *count > 10),
            "{report}"
        );
        assert!(
            report.parts >= 48 && report.audited >= 12 && report.compared > 60,
            "{report}"
        );
        assert!(
            report.rules.deltas > 40 && report.rules.hints > 20 && report.compressed > 40,
            "{report}"
        );
        assert!((550.0..1000.0).contains(&report.latency.p50), "{report}");
        assert!(report.delivery.p50 < 200.0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_of_whole_segments_has_nothing_to_report() {
    let bases = servers(&[Wrong::default(), Wrong::default()]).await;
    let report = play(
        Options {
            mode: Mode::Plain,
            ..Options::new(bases, "live/m")
        },
        7,
    )
    .await;
    report.clean().unwrap();
    assert!(report.segments >= 20 && report.parts == 0, "{report}");
    assert!((5500.0..9000.0).contains(&report.latency.p50), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_under_the_same_url_are_found() {
    let bases = servers(&[
        Wrong::default(),
        Wrong {
            other: Some(3),
            ..Wrong::default()
        },
    ])
    .await;
    let options = Options {
        audit: true,
        route: Route::First,
        ..Options::new(bases.clone(), "live/m")
    };
    let report = play(options, 3).await;
    assert!(
        report.differences.iter().any(|told| told.contains(".3.m4s")),
        "{report}"
    );
    assert!(
        report
            .differences
            .iter()
            .any(|told| told.contains("is not its 5 parts")),
        "{report}"
    );
    // Two clients that share a ledger, each with a server of its own.
    let ledger = Ledger::default();
    let with = |base: &String| Options {
        ledger: ledger.clone(),
        ..Options::new([base.clone()], "live/m")
    };
    let (one, other) = tokio::join!(play(with(&bases[0]), 3), play(with(&bases[1]), 3));
    assert!(one.compared > 20, "{one}");
    assert!(!other.differences.is_empty(), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_missing_shows_as_a_status_and_a_stall() {
    let bases = servers(&[Wrong {
        missing: Some(3),
        ..Wrong::default()
    }])
    .await;
    let report = play(Options::new(bases, "live/m"), 4).await;
    assert!(report.statuses.get(&404).is_some_and(|count| *count > 5), "{report}");
    assert!(!report.stalls.is_empty() && report.clean().is_err(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_pauses_shows_as_a_stall_and_as_a_late_part() {
    let bases = servers(&[Wrong {
        pause: Some((10, 20)),
        ..Wrong::default()
    }])
    .await;
    let report = play(Options::new(bases, "live/m"), 6).await;
    // A part was due after 200 ms and came after 2 s; 600 ms were there to play.
    let longest = report.longest_stall();
    assert!(
        longest > Duration::from_millis(900) && longest < Duration::from_millis(2000),
        "{report}"
    );
    assert!(
        report.faults.iter().any(|fault| fault.rule == Rule::PartCadence),
        "{report}"
    );
    assert!(report.latency.max > 1500.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_far_behind_the_others_is_found() {
    let bases = servers(&[
        Wrong::default(),
        Wrong {
            lag: Duration::from_secs(2),
            ..Wrong::default()
        },
    ])
    .await;
    let report = play(
        Options {
            skip: false,
            ..Options::new(bases, "live/m")
        },
        4,
    )
    .await;
    assert!(report.clean().is_err(), "{report}");
    assert!(report.delivery.p99 > 1500.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_costs_a_failure_and_the_player_goes_on() {
    let bases = servers(&[Wrong::default()]).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let both = [bases[0].clone(), format!("http://{gone}")];
    let client = client::start(Options {
        route: Route::First,
        ..Options::new(bases.clone(), "live/m")
    });
    client.playing().await.unwrap();
    client.set_bases([both[1].clone(), both[0].clone()]);
    client.watch(Duration::from_secs(3)).await;
    let report = client.stop().await.unwrap();
    assert!(report.errors > 0 && report.statuses.is_empty(), "{report}");
    assert!(report.parts > 30 && report.faults.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_sees_the_end_of_a_stream() {
    let mut model = running();
    model.end = Some(model.parts_at(Timestamp::now()) + 17);
    let base = format!("http://{}", serve(&model, Wrong::default()).await);
    let client = client::start(Options::new([base], "live/m"));
    client.ended(Duration::from_secs(10)).await.unwrap();
    let report = client.stop().await.unwrap();
    report.clean().unwrap();
    assert!(report.ended, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_tool_is_served_in_full_and_measures_parts_from_their_pictures() {
    let bases = servers(&[Wrong::default()]).await;
    let url = format!("{}/live/m.m3u8", bases[0]);
    let report = load::run(load::Options::new(url, 8, Duration::from_secs(5)))
        .await
        .unwrap();
    assert!(report.clean(), "{report}");
    let gaps = &report.gaps;
    assert_eq!(
        (gaps.gaps, gaps.backward, gaps.missing_pictures, gaps.repeated_pictures),
        (0, 0, 0, 0),
        "{report}"
    );
    // The first picture of a part is 160 ms older than the last.
    assert!(
        report.added_delay_ms.samples > 500 && report.added_delay_ms.p50 < 250.0,
        "{report}"
    );
    // Two renditions, each with a playlist and a part every 200 ms.
    assert!(report.requests > 8 * 6 * 20 * 9 / 10, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_tool_reports_a_server_that_has_not_all_parts() {
    let bases = servers(&[Wrong {
        missing: Some(3),
        ..Wrong::default()
    }])
    .await;
    let url = format!("{}/live/m.m3u8", bases[0]);
    let options = load::Options {
        reconnect: Some(Duration::from_millis(200)),
        ..load::Options::new(url, 3, Duration::from_secs(3))
    };
    let report = load::run(options).await.unwrap();
    assert!(report.cut > 0 && report.reconnects > 0, "{report}");
    assert!(report.gaps.missing_pictures > 0, "{report}");
    assert!(report.errors.keys().any(|error| error.contains("404")), "{report}");
}
