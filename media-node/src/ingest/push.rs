//! Pushes: streams forwarded to other RTMP servers, one client for each stream and rule that match.

mod mux;

use std::collections::HashMap;
use std::time::Duration;

use headwater_contract::{Push, pattern_matches};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::publishing::PublishRules;
use crate::hub::{Batch, Hub, Stream};
use crate::meters::{Meters, Protocol};
use crate::rtmp::client::{Client, ClientError};
use crate::rtmp::url::{RtmpUrl, UrlError};
use mux::PushMux;

/// Longest wait before a push is tried again, and the first one.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The desired pushes are looked at anew this often, whatever the events say.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps the pushes of all streams as the rules want them, until `stop`. Their tasks run on `tasks`.
pub async fn run(hub: Hub, rules: PublishRules, meters: Meters, tasks: TaskTracker, stop: CancellationToken) {
    let mut running: HashMap<(u64, String), CancellationToken> = HashMap::new();
    let (mut events, mut changes) = (hub.events(), rules.watch());
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
            event = events.recv() => if let Err(tokio::sync::broadcast::error::RecvError::Closed) = event {
                return;
            },
            Ok(()) = changes.changed() => {}
        }
        changes.mark_unchanged();
        let pushes = rules.current().pushes.clone();
        let wanted = desired(&hub.streams(), &pushes);
        running.retain(|key, cancel| {
            let keep = wanted.contains_key(key);
            if !keep {
                cancel.cancel();
            }
            keep
        });
        for (key, (stream, url)) in wanted {
            running.entry(key).or_insert_with(|| {
                let cancel = stop.child_token();
                tasks.spawn(forward(stream, url, meters.clone(), cancel.clone()));
                cancel
            });
        }
    }
}

/// Every push that should run, by stream and rule.
fn desired(streams: &[Stream], pushes: &[Push]) -> HashMap<(u64, String), (Stream, String)> {
    let live = streams.iter().filter(|stream| stream.ended().is_none());
    let matching = live.flat_map(|stream| {
        let name = stream.name().as_str();
        let rules = pushes.iter().filter(move |push| pattern_matches(&push.stream, name));
        rules.map(move |push| (stream, push.url.replace("{stream}", name)))
    });
    matching
        .map(|(stream, url)| ((stream.id(), url.clone()), (stream.clone(), url)))
        .collect()
}

/// Forwards one stream until it ends or `cancel`.
async fn forward(stream: Stream, url: String, meters: Meters, cancel: CancellationToken) {
    let url = match target(&url) {
        Ok(url) => url,
        Err(error) => return tracing::warn!(stream = %stream.name(), %error, "push has no valid URL"),
    };
    let mut wait = BACKOFF_FIRST;
    while stream.ended().is_none() {
        let error = tokio::select! {
            () = cancel.cancelled() => return,
            connected = connect(&url) => match connected {
                Ok(client) => {
                    wait = BACKOFF_FIRST;
                    tracing::info!(stream = %stream.name(), target = %url, "pushing");
                    match send(client, &stream, &url, &meters, &cancel).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            },
        };
        tracing::warn!(stream = %stream.name(), target = %url, %error, "push failed, and is tried again");
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * rand::random::<f64>())) => {}
        }
        wait = (wait * 2).min(BACKOFF_MAX);
    }
}

fn target(url: &str) -> Result<RtmpUrl, UrlError> {
    url.parse()
}

async fn connect(url: &RtmpUrl) -> Result<Client, ClientError> {
    let mut client = Client::connect(url, false).await?;
    client.publish(&url.stream_with_query()).await?;
    Ok(client)
}

