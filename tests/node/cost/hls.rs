//! What a crowd of LL-HLS viewers costs an edge: behind a cache, and without one.

use std::path::Path;
use std::time::Duration;

use e2e::bench::load;
use e2e::harness::process::Process;
use e2e::harness::{Node, ports, wait_until};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{LONG, SOON, publish_sample};

/// Parts a second, of 200 ms.
const PARTS: f64 = 5.0;

/// Debian's nginx as a cache that lets one request through for all that ask the same.
struct Cache {
    _process: Process,
    address: String,
    folder: TempDir,
}

impl Cache {
    async fn start(edge: &Node) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().display();
        let address = ports::free().unwrap().to_string();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\n\
             events {{ worker_connections 8192; }}\n\
             http {{\n\
             client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             log_format cache '$upstream_cache_status $status $request_uri'; access_log {path}/access.log cache;\n\
             proxy_cache_path {path}/cache levels=1:2 keys_zone=hls:10m max_size=200m use_temp_path=off;\n\
             upstream edge {{ server {}; keepalive 64; }}\n\
             server {{ listen {address}; keepalive_requests 1000000;\n\
             location / {{ proxy_pass http://edge; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_cache hls;\n\
             proxy_cache_lock on; proxy_cache_lock_timeout 20s; proxy_cache_lock_age 20s; proxy_read_timeout 20s; }} }} }}\n",
            edge.http
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let args = ["-p", &path.to_string(), "-c", &file.display().to_string()].map(str::to_owned);
        let process = Process::start("nginx", Path::new("/usr/sbin/nginx"), &args).unwrap();
        wait_until(SOON, "nginx listens", || async {
            TcpStream::connect(&address)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        Self {
            _process: process,
            address,
            folder,
        }
    }

    /// Requests so far, and how many of them went to the edge.
    fn requests(&self) -> (usize, usize) {
        let log = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let through = log.lines().filter(|line| !line.starts_with("HIT"));
        (log.lines().count(), through.count())
    }
}

/// Starts a crowd and waits until all of it watches.
async fn crowd(authority: &str, viewers: u32) -> load::Load {
    let url = load::url(load::Protocol::Hls, authority, "live/show");
    let load = load::start(load::Options {
        probes: 0,
        ..load::Options::new(url, viewers, LONG * 4)
    })
    .unwrap();
    wait_until(LONG, "all watch", || async {
        match load.playing() {
            playing if playing >= u64::from(viewers) => Ok(()),
            playing => Err(playing),
        }
    })
    .await
    .unwrap();
    load
}

async fn edge_that_plays() -> (Node, Node, e2e::bench::publish::Publication) {
    let origin = Node::origin().await.unwrap();
    let edge = Node::edge(&origin).await.unwrap();
    let publication = publish_sample(&origin, "show").await;
    edge.pull_knowing(origin.rtmp, Some(origin.http), &["show"])
        .await
        .unwrap();
    edge.playable("show", SOON).await.unwrap();
    (origin, edge, publication)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_viewers_behind_a_cache_cost_the_edge_fewer_than_ten_requests_a_part() {
    let (_origin, edge, _publication) = edge_that_plays().await;
    let cache = Cache::start(&edge).await;
    let load = crowd(&cache.address, 500).await;
    let (before, at) = (cache.requests(), std::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (after, parts) = (cache.requests(), at.elapsed().as_secs_f64() * PARTS);
    let report = load.stop().await.unwrap();
    let (all, through) = ((after.0 - before.0) as f64 / parts, (after.1 - before.1) as f64 / parts);
    println!(
        "figure: 500 LL-HLS viewers behind nginx: {all:.0} requests a part, {through:.1} of them to the edge\n{report}"
    );
    assert!(all > 500.0, "the crowd plays: {all} requests a part");
    assert!(through < 10.0, "{through} requests a part");
    assert_eq!((report.cut, report.connect_failures), (0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_viewers_are_served_from_one_packaging() {
    let (_origin, edge, _publication) = edge_that_plays().await;
    let load = crowd(&edge.http.to_string(), 1_000).await;
    let (before, at) = (edge.process.cpu().unwrap(), std::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = (edge.process.cpu().unwrap() - before).as_secs_f64() / at.elapsed().as_secs_f64();
    let viewers = edge
        .metric("headwater_node_viewers{protocol=\"hls\"}")
        .await
        .unwrap()
        .unwrap();
    let report = load.stop().await.unwrap();
    let resident = edge.process.resident_kib().unwrap();
    println!(
        "figure: 1000 LL-HLS viewers of one edge without a cache: {:.0} % of a core, {resident} KiB resident, \
         {viewers:.0} viewers counted\n{report}",
        used * 100.0
    );
    assert_eq!((report.cut, report.connect_failures), (0, 0), "{report}");
    // A machine that is too slow for the load gives each viewer less media than the stream has: such a viewer is less than one.
    let share = report.bit_rate.median as f64 / report.bit_rate.stream as f64;
    let expected = 1_000.0 * share.min(1.0);
    assert!(
        (expected * 0.75..=expected * 1.3).contains(&viewers),
        "{viewers} viewers counted, not {expected:.0}"
    );
}
