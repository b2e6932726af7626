//! `--attach nodes.json`: nodes that somebody else started. They are commanded, never started and never ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headwater_contract::Role;
use serde::Deserialize;
use thiserror::Error;

use crate::fleet::link::ControlToken;
use crate::fleet::{Addresses, NodeId, ResourceId};
use crate::platform::Reach;

/// Most nodes that one file may name.
const MOST: usize = 1_000;

/// Why the file was not taken.
#[derive(Debug, Error)]
pub enum Error {
    /// A file could not be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {at}: {problem}; each node is {{role, resource, ops, rtmp, http, tokenFile}}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// Too many nodes.
    #[error("{0} names more than {MOST} nodes")]
    TooMany(PathBuf),
}

/// One node as the file has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    role: Role,
    /// `namespace/name`, or `name` in the namespace `default`.
    resource: String,
    ops: SocketAddr,
    rtmp: SocketAddr,
    http: SocketAddr,
    /// Relative to the file's folder.
    token_file: PathBuf,
}

/// A node that somebody else runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// Which resource it counts for, and a name of its own.
    pub id: NodeId,
    /// How to reach it.
    pub reach: Reach,
    /// Its delivery address.
    pub http: SocketAddr,
    /// Its RTMP address.
    pub rtmp: SocketAddr,
}

/// Reads the file and the token files that it names.
///
/// # Errors
/// [`Error`], with the path and the place in it.
pub fn read(path: &Path) -> Result<Vec<Attached>, Error> {
    let text = read_text(path)?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let entries: Vec<Entry> = serde_path_to_error::deserialize(&mut json).map_err(|error| Error::Form {
        path: path.to_owned(),
        at: error.path().to_string(),
        problem: error.inner().to_string(),
    })?;
    if entries.len() > MOST {
        return Err(Error::TooMany(path.to_owned()));
    }
    let mut attached: Vec<Attached> = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let resource = resource(&entry).ok_or_else(|| Error::Form {
            path: path.to_owned(),
            at: format!("[{at}].resource"),
            problem: format!("{:?} is not `name` or `namespace/name`", entry.resource),
        })?;
        let number = attached.iter().filter(|known| known.id.resource == resource).count() + 1;
        let token_path = path.parent().unwrap_or(Path::new(".")).join(&entry.token_file);
        let token = ControlToken::new(&read_text(&token_path)?);
        attached.push(Attached {
            id: resource.node(format!("{}-attached-{number}", resource.name)),
            reach: Reach {
                addresses: Addresses {
                    rtmp: entry.rtmp.to_string(),
                    http: entry.http.to_string(),
                    ops: entry.ops.to_string(),
                },
                ops: entry.ops,
                token,
            },
            http: entry.http,
            rtmp: entry.rtmp,
        });
    }
    Ok(attached)
}

fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn resource(entry: &Entry) -> Option<ResourceId> {
    let (namespace, name) = entry.resource.split_once('/').unwrap_or(("default", &entry.resource));
    let named = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    named.then(|| match entry.role {
        Role::Origin => ResourceId::origin(namespace, name),
        Role::Edge => ResourceId::pool(namespace, name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &str) -> Result<Vec<Attached>, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "t0ken\n").unwrap();
        std::fs::write(folder.path().join("nodes.json"), json).unwrap();
        read(&folder.path().join("nodes.json"))
    }

    fn node(role: &str, resource: &str) -> String {
        format!(
            r#"{{"role":"{role}","resource":"{resource}","ops":"127.0.0.1:1","rtmp":"127.0.0.1:2","http":"127.0.0.1:3","tokenFile":"token"}}"#
        )
    }

    #[test]
    fn nodes_get_names_of_their_own_and_tokens_without_the_line_end() {
        let json = format!(
            "[{},{},{}]",
            node("origin", "main"),
            node("edge", "web"),
            node("edge", "default/web")
        );
        let attached = read_json(&json).unwrap();
        let names: Vec<_> = attached.iter().map(|node| node.id.to_string()).collect();
        assert_eq!(
            names,
            [
                "default/StreamOrigin/main/main-attached-1",
                "default/EdgePool/web/web-attached-1",
                "default/EdgePool/web/web-attached-2"
            ]
        );
        assert_eq!(attached[0].reach.token.expose(), "t0ken");
    }

    #[test]
    fn a_wrong_entry_is_refused_with_its_place() {
        let unknown = node("edge", "web").replace("\"ops\"", "\"opps\"");
        for (json, said) in [
            (format!("[{unknown}]"), "opps"),
            (format!("[{}]", node("relay", "web")), "[0].role"),
            (format!("[{}]", node("edge", "a/b/c")), "[0].resource"),
            ("{}".to_owned(), "nodes.json"),
            (
                format!("[{}]", node("edge", "web").replace("\"token\"", "\"gone\"")),
                "gone",
            ),
        ] {
            let error = read_json(&json).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