/// Sends until the stream ends, the push is not wanted any more, or the other server is gone.
async fn send(
    mut client: Client,
    stream: &Stream,
    url: &RtmpUrl,
    meters: &Meters,
    cancel: &CancellationToken,
) -> Result<(), ClientError> {
    let serving = meters.serving(Protocol::Push);
    let mut subscriber = stream.subscribe();
    let mut mux = PushMux::new(client.stream_id());
    let (mut items, mut out) = (Vec::new(), Vec::new());
    loop {
        let batch = tokio::select! {
            () = cancel.cancelled() => break,
            error = client.refusal() => return Err(error),
            batch = subscriber.next(&mut items) => batch,
        };
        match batch {
            Batch::Items => {
                for item in items.drain(..) {
                    mux.item(&item, &mut out);
                }
                client.send(&out).await?;
                serving.sent(out.iter().map(|part| part.len() as u64).sum());
                out.clear();
            }
            Batch::Restarted | Batch::Skipped => mux.restart(),
            Batch::Ended(_) => break,
        }
    }
    client.unpublish(&url.stream_with_query()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater_contract::{PublishKey, Publishing, Role, StreamEnd, StreamSource};

    use super::*;
    use crate::hub::{Limits, PublishOptions};
    use crate::ingest::rtmp::tests::{Origin, origin, send_audio};

    fn push(stream: &str, url: String) -> Publishing {
        Publishing {
            pushes: vec![Push {
                stream: stream.into(),
                url,
            }],
            ..Publishing::default()
        }
    }

    fn forwarding(from: &Origin) -> TaskTracker {
        let ingest = from.ingest.clone();
        let tasks = TaskTracker::new();
        let running = run(
            ingest.hub,
            ingest.rules,
            ingest.meters,
            tasks.clone(),
            CancellationToken::new(),
        );
        tokio::spawn(running);
        tasks
    }

    #[tokio::test]
    async fn a_pushed_stream_plays_at_its_target_and_ends_with_its_source() {
        let (here, there) = (origin(Role::Origin, 10).await, origin(Role::Origin, 10).await);
        let keys = [("copy-cam1".to_owned(), PublishKey::new("s3cret"))].into();
        let keyed = Publishing {
            keys: Some(keys),
            ..Publishing::default()
        };
        there.ingest.rules.set(keyed).unwrap();
        let url = format!("{}/copy-{{stream}}?key=s3cret", there.base.tc_url());
        here.ingest.rules.set(push("cam*", url)).unwrap();
        let _tasks = forwarding(&here);
        let mut client = here.publish("cam1").await.unwrap();
        send_audio(&mut client, 60).await;
        let playable = |name: &'static str| {
            move |ingest: &crate::ingest::Ingest| {
                let stream = ingest.hub.get(&name.parse().unwrap());
                stream.is_some_and(|stream| stream.snapshot().playable)
            }
        };
        there.eventually("the copy is playable", playable("copy-cam1")).await;
        let copy = there.stream("copy-cam1").unwrap();
        let tracks = here.stream("cam1").unwrap().snapshot().tracks;
        assert_eq!(copy.snapshot().tracks.audio, tracks.audio);
        client.unpublish("cam1").await;
        there
            .eventually("the copy is gone", |ingest| ingest.hub.streams().is_empty())
            .await;
        assert_eq!(copy.ended(), Some(StreamEnd::Unpublished));
    }

    #[tokio::test]
    async fn a_push_that_is_taken_back_ends_and_its_stream_goes_on() {
        let (here, there) = (origin(Role::Origin, 10).await, origin(Role::Origin, 10).await);
        here.ingest
            .rules
            .set(push("*", format!("{}/{{stream}}", there.base.tc_url())))
            .unwrap();
        let _tasks = forwarding(&here);
        let mut client = here.publish("cam1").await.unwrap();
        send_audio(&mut client, 60).await;
        there
            .eventually("the copy is there", |ingest| !ingest.hub.streams().is_empty())
            .await;
        here.ingest.rules.set(Publishing::default()).unwrap();
        there
            .eventually("the copy is gone", |ingest| ingest.hub.streams().is_empty())
            .await;
        assert!(here.stream("cam1").is_some_and(|stream| stream.ended().is_none()));
    }

    #[test]
    fn a_rule_matches_streams_by_pattern_and_names_each_target() {
        let hub = Hub::new(Limits::default(), None);
        let options = PublishOptions {
            source: StreamSource::Publish,
            grace: Duration::ZERO,
        };
        let _seats =
            ["cam1", "cam2", "desk"].map(|name| hub.publish(&name.parse().unwrap(), options, (), |_| Ok(())).unwrap());
        let rules = [Push {
            stream: "cam*".into(),
            url: "rtmp://h/live/{stream}?key=k".into(),
        }];
        let mut targets: Vec<_> = desired(&hub.streams(), &rules)
            .into_values()
            .map(|(_, url)| url)
            .collect();
        targets.sort();
        assert_eq!(targets, ["rtmp://h/live/cam1?key=k", "rtmp://h/live/cam2?key=k"]);
    }
}
