//! The members of a group: which streams that are live are the qualities of one, by the clock that comes with each.
//!
//! A node that pulls on demand may lack some of them, or all: it asks the node that it would pull from, and pulls what it lacks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Delivery;
use crate::hub::{Snapshot, Stream};
use crate::names::StreamName;
use crate::package::dash;
use crate::package::hls::channel::{Channel, Rendered};
use crate::package::hls::multivariant::Variant;
use crate::package::hls::playlist;
use crate::package::hls::upstream::Upstream;
use crate::package::hls::window::Rendition;

/// Most members that are listed: the best ones.
pub const MAX_MEMBERS: usize = 16;
/// File of a group's folder that lists its members, for players and for nodes downstream.
pub const FILE: &str = "group.json";

/// What a node upstream has said is taken for this long.
const FRESH: Duration = Duration::from_secs(2);
/// Groups that are asked about upstream within that time; one more is looked for on this node alone. Names that have led to nothing
/// so far leave those free that have members.
const MAX_ASKED: usize = 256;
/// A group that was found is known as one for this long.
const FOUND: Duration = Duration::from_secs(60);
/// A node upstream is waited for at most this long, and then the next one is asked.
const ANSWER: Duration = Duration::from_secs(1);
/// All of them are, together.
const ANSWERS: Duration = Duration::from_secs(3);
/// A member waits at most this long for its first segment, all together.
const BEGIN: Duration = Duration::from_secs(6);
/// Once one member is there, the others are waited for at most this long: one that does not go on holds nobody up.
const STRAGGLE: Duration = Duration::from_secs(2);
/// Longest list of members that is read.
const MAX_LIST: usize = 64 << 10;

/// Which members are here is looked up this often, where every playlist wants to know.
const KNOWN: Duration = Duration::from_secs(1);

/// A group's manifest is made anew this often at most.
const MANIFEST: Duration = Duration::from_millis(250);

/// Says in which folders, `http://host:port/app/name/`, nodes upstream would have a stream of that name.
pub type Folders = Arc<dyn Fn(&StreamName) -> Vec<Arc<str>> + Send + Sync>;

/// A member that is live here and can be played.
pub struct Member {
    /// Its name.
    pub name: StreamName,
    /// The stream.
    pub stream: Stream,
    /// Its window.
    pub channel: Channel,
    /// What a playlist says of it; its folder is `NAME/`.
    pub variant: Variant,
}

/// What nodes upstream know of groups. Each is asked once at a time, whoever wants to know.
pub struct Roster {
    folders: Folders,
    upstream: Upstream,
    asked: Mutex<HashMap<StreamName, Asked>>,
    /// Groups that a node upstream had members of, and when; at most [`MAX_ASKED`].
    found: Mutex<HashMap<StreamName, Instant>>,
    known: Mutex<HashMap<StreamName, Known>>,
    manifests: Mutex<HashMap<(StreamName, dash::Form), (Instant, Rendered)>>,
}

/// When they were looked up, and the names.
type Known = (Instant, Arc<[StreamName]>);
/// When it was asked first, and when what was said: a failure, too, holds for a while.
type Asked = (Instant, Arc<OnceCell<Answer>>);
type Answer = (Instant, Option<Arc<List>>);

/// The list of a group's members.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Its name.
    pub group: StreamName,
    /// Best first.
    pub members: Vec<Entry>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name.
    pub name: StreamName,
    /// Of its picture, pixels; 0 for sound alone.
    #[serde(default)]
    pub height: u32,
    /// Measured bit rate, bits per second.
    #[serde(default)]
    pub bitrate_bps: u64,
}

impl Roster {
    /// Nobody has been asked so far.
    pub fn new(folders: Folders) -> Self {
        Self {
            folders,
            upstream: Upstream::default(),
            asked: Mutex::default(),
            found: Mutex::default(),
            known: Mutex::default(),
            manifests: Mutex::default(),
        }
    }

