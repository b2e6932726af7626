//! Golden tests: a manifest goes in through the real reader and the real rules, the objects come out as YAML and are
//! compared with the committed files.
//!
//! `UPDATE_GOLDEN=1 cargo test --workspace --lib decide` writes the files anew.

mod examples;
mod golden;
mod rules;

use std::net::IpAddr;

use super::*;
use crate::local::manifests::{ManifestFile, Manifests, read};

const ORIGIN: &str =
    "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main, namespace: video}\n";

/// A StreamOrigin with this spec, as a person would write it.
fn origin_text(spec: &str) -> String {
    format!("{ORIGIN}spec:\n{spec}")
}

/// An EdgePool of the origin above, with this spec below its upstream.
fn pool_text(spec: &str) -> String {
    format!(
        "{ORIGIN}---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: web, namespace: video}}\n\
         spec:\n  upstream: {{kind: StreamOrigin, name: main}}\n{spec}"
    )
}

fn manifests(text: &str) -> Manifests {
    let file = ManifestFile {
        name: "m.yaml".to_owned(),
        text: text.to_owned(),
    };
    read(&[file]).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn around() -> Surroundings {
    Surroundings {
        image: "media-node:1.2.3".to_owned(),
        pull_policy: None,
        pull_secrets: Vec::new(),
        operator_namespace: "headwater-system".to_owned(),
        metrics_from: vec!["monitoring".to_owned()],
    }
}

fn owner() -> Owner {
    Owner {
        uid: "6c6f4a5e-0000-4000-8000-000000000001".to_owned(),
    }
}

/// The same with images of a private registry.
fn private() -> Surroundings {
    Surroundings {
        image: "registry.example/media-node:1.2.3".to_owned(),
        pull_policy: Some("Always".to_owned()),
        pull_secrets: vec!["registry".to_owned(), "mirror".to_owned()],
        ..around()
    }
}

/// Facts of a pool of two edges in a steady state.
fn two_edges() -> PoolFacts {
    PoolFacts {
        owner: owner(),
        replicas: 2,
        desired: 2,
        upstream: Some(IpAddr::from([10, 0, 12, 34])),
        app: "live".to_owned(),
    }
}

fn origin_of(spec: &str) -> Objects<Decided> {
    origin_in(spec, &around())
}

fn origin_in(spec: &str, around: &Surroundings) -> Objects<Decided> {
    let manifests = manifests(&origin_text(spec));
    origin(&manifests.origins[0], &OriginFacts { owner: owner() }, around)
}

fn pool_of(spec: &str, facts: &PoolFacts) -> Objects<Decided> {
    pool_in(spec, facts, &around())
}

fn pool_in(spec: &str, facts: &PoolFacts, around: &Surroundings) -> Objects<Decided> {
    let manifests = manifests(&pool_text(spec));
    edge_pool(&manifests.pools[0], facts, around)
}
