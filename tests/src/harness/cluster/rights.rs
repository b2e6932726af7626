//! Which rights the API server asked for: an authorizer that is asked before the roles are, has no opinion, and remembers.
//!
//! Unlike the audit log it hears also of what a request needs beside its own verb: that applying may create, and what admission asks for.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What a rule of a role grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group; empty for the core's.
    pub group: String,
    /// Plural, with the subresource if it is about one: `edgepools/status`.
    pub resource: String,
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}.{}", self.verb, self.resource, self.group)
    }
}

/// The rights that rules of roles grant.
pub fn granted(rules: &[Value]) -> BTreeSet<Right> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let words = rule[key].as_array().into_iter().flatten();
        words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                rights.extend(words(rule, "verbs").into_iter().map(|verb| Right {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb,
                }));
            }
        }
    }
    rights
}

/// A user, the namespace that it was about (empty: all of them, or none), and the right.
type Asked = Arc<Mutex<BTreeSet<(String, String, Right)>>>;

/// The running authorizer; it ends when dropped.
#[derive(Debug)]
pub struct Rights {
    address: SocketAddr,
    asked: Asked,
    _task: AbortOnDropHandle<()>,
}

impl Rights {
    /// Starts it on a free port of loopback.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, asked) = (listener.local_addr()?, Asked::default());
        let task = tokio::spawn(serve(listener, asked.clone()));
        Ok(Self {
            address,
            asked,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Where it is asked.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a user was to be allowed so far, in these namespaces or in all that `there` lets through.
    pub fn asked(&self, user: &str, there: impl Fn(&str) -> bool) -> BTreeSet<Right> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let own = asked
            .iter()
            .filter(|(who, namespace, _)| who == user && there(namespace));
        own.map(|(_, _, right)| right.clone()).collect()
    }
}

async fn serve(listener: TcpListener, asked: Asked) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let asked = asked.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, asked.clone()));
            // The API server comes and goes as it likes.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, asked: Asked) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let mut review: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(entry) = read(&review) {
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(entry);
    }
    review["status"] = json!({"allowed": false, "denied": false});
    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(review.to_string())))).map_err(|never| match never {})
}

/// What a SubjectAccessReview asks. Nothing where it is about a path, or about every resource of a group: admission asks that first, to
/// spare itself the question that counts, and no rule of ours grants it.
fn read(review: &Value) -> Option<(String, String, Right)> {
    let (user, attributes) = (review["spec"]["user"].as_str()?, &review["spec"]["resourceAttributes"]);
    if attributes["resource"] == "*" {
        return None;
    }
    let word = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
    let resource = match word("subresource") {
        below if below.is_empty() => word("resource"),
        below => format!("{}/{below}", word("resource")),
    };
    let right = Right {
        group: word("group"),
        resource,
        verb: attributes["verb"].as_str()?.to_owned(),
    };
    Some((user.to_owned(), word("namespace"), right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_read_as_the_right_that_a_rule_would_grant() {
        let review = json!({"spec": {"user": "u", "resourceAttributes": {
            "namespace": "n", "verb": "patch", "group": "headwater.dev", "version": "v1alpha1", "resource": "edgepools",
            "subresource": "status", "name": "web",
        }}});
        let (user, namespace, right) = read(&review).unwrap();
        assert_eq!((user.as_str(), namespace.as_str()), ("u", "n"));
        let rule = json!({"apiGroups": ["headwater.dev"], "resources": ["edgepools/status"], "verbs": ["patch"]});
        assert_eq!(granted(&[rule]), BTreeSet::from([right]));
        for none in [
            json!({"spec": {"user": "u", "nonResourceAttributes": {"path": "/livez"}}}),
            json!({"spec": {"user": "u", "resourceAttributes": {"verb": "update", "resource": "*", "subresource": "finalizers"}}}),
        ] {
            assert_eq!(read(&none), None);
        }
    }

    #[test]
    fn a_rule_grants_every_verb_on_every_resource_of_every_group() {
        let rule = json!({"apiGroups": ["", "a"], "resources": ["x", "y"], "verbs": ["get", "list"]});
        let rights = granted(&[rule]);
        assert_eq!(rights.len(), 8);
        assert!(rights.iter().any(|right| right.to_string() == "list y.a"));
    }
}
