//! An EdgePool, field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::{Findings, Quote};
use super::schema::child;
use super::{Autoscaling, FieldError, Pause, Scaling, Upstream, ValidPool, ValidReplication, parts, schema};
use crate::api::EdgePool;
use crate::api::edge_pool::{AutoscalingSpec, ReplicationSpec};
use crate::api::names::{ResourceKey, ResourceName, StreamPattern};

/// Proves an EdgePool.
///
/// # Errors
/// All fields that can't stand, at most one refusal for each.
pub fn pool(raw: &EdgePool) -> Result<ValidPool, Vec<FieldError>> {
    let spec = &raw.spec;
    let mut found = parts::bounds(&schema::POOL_SPEC, spec);
    let key = parts::key(&raw.metadata, &mut found);
    let upstream_name = &spec.upstream.name;
    let upstream = found.name(
        "spec.upstream.name",
        upstream_name,
        ResourceName::parse(upstream_name),
        Quote::Shown,
    );
    let scaling = match &spec.autoscaling {
        Some(autoscaling) => Scaling::Auto(scaling_by_load(autoscaling, &mut found)),
        None => Scaling::Fixed {
            replicas: whole(spec.replicas),
        },
    };
    let pause = pause(raw.metadata.annotations.as_ref(), &mut found);
    let replication = replication(&spec.replication, &mut found);
    let service = parts::service(&spec.service, &mut found);
    let tls_secret = parts::tls(spec.tls.as_ref(), &mut found);
    let template = parts::template(&spec.template, &mut found);
    let valid = key.zip(upstream).map(|(key, upstream)| ValidPool {
        generation: raw.metadata.generation,
        suspend: spec.suspend,
        upstream: Upstream {
            kind: spec.upstream.kind,
            key: ResourceKey::new(&key.namespace, upstream.as_str()),
        },
        key,
        scaling,
        pause,
        drain_timeout: seconds(spec.drain_timeout_seconds),
        replication,
        service,
        tls_secret,
        template,
    });
    found.finish(valid)
}

/// What of a pool can't be changed while it exists.
///
/// # Errors
/// The fields whose change is refused.
pub fn pool_change(old: &ValidPool, new: &ValidPool) -> Result<(), Vec<FieldError>> {
    if old.upstream.kind == new.upstream.kind {
        return Ok(());
    }
    let problem = format!(
        "can't be changed from {:?} to {:?}; make a pool of another name instead",
        old.upstream.kind, new.upstream.kind
    );
    Err(vec![FieldError::refused("spec.upstream.kind", problem)])
}

fn scaling_by_load(raw: &AutoscalingSpec, found: &mut Findings) -> Autoscaling {
    let (min, max) = (raw.min_replicas, raw.max_replicas);
    if max < min {
        found.refuse(
            "spec.autoscaling.maxReplicas",
            format!("{max} is below minReplicas ({min}); it must be at least minReplicas"),
        );
    }
    let (below, above) = (raw.scale_in_percent, raw.scale_out_percent);
    if below >= above {
        found.refuse(
            "spec.autoscaling.scaleInPercent",
            format!("{below} is not below scaleOutPercent ({above}); it must be below scaleOutPercent"),
        );
    }
    if let Some(fallback) = raw.fallback_replicas
        && !(min..=max).contains(&fallback)
    {
        found.refuse(
            "spec.autoscaling.fallbackReplicas",
            format!("{fallback} is not between minReplicas ({min}) and maxReplicas ({max})"),
        );
    }
    Autoscaling {
        min_replicas: whole(min),
        max_replicas: whole(max),
        capacity_bps: u64::from(whole(raw.capacity_mbps)) * 1_000_000,
        scale_out_percent: whole(above),
        scale_in_percent: whole(below),
        scale_out_stabilization: seconds(raw.scale_out_stabilization_seconds),
        scale_in_stabilization: seconds(raw.scale_in_stabilization_seconds),
        fallback_replicas: raw.fallback_replicas.map(whole),
    }
}

/// What the annotations hold. One that is neither of both words could mean either, so that it is refused.
fn pause(annotations: Option<&BTreeMap<String, String>>, found: &mut Findings) -> Pause {
    let mut held = |suffix: &str| {
        let annotation = format!("headwater.dev/paused{suffix}");
        let value = annotations.and_then(|annotations| annotations.get(&annotation));
        match value.map(String::as_str) {
            Some("true") => true,
            None | Some("false") => false,
            Some(_) => {
                found.refuse(
                    child("metadata.annotations", &annotation),
                    "is neither \"true\" nor \"false\"",
                );
                false
            }
        }
    };
    Pause {
        all: held(""),
        scale_in: held("-scale-in"),
        scale_out: held("-scale-out"),
    }
}

fn replication(raw: &ReplicationSpec, found: &mut Findings) -> ValidReplication {
    let streams = raw.streams.iter().enumerate().filter_map(|(at, text)| {
        let path = format!("spec.replication.streams[{at}]");
        found.name(path, text, StreamPattern::parse(text), Quote::Shown)
    });
    ValidReplication {
        mode: raw.mode,
        streams: streams.collect(),
        idle_timeout: seconds(raw.idle_timeout_seconds),
    }
}

// Negative numbers were refused by their bounds; the 0 that stands for them here is never handed out.
fn whole(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

fn seconds(number: i32) -> Duration {
    Duration::from_secs(u64::from(whole(number)))
}
