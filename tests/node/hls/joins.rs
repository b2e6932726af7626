//! HLS of several nodes: whoever joins when, restarts, or loses its source serves the same files under the same names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::harness::media::Ffmpeg;
use e2e::harness::process::Signal;
use e2e::harness::proxy::{Proxy, Weather};
use e2e::harness::{Node, fixture, http, wait_until};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::{folder, names};
use crate::{LONG, SOON};

/// Files of media by name.
type Files = BTreeMap<String, Bytes>;

/// Somebody who asks one node for everything that its playlists name, again and again.
struct Collector {
    files: Arc<Mutex<Files>>,
    faults: Arc<Mutex<Vec<String>>>,
    task: AbortOnDropHandle<()>,
}

/// How often playlists are read.
const EVERY: Duration = Duration::from_millis(150);

impl Collector {
    fn start(base: String) -> Self {
        let (files, faults) = (Arc::<Mutex<Files>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (kept, told) = (Arc::clone(&files), Arc::clone(&faults));
        let task = tokio::spawn(async move {
            loop {
                for playlist in ["video.m3u8", "audio.m3u8"] {
                    // A node that is being started anew does not answer: that is no fault of HLS.
                    let Ok(answer) = http::get(&format!("{base}{playlist}")).await else {
                        continue;
                    };
                    for name in names(&answer.text()) {
                        if kept.lock().await.contains_key(&name) {
                            continue;
                        }
                        match http::get(&format!("{base}{name}")).await {
                            Ok(file) if file.status == 200 => {
                                kept.lock().await.insert(name, file.body);
                            }
                            Ok(file) => told
                                .lock()
                                .await
                                .push(format!("{name}: {} {}", file.status, file.text())),
                            Err(_) => {}
                        }
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self {
            files,
            faults,
            task: AbortOnDropHandle::new(task),
        }
    }

    async fn finish(self) -> Files {
        self.task.abort();
        assert_eq!(*self.faults.lock().await, Vec::<String>::new());
        self.files.lock().await.clone()
    }
}

/// Waits until every node shows the same window in a playlist, with this tag.
async fn agree(nodes: &[&Node], playlist: &str, tag: &str) {
    wait_until(LONG, "every node shows the same window", || async {
        let urls = nodes.iter().map(|node| format!("{}{playlist}", folder(node)));
        let answers = futures_util::future::join_all(urls.map(|url| async move { http::get(&url).await })).await;
        let texts: Vec<String> = answers
            .into_iter()
            .map(|answer| answer.map_or(String::new(), |it| it.text()))
            .collect();
        match texts.iter().all(|text| *text == texts[0] && text.contains(tag)) {
            true => Ok(()),
            false => Err(texts.join("\n----\n")),
        }
    })
    .await
    .unwrap();
}

/// Lets `seconds` of the stream pass.
async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// B-frames, groups of pictures from 0.5 to 5.2 s, a frame rate and a sample rate that no millisecond divides. `rounds` is how
/// often one of them loses its source and is started anew.
async fn whoever_joins_when(rounds: usize) {
    let origin = Node::origin().await.unwrap();
    let (early, late, middle) = (
        Node::edge(&origin).await.unwrap(),
        Node::edge(&origin).await.unwrap(),
        Node::edge(&origin).await.unwrap(),
    );
    let proxy = Proxy::start(origin.rtmp).await.unwrap();
    let mut shaken = Node::edge(&origin).await.unwrap();
    let leaf = Node::edge(&middle).await.unwrap();
    let stream = ["show"];
    early
        .pull_knowing(origin.rtmp, Some(origin.http), &stream)
        .await
        .unwrap();
    late.pull_knowing(origin.rtmp, Some(origin.http), &stream)
        .await
        .unwrap();
    middle
        .pull_knowing(origin.rtmp, Some(origin.http), &stream)
        .await
        .unwrap();
    shaken
        .pull_knowing(proxy.address, Some(origin.http), &stream)
        .await
        .unwrap();
    let file = fixture("gops-aac.flv").unwrap();
    let publisher = Ffmpeg::System.publish(&file, &origin.rtmp_url("show"), -1).unwrap();
    for node in [&origin, &early, &late, &middle, &shaken] {
        node.playable("show", SOON).await.unwrap();
    }
    let mut collectors = vec![
        Collector::start(folder(&origin)),
        Collector::start(folder(&early)),
        Collector::start(folder(&shaken)),
    ];
    pass(7.3).await;
    leaf.pull_knowing(middle.rtmp, Some(middle.http), &stream)
        .await
        .unwrap();
    leaf.playable("show", SOON).await.unwrap();
    collectors.push(Collector::start(folder(&leaf)));
    pass(1.9).await;
    collectors.push(Collector::start(folder(&late)));
    for round in 0..rounds {
        proxy.set(Weather::Cut);
        pass(if round % 2 == 0 { 0.4 } else { 2.7 }).await;
        proxy.set(Weather::Pass);
        pass(3.1).await;
        shaken.kill().await.unwrap();
        shaken.restart().await.unwrap();
        shaken
            .pull_knowing(proxy.address, Some(origin.http), &stream)
            .await
            .unwrap();
        shaken.playable("show", LONG).await.unwrap();
        pass(4.7).await;
    }
    let nodes = [&origin, &early, &late, &middle, &shaken, &leaf];
    agree(&nodes, "plain-video.m3u8", "#EXTINF").await;
    agree(&nodes, "plain-audio.m3u8", "#EXTINF").await;
    pass(2.0).await;
    publisher.signal(Signal::Int).await.unwrap();
    for playlist in ["plain-video.m3u8", "plain-audio.m3u8", "video.m3u8", "audio.m3u8"] {
        agree(&nodes, playlist, "#EXT-X-ENDLIST").await;
    }
    pass(1.0).await;
    all_alike(collectors).await;
}

/// What everybody collected is the same under the same name, and something of each kind.
async fn all_alike(collectors: Vec<Collector>) {
    let mut all = Vec::new();
    for collector in collectors {
        all.push(collector.finish().await);
    }
    let kinds = ["video-init-", "audio-init-", "video-1", "audio-1"];
    for (index, files) in all.iter().enumerate() {
        for kind in kinds {
            assert!(
                files.keys().any(|name| name.starts_with(kind)),
                "node {index} has no {kind}"
            );
        }
        for (name, bytes) in files {
            let others = all.iter().filter_map(|files| files.get(name));
            for other in others {
                assert!(bytes == other, "node {index}: {name}");
            }
        }
    }
    println!(
        "files of each node, all alike under one name: {:?}",
        all.iter().map(BTreeMap::len).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_late_restarts_or_loses_its_source_serves_the_same_files() {
    whoever_joins_when(1).await;
}

/// The same for minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "three minutes"]
async fn whoever_joins_late_restarts_or_loses_its_source_serves_the_same_files_for_minutes() {
    whoever_joins_when(20).await;
}
