//! What documents say about each other: the same resource twice, an upstream that is not there, pools that feed each other,
//! Secrets that are not there.

use std::collections::{BTreeMap, BTreeSet};

use headwater_contract::PublishKey;

use super::Manifests;
use super::document::{Document, ORIGIN, POOL, Resource};
use super::error::ManifestError;
use crate::api::edge_pool::UpstreamKind;
use crate::api::names::{ResourceKey, SecretName, StreamName};
use crate::api::tls;
use crate::platform::EVERY_STREAM;
use crate::validate::{Upstream, ValidOrigin, schema};

/// Finds every error that no document has by itself. `complete`: nothing that may be referred to went unread.
pub(super) fn check(documents: &[Document], complete: bool, errors: &mut Vec<ManifestError>) {
    duplicates(documents, errors);
    if complete {
        missing_upstreams(documents, errors);
    }
    cycles(documents, errors);
}

/// The manifests of documents without errors.
pub(super) fn gather(documents: Vec<Document>) -> Manifests {
    let mut manifests = Manifests::default();
    for mut document in documents {
        manifests.warnings.append(&mut document.warnings);
        match document.resource {
            Some(Resource::Origin(origin)) => manifests.origins.push(origin),
            Some(Resource::Pool(pool)) => manifests.pools.push(pool),
            Some(Resource::Secret(key, entries)) => drop(manifests.secrets.insert(key, entries)),
            None => {}
        }
    }
    let doubts: Vec<String> = manifests
        .origins
        .iter()
        .flat_map(|origin| doubtful_keys(origin, &manifests))
        .collect();
    manifests.warnings.extend(doubts);
    let of_origins = manifests.origins.iter().map(|it| (ORIGIN, &it.key, &it.tls_secret));
    let of_pools = manifests.pools.iter().map(|it| (POOL, &it.key, &it.tls_secret));
    let missing: Vec<String> = of_origins
        .chain(of_pools)
        .filter_map(|(kind, key, secret)| missing_certificate(kind, key, secret.as_ref()?, &manifests))
        .collect();
    manifests.warnings.extend(missing);
    manifests
}

fn duplicates(documents: &[Document], errors: &mut Vec<ManifestError>) {
    let mut first = BTreeMap::new();
    for document in documents {
        let Some(declared) = &document.declares else { continue };
        if let Some(earlier) = first.get(declared) {
            let text = format!("is there twice; it stands first in {earlier}");
            let place = document.place_of("metadata.name");
            errors.push(ManifestError::of_text(Some(place), document.title().as_deref(), text));
        } else {
            first.insert(declared, document.place_of("metadata.name"));
        }
    }
}

fn missing_upstreams(documents: &[Document], errors: &mut Vec<ManifestError>) {
    let declared: BTreeSet<(&str, &ResourceKey)> = documents
        .iter()
        .filter_map(|document| document.declares.as_ref().map(|(kind, key)| (*kind, key)))
        .collect();
    for (document, pool, upstream) in pools(documents) {
        let kind = kind_name(upstream.kind);
        let key = &upstream.key;
        if declared.contains(&(kind, key)) {
            continue;
        }
        let others = declared
            .iter()
            .filter(|(other, at)| *other == kind && at.namespace == key.namespace && *at != pool)
            .map(|(_, at)| at.name.as_str());
        let advice = match schema::nearest(&key.name, others.clone()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if others.clone().next().is_none() => {
                format!("add a {kind} of this name in namespace {}", key.namespace)
            }
            None => format!(
                "in namespace {} there are {}",
                key.namespace,
                others.collect::<Vec<_>>().join(", ")
            ),
        };
        let text = format!("spec.upstream.name: there is no {kind} {key} in the manifests; {advice}");
        let place = document.place_of("spec.upstream.name");
        errors.push(ManifestError::of_text(Some(place), document.title().as_deref(), text));
    }
}

fn cycles(documents: &[Document], errors: &mut Vec<ManifestError>) {
    let above: BTreeMap<&ResourceKey, &ResourceKey> = pools(documents)
        .filter(|(_, _, upstream)| upstream.kind == UpstreamKind::EdgePool)
        .map(|(_, pool, upstream)| (pool, &upstream.key))
        .collect();
    let mut told = BTreeSet::new();
    for (document, pool, _) in pools(documents) {
        // The way up from here, until it ends or meets itself; only a pool that is met again is in the cycle, not one below it.
        let mut way = vec![pool];
        let mut at = pool;
        while let Some(next) = above.get(at).copied() {
            way.push(next);
            if way[..way.len() - 1].contains(&next) {
                break;
            }
            at = next;
        }
        let closes = way.len() > 1 && way.last() == way.first();
        if !closes || told.contains(pool) {
            continue;
        }
        told.extend(way.iter().copied());
        let way: Vec<String> = way.iter().map(ToString::to_string).collect();
        let text = format!(
            "spec.upstream.name: the pools {} feed each other; the way up must end at a StreamOrigin",
            way.join(" <- ")
        );
        let place = document.place_of("spec.upstream.name");
        errors.push(ManifestError::of_text(Some(place), document.title().as_deref(), text));
    }
}

/// What of an origin's keys is allowed but hardly meant.
fn doubtful_keys(origin: &ValidOrigin, manifests: &Manifests) -> Vec<String> {
    let title = format!("StreamOrigin {}", origin.key);
    let (Some(secret), Some(keys)) = (&origin.keys_secret, manifests.entries(origin)) else {
        return Vec::new();
    };
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
        return vec![format!(
            "{title}: spec.publish.keysSecret: there is no Secret {}/{secret} with keys in the manifests, so every publisher is refused",
            origin.key.namespace
        )];
    };
    let names = keys
        .keys()
        .filter(|name| !["*", EVERY_STREAM].contains(&name.as_str()) && StreamName::parse(name).is_err());
    let names = names.map(|name| {
        format!("{title}: `{name}` in Secret {secret} is neither a stream name nor *, so it lets nobody publish")
    });
    let ends = keys.iter().filter(|(_, key)| key.expose().trim() != key.expose());
    let ends = ends.map(|(name, _)| {
        format!("{title}: the key of `{name}` in Secret {secret} begins or ends with blanks or a line break, and so must a publisher's")
    });
    let long = keys.iter().filter(|(_, key)| key.expose().len() > PublishKey::LONGEST);
    let long = long.map(|(name, _)| {
        format!(
            "{title}: the key of `{name}` in Secret {secret} is longer than {} bytes, so it lets nobody publish",
            PublishKey::LONGEST
        )
    });
    names.chain(ends).chain(long).collect()
}

fn missing_certificate(kind: &str, key: &ResourceKey, secret: &SecretName, manifests: &Manifests) -> Option<String> {
    if manifests.certificate(&key.namespace, secret).is_some() {
        return None;
    }
    Some(format!(
        "{kind} {key}: spec.tls.secretName: there is no Secret {}/{secret} with {} and {} in the manifests, so viewers come by plain \
         HTTP alone",
        key.namespace,
        tls::CERTIFICATE,
        tls::KEY
    ))
}

fn pools(documents: &[Document]) -> impl Iterator<Item = (&Document, &ResourceKey, &Upstream)> {
    documents.iter().filter_map(|document| {
        let (_, key) = document.declares.as_ref()?;
        Some((document, key, document.upstream.as_ref()?))
    })
}

fn kind_name(kind: UpstreamKind) -> &'static str {
    match kind {
        UpstreamKind::StreamOrigin => "StreamOrigin",
        UpstreamKind::EdgePool => "EdgePool",
    }
}
