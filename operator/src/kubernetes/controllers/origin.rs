//! One run for a StreamOrigin.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::{Context, Error, LEARNS, again, id_of, problem_of, still_learns};
use crate::api::StreamOrigin;
use crate::control::Snapshot;
use crate::fleet::{ResourceId, ResourceKind};
use crate::kubernetes::apply;
use crate::kubernetes::cluster;
use crate::kubernetes::decide::{self, OriginFacts, Owner};
use crate::kubernetes::report::Trouble;
use crate::kubernetes::report::origin::{Facts, Security, status};
use crate::kubernetes::report::pace::{self, Due};
use crate::kubernetes::wishes::keys_of;
use crate::platform::HappeningReason;
use crate::validate::{self, ValidOrigin};

/// Brings one origin to what it says.
pub(super) async fn reconcile(origin: Arc<StreamOrigin>, context: Arc<Context>) -> Result<Action, Error> {
    let id = id_of(origin.as_ref(), ResourceKind::StreamOrigin);
    if origin.metadata.deletion_timestamp.is_some() {
        context.forget(&id);
        return Ok(Action::await_change());
    }
    let made = match validate::origin(&origin) {
        Ok(valid) => make(&context, &id, &origin, &valid).await.map_err(Failed::Apply),
        Err(errors) => Err(Failed::Invalid(errors)),
    };
    let trouble = made.as_ref().err().map(Failed::trouble);
    context.tell(&id, made.as_ref().err().map(Failed::happening));
    let figures = report(&context, &id, &origin, trouble).await.map_err(Error::Report)?;
    match made {
        Ok(token) => Ok(again(&context, &id, token, figures)),
        // Only another spec helps, and that is a change.
        Err(Failed::Invalid(_)) => Ok(Action::await_change()),
        Err(Failed::Apply(error)) => Err(Error::Apply(error)),
    }
}

/// Why there is not what should be.
pub(super) enum Failed {
    Invalid(Vec<validate::FieldError>),
    Apply(apply::Error),
}

impl Failed {
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::Invalid(errors) => Trouble::Invalid(errors.clone()),
            Self::Apply(error) => Trouble::Apply(error.describe()),
        }
    }

    pub(super) fn happening(&self) -> (HappeningReason, String) {
        match self {
            Self::Invalid(errors) => {
                let errors: Vec<String> = errors.iter().map(|error| error.describe(None)).collect();
                (HappeningReason::InvalidSpec, errors.join("; "))
            }
            Self::Apply(error) => (HappeningReason::ApplyFailed, error.describe()),
        }
    }
}

async fn make(
    context: &Context,
    id: &ResourceId,
    origin: &StreamOrigin,
    valid: &ValidOrigin,
) -> Result<Timestamp, apply::Error> {
    let owner = Owner {
        uid: origin.uid().unwrap_or_default(),
    };
    let token = context.keep_token(id, &owner).await?;
    let decided = decide::origin(valid, &OriginFacts { owner }, &context.around);
    apply::objects(&context.writer, &context.stores, id, decided).await?;
    Ok(token)
}

/// Writes the status if it is due; else says when a figure is.
async fn report(
    context: &Context,
    id: &ResourceId,
    origin: &StreamOrigin,
    trouble: Option<Trouble>,
) -> Result<Option<std::time::Duration>, apply::Error> {
    let snapshot = context.snapshots.borrow().clone();
    if trouble.is_none() && learns(&snapshot, origin) {
        return Ok(Some(LEARNS));
    }
    let new = status(
        &facts(context, &snapshot, id, origin, trouble),
        origin.status.as_ref(),
        Timestamp::now(),
    );
    match context.due(id, pace::origin(origin.status.as_ref(), &new)) {
        Ok(()) => {
            context.writer.status(origin, &new).await?;
            context.reported(id);
            Ok(None)
        }
        Err(later) => Ok(later),
    }
}

/// How much the status that stands differs from what is known.
pub(super) fn due(context: &Context, snapshot: &Snapshot, origin: &StreamOrigin) -> Due {
    let id = id_of(origin, ResourceKind::StreamOrigin);
    // A trouble is the run's to find; it goes with the run after next at the latest.
    let standing = origin.status.as_ref();
    if standing.is_some_and(in_trouble) || learns(snapshot, origin) {
        return Due::No;
    }
    let new = status(&facts(context, snapshot, &id, origin, None), standing, Timestamp::now());
    pace::origin(standing, &new)
}

fn learns(snapshot: &Snapshot, origin: &StreamOrigin) -> bool {
    let observed = origin.status.as_ref().and_then(|status| status.observed_generation);
    still_learns(snapshot, origin.metadata.generation, observed)
}

fn in_trouble(status: &crate::api::StreamOriginStatus) -> bool {
    super::pool::tells_trouble(&status.conditions)
}

fn facts<'a>(
    context: &Context,
    snapshot: &'a Snapshot,
    id: &ResourceId,
    origin: &'a StreamOrigin,
    trouble: Option<Trouble>,
) -> Facts<'a> {
    let (stores, spec) = (&context.stores, &origin.spec);
    let service = cluster::service(stores, id);
    let pods = stores.pods.of(id);
    let living = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !cluster::has_ended(pod));
    let security = match &spec.publish.keys_secret {
        None => Security::Open,
        Some(name) => match cluster::secret(stores, &id.namespace, name) {
            Some(secret) if keys_of(&secret).is_empty() => Security::Unusable(name.clone()),
            Some(_) => Security::Keys(name.clone()),
            None => Security::Missing(name.clone()),
        },
    };
    Facts {
        generation: origin.metadata.generation,
        app: &spec.app,
        suspended: spec.suspend,
        security,
        certificate: cluster::certificate(stores, &id.namespace, spec.tls.as_ref()),
        addresses: cluster::addresses(stores, id),
        reached: service.as_deref().map(cluster::reached).unwrap_or_default(),
        failing_pull: snapshot.origins.get(id).and_then(|report| report.failing_pull.clone()),
        entry: snapshot.at.and_then(|_| {
            let entries = &snapshot.fleet.origins;
            entries
                .iter()
                .find(|entry| entry.namespace == id.namespace && entry.name == id.name)
        }),
        has_pod: living.clone().next().is_some(),
        pod_problem: living.clone().find_map(|pod| problem_of(pod)),
        trouble,
    }
}
