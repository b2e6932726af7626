//! A StreamOrigin, field by field.

use headwater_contract as contract;

use super::error::{Findings, Quote};
use super::{FieldError, ValidDvr, ValidOrigin, ValidPull, ValidPush, parts, schema};
use crate::api::StreamOrigin;
use crate::api::names::{AppName, GroupPattern, PushUrl, RtmpUrl, SecretName, StreamName, StreamPattern};
use crate::api::stream_origin::{DvrSpec, OnConflict, PullSpec, PushSpec};

/// Proves a StreamOrigin.
///
/// # Errors
/// All fields that can't stand, at most one refusal for each.
pub fn origin(raw: &StreamOrigin) -> Result<ValidOrigin, Vec<FieldError>> {
    let spec = &raw.spec;
    let mut found = parts::bounds(&schema::ORIGIN_SPEC, spec);
    let key = parts::key(&raw.metadata, &mut found);
    let app = found.name("spec.app", &spec.app, AppName::parse(&spec.app), Quote::Shown);
    let keys_secret = spec
        .publish
        .keys_secret
        .as_deref()
        .and_then(|name| found.name("spec.publish.keysSecret", name, SecretName::parse(name), Quote::Shown));
    let pulls = spec
        .pulls
        .iter()
        .enumerate()
        .filter_map(|(at, raw)| pull(raw, &format!("spec.pulls[{at}]"), &mut found))
        .collect();
    let pushes = spec
        .pushes
        .iter()
        .enumerate()
        .filter_map(|(at, raw)| push(raw, &format!("spec.pushes[{at}]"), &mut found))
        .collect();
    let groups = groups(&spec.groups, &mut found);
    let service = parts::service(&spec.service, &mut found);
    let tls_secret = parts::tls(spec.tls.as_ref(), &mut found);
    let template = parts::template(&spec.template, &mut found);
    let valid = key.zip(app).map(|(key, app)| ValidOrigin {
        key,
        generation: raw.metadata.generation,
        suspend: spec.suspend,
        app,
        keys_secret,
        on_conflict: match spec.publish.on_conflict {
            OnConflict::Reject => contract::OnConflict::Reject,
            OnConflict::TakeOver => contract::OnConflict::TakeOver,
        },
        pulls,
        pushes,
        dvr: dvr(&spec.dvr),
        groups,
        service,
        tls_secret,
        template,
    });
    found.finish(valid)
}

/// The bounds have been looked at already.
fn dvr(raw: &DvrSpec) -> ValidDvr {
    let whole = |number: i32| u32::try_from(number).unwrap_or(0);
    ValidDvr {
        seconds: whole(raw.minutes) * 60,
        memory_mebibytes: raw.memory_mebibytes.map(whole),
        disk_gibibytes: raw.disk_gibibytes.map(whole),
    }
}

fn groups(raw: &[String], found: &mut Findings) -> Vec<GroupPattern> {
    let mut valid = Vec::new();
    for (at, text) in raw.iter().enumerate() {
        let path = format!("spec.groups[{at}]");
        match found.name(&path, text, GroupPattern::parse(text), Quote::Shown) {
            Some(pattern) if valid.contains(&pattern) => {
                found.refuse(path, format!("{text} stands in the list twice; once is enough"));
            }
            pattern => valid.extend(pattern),
        }
    }
    valid
}

fn pull(raw: &PullSpec, path: &str, found: &mut Findings) -> Option<ValidPull> {
    let stream = found.name(
        format!("{path}.stream"),
        &raw.stream,
        StreamName::parse(&raw.stream),
        Quote::Shown,
    );
    let url = found.name(format!("{path}.url"), &raw.url, RtmpUrl::parse(&raw.url), Quote::Hidden);
    Some(ValidPull {
        stream: stream?,
        url: url?,
    })
}

fn push(raw: &PushSpec, path: &str, found: &mut Findings) -> Option<ValidPush> {
    let stream = found.name(
        format!("{path}.stream"),
        &raw.stream,
        StreamPattern::parse(&raw.stream),
        Quote::Shown,
    );
    let url = found.name(format!("{path}.url"), &raw.url, PushUrl::parse(&raw.url), Quote::Hidden);
    let (stream, url) = (stream?, url?);
    if stream.is_wild() && !url.has_placeholder() {
        found.refuse(
            format!("{path}.url"),
            format!("has no {{stream}}, so all streams that match `{stream}` would go to one name; put {{stream}} into it or name one stream"),
        );
    }
    Some(ValidPush { stream, url })
}