    /// The group's manifest, if it was made just now.
    pub fn manifest(&self, group: &StreamName, form: dash::Form) -> Option<Rendered> {
        let manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, rendered) = manifests.get(&(group.clone(), form))?;
        (at.elapsed() < MANIFEST).then(|| rendered.clone())
    }

    /// Keeps a manifest for those who ask at the same time; not beyond [`MAX_ASKED`] of them, which are made for each then.
    pub fn keep_manifest(&self, group: &StreamName, form: dash::Form, rendered: &Rendered) {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.retain(|_, (at, _)| at.elapsed() < MANIFEST);
        if manifests.len() < MAX_ASKED {
            manifests.insert((group.clone(), form), (Instant::now(), rendered.clone()));
        }
    }

    /// What a node upstream says of the group of that name, or of the group of a stream of that name; none if there is no such node,
    /// or it knows neither.
    async fn ask(&self, name: &StreamName) -> Option<Arc<List>> {
        let folders = (self.folders)(name);
        if folders.is_empty() {
            return None;
        }
        let cell = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|_, (at, cell)| match cell.get() {
                Some((said, _)) => said.elapsed() < FRESH,
                None => at.elapsed() < ANSWERS,
            });
            let most = match self.is_found(name) {
                true => MAX_ASKED * 2,
                false => MAX_ASKED,
            };
            if asked.len() >= most && !asked.contains_key(name) {
                return None;
            }
            let entry = asked.entry(name.clone());
            Arc::clone(&entry.or_insert_with(|| (Instant::now(), Arc::default())).1)
        };
        // Within what is kept: who waits for a node that does not answer does so for all who ask.
        let (_, list) = cell
            .get_or_init(|| async {
                let list = tokio::time::timeout(ANSWERS, self.fetch(&folders)).await;
                let list = list.ok().flatten();
                if list.is_some() {
                    self.keep_found(name);
                }
                (Instant::now(), list)
            })
            .await;
        list.clone()
    }

    fn is_found(&self, name: &StreamName) -> bool {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(name).is_some_and(|at| at.elapsed() < FOUND)
    }

    fn keep_found(&self, name: &StreamName) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, at| at.elapsed() < FOUND);
        if found.len() < MAX_ASKED || found.contains_key(name) {
            found.insert(name.clone(), Instant::now());
        }
    }

    /// The list of the first node that has one.
    async fn fetch(&self, folders: &[Arc<str>]) -> Option<Arc<List>> {
        for folder in folders {
            let fetch = self.upstream.fetch(folder, FILE, MAX_LIST);
            let Ok(text) = tokio::time::timeout(ANSWER, fetch).await else {
                tracing::debug!(%folder, "no list of members in time");
                continue;
            };
            match text.map(|text| serde_json::from_slice::<List>(&text)) {
                Ok(Ok(list)) if list.members.is_empty() => {}
                Ok(Ok(mut list)) => {
                    list.members.truncate(MAX_MEMBERS);
                    return Some(Arc::new(list));
                }
                Ok(Err(error)) => tracing::info!(%error, %folder, "failed to read a list of members"),
                Err(error) => tracing::debug!(%error, "failed to fetch a list of members"),
            }
        }
        None
    }
}

/// The streams of `group` that are live on this node.
fn here(delivery: &Delivery, group: &StreamName) -> Vec<Snapshot> {
    let streams = delivery.hub.streams().into_iter();
    let snapshots = streams
        .filter(|stream| stream.ended().is_none())
        .map(|stream| stream.snapshot());
    snapshots
        .filter(|stream| stream.playable && stream.group.as_ref() == Some(group))
        .collect()
}

/// True if a member of that group is live, here or upstream; nothing is pulled for it.
pub async fn live(delivery: &Delivery, group: &StreamName) -> bool {
    let upstream = async {
        delivery
            .roster
            .ask(group)
            .await
            .is_some_and(|list| list.group == *group)
    };
    !here(delivery, group).is_empty() || upstream.await
}

/// Reports on the playlists of the other members of a stream's group, for its own (RFC 8216bis §4.4.5.4): of those whose windows are
/// here because somebody asks for them. Empty for a stream that is none's.
pub fn reports(delivery: &Delivery, name: &StreamName) -> String {
    let mut text = String::new();
    let Some(group) = delivery.hub.get(name).and_then(|stream| stream.group()) else {
        return text;
    };
    let names = {
        let mut known = delivery.roster.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < KNOWN);
        match known.get(&group) {
            Some((_, names)) => Arc::clone(names),
            None => {
                let mut names: Vec<StreamName> = here(delivery, &group).into_iter().map(|stream| stream.name).collect();
                names.sort();
                names.truncate(MAX_MEMBERS);
                let names: Arc<[StreamName]> = names.into();
                if known.len() < MAX_ASKED {
                    known.insert(group, (Instant::now(), Arc::clone(&names)));
                }
                names
            }
        }
    };
    for other in names.iter().filter(|other| *other != name) {
        let Some(channel) = delivery.channels.get(other) else {
            continue;
        };
        channel.with(|window| {
            for rendition in Rendition::ALL.into_iter().filter(|_| !window.ended()) {
                playlist::report(&mut text, window, rendition, &format!("../{other}/"));
            }
        });
    }
    text
}

/// What this node, or one upstream, has of the group of that name, or of the group that a stream of that name is of; nothing is
/// pulled for it. Empty if there is no such group: most streams are none's, and players ask without knowing.
pub async fn list(delivery: &Delivery, name: &StreamName) -> List {
    let of = match delivery.hub.get(name).map(|stream| stream.snapshot().group) {
        Some(Some(group)) => group,
        None => name.clone(),
        // A stream's own name wins.
        Some(None) => {
            let (group, members) = (name.clone(), Vec::new());
            return List { group, members };
        }
    };
    let own: Vec<Entry> = here(delivery, &of).iter().map(entry).collect();
    let upstream = delivery.roster.ask(&of).await;
    let upstream = upstream.filter(|list| list.group == of || own.is_empty());
    let group = upstream.as_ref().map_or(of, |list| list.group.clone());
    let mut members: BTreeMap<StreamName, Entry> = BTreeMap::new();
    let theirs = upstream.iter().flat_map(|list| &list.members).cloned();
    for entry in own.into_iter().chain(theirs) {
        members.entry(entry.name.clone()).or_insert(entry);
    }
    let mut members: Vec<Entry> = members.into_values().collect();
    members.sort_by_key(|entry| (Reverse(entry.height), Reverse(entry.bitrate_bps))); // names are in order
    members.truncate(MAX_MEMBERS);
    List { group, members }
}

fn entry(stream: &Snapshot) -> Entry {
    Entry {
        name: stream.name.clone(),
        height: stream.tracks.video.as_deref().map_or(0, |video| video.height),
        bitrate_bps: stream.bitrate_bps,
    }
}

/// The members of `group`, the best first: by height, then by bit rate; at most [`MAX_MEMBERS`]. Those that this node lacks are
/// pulled where it pulls on demand. One that has no segment to show in time is left out.
pub async fn members(delivery: &Delivery, group: &StreamName) -> Vec<Member> {
    let mut names: BTreeSet<StreamName> = here(delivery, group).into_iter().map(|stream| stream.name).collect();
    let upstream = delivery.roster.ask(group).await.filter(|list| list.group == *group);
    names.extend(
        upstream
            .iter()
            .flat_map(|list| &list.members)
            .map(|entry| entry.name.clone()),
    );
    let deadline = Instant::now() + BEGIN;
    let mut opening = JoinSet::new();
    for name in names {
        let (delivery, group) = (delivery.clone(), group.clone());
        opening.spawn(async move {
            let stream = delivery.hub.find(&name).await.ok()?;
            // What a node upstream says of a stream holds where its clock says so too.
            stream.snapshot().group.filter(|of| *of == group)?;
            let channel = delivery.channels.open(&stream);
            channel.asked();
            if !channel.begun(deadline).await {
                return None;
            }
            let variant = channel.with(|window| Variant::measure(window, format!("{name}/")))?;
            let carried = variant.video.is_some() || variant.audio.is_some();
            carried.then_some(Member {
                name,
                stream,
                channel,
                variant,
            })
        });
    }
    let mut members: Vec<Member> = Vec::new();
    let mut until = deadline + STRAGGLE;
    while let Ok(Some(opened)) = tokio::time::timeout_at(until, opening.join_next()).await {
        members.extend(opened.ok().flatten());
        if members.len() == 1 {
            until = until.min(Instant::now() + STRAGGLE);
        }
    }
    members.sort_by(|a, b| rank(a).cmp(&rank(b)));
    members.truncate(MAX_MEMBERS);
    members
}

fn rank(member: &Member) -> (Reverse<u32>, Reverse<u64>, &StreamName) {
    let height = member.variant.video.as_ref().map_or(0, |video| video.height);
    (Reverse(height), Reverse(member.variant.peak_bps), &member.name)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Of nodes at these addresses.
    fn roster(listeners: &[&TcpListener]) -> Roster {
        let folder = |listener: &&TcpListener| format!("http://{}/live/show/", listener.local_addr().unwrap()).into();
        let folders: Vec<Arc<str>> = listeners.iter().map(folder).collect();
        Roster::new(Arc::new(move |_| folders.clone()))
    }

    async fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    /// Answers one request with a list of `show`.
    async fn answer(listener: &TcpListener) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let _ = socket.read(&mut request).await.unwrap();
        let body = r#"{"group":"show","members":[{"name":"show_1"}]}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn the_next_node_is_asked_where_one_does_not_answer() {
        let (silent, other) = (listener().await, listener().await);
        let roster = roster(&[&silent, &other]);
        let name: StreamName = "show".parse().unwrap();
        let (list, ()) = tokio::join!(roster.ask(&name), answer(&other));
        assert_eq!(list.unwrap().members[0].name.as_str(), "show_1");
    }

    #[tokio::test]
    async fn no_answer_is_one_for_a_while() {
        let silent = listener().await;
        let roster = roster(&[&silent]);
        let name: StreamName = "show".parse().unwrap();
        assert!(roster.ask(&name).await.is_none());
        let again = Instant::now();
        assert!(roster.ask(&name).await.is_none());
        assert!(again.elapsed() < ANSWER / 2, "{:?}", again.elapsed());
    }

    /// Anybody can ask for names that nobody has.
    #[tokio::test]
    async fn invented_names_hide_no_group_that_was_found() {
        let node = listener().await;
        let roster = roster(&[&node]);
        let name: StreamName = "show".parse().unwrap();
        let (list, ()) = tokio::join!(roster.ask(&name), answer(&node));
        assert!(list.is_some());
        {
            let mut asked = roster.asked.lock().unwrap();
            asked.clear(); // what was said is too old
            let invented = (0..MAX_ASKED).map(|n| format!("x{n}").parse().unwrap());
            asked.extend(invented.map(|name: StreamName| (name, (Instant::now(), Arc::default()))));
        }
        assert!(roster.ask(&"news".parse().unwrap()).await.is_none(), "one more");
        let ask = async {
            tokio::select! {
                list = roster.ask(&name) => list,
                () = async { answer(&node).await; std::future::pending().await } => None,
            }
        };
        assert!(ask.await.is_some());
    }
}
