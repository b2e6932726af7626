//! The control API's commands: each obeyed only in a term that is not lower than the highest seen.

use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use headwater_contract::{Drain, DrainState, Move, Moved, NodeHello, Publishing, Pulls, Refused};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Ops, state};
use crate::meters;

/// The highest term seen. A mutex held while a command is carried out, so that an older one can't overtake it.
#[derive(Debug, Default)]
pub struct Terms(Mutex<u64>);

impl Terms {
    /// The highest term seen, 0 for none.
    pub fn highest(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out `command` given in `term` (none: in the highest seen), or returns the highest term if that one is over.
    pub fn obey<T>(&self, term: Option<u64>, command: impl FnOnce() -> T) -> Result<T, u64> {
        let mut highest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match term {
            Some(term) if term < *highest => return Err(*highest),
            Some(term) => *highest = term,
            None => {}
        }
        Ok(command())
    }
}

/// A refusal of the control API, with its status.
pub(super) struct Refusal(StatusCode, Refused);

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let error = error.into();
        Self(status, Refused { error, term: None })
    }

    fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl Ops {
    fn obey<T>(&self, term: Option<u64>, command: impl FnOnce() -> T) -> Result<T, Refusal> {
        self.terms.obey(term, command).map_err(|highest| {
            self.meters.refused(meters::Refusal::Term);
            let refused = Refused {
                error: format!("term {} is over: {highest} is in force", term.unwrap_or_default()),
                term: Some(highest),
            };
            Refusal(StatusCode::CONFLICT, refused)
        })
    }
}

/// Longest body of a command.
const LONGEST: usize = 4 << 20;

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let bytes = to_bytes(body, LONGEST).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                let text = format!("the body is longer than {LONGEST} bytes");
                return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text);
            }
            cause = error.source();
        }
        Refusal::bad("the body could not be read")
    })?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => Refusal::bad(error.inner().to_string()),
            path => Refusal::bad(format!("{path}: {}", error.inner())),
        }
    })?;
    json.end().map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(value)
}

/// `GET /v1/hello`.
pub(super) async fn hello(State(ops): State<Ops>) -> Json<NodeHello> {
    Json(state::hello(&ops))
}

/// `PUT /v1/pulls`.
pub(super) async fn put_pulls(State(ops): State<Ops>, body: Body) -> Result<StatusCode, Refusal> {
    let pulls: Pulls = read(body).await?;
    ops.obey(pulls.term, || ops.pulls.set(pulls))?
        .map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/pulls`: the set in force, an empty one before the first.
pub(super) async fn get_pulls(State(ops): State<Ops>) -> Json<Pulls> {
    Json(ops.pulls.current().unwrap_or_default())
}

/// `PUT /v1/publishing`.
pub(super) async fn put_publishing(State(ops): State<Ops>, body: Body) -> Result<StatusCode, Refusal> {
    let Some(rules) = &ops.rules else {
        return Err(Refusal::bad("this node is an edge: publishing rules are for origins"));
    };
    let publishing: Publishing = read(body).await?;
    ops.obey(publishing.term, || rules.set(publishing))?
        .map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /v1/drain`.
pub(super) async fn put_drain(State(ops): State<Ops>, body: Body) -> Result<Json<Option<DrainState>>, Refusal> {
    let drain: Drain = read(body).await?;
    ops.obey(drain.term, || ops.lifecycle.drain(drain.deadline, ops.drain_accept))?;
    tracing::info!(deadline = %drain.deadline, "draining");
    Ok(in_force(&ops))
}

/// `GET /v1/drain`.
pub(super) async fn get_drain(State(ops): State<Ops>) -> Json<Option<DrainState>> {
    in_force(&ops)
}

/// The query of `DELETE /v1/drain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Term {
    term: Option<u64>,
}

/// `DELETE /v1/drain`.
pub(super) async fn delete_drain(
    State(ops): State<Ops>,
    query: Result<Query<Term>, QueryRejection>,
) -> Result<StatusCode, Refusal> {
    let Query(Term { term }) = query.map_err(|error| Refusal::bad(error.body_text()))?;
    ops.obey(term, || ops.lifecycle.undrain())?;
    tracing::info!("drain taken back");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/move`.
pub(super) async fn post_move(State(ops): State<Ops>, body: Body) -> Result<Json<Moved>, Refusal> {
    let order: Move = read(body).await?;
    let asked = ops.obey(order.term, || ops.movers.ask(order.viewers))?;
    Ok(Json(Moved { asked }))
}

fn in_force(ops: &Ops) -> Json<Option<DrainState>> {
    Json(ops.lifecycle.phase().drain.map(|drain| drain.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_term_is_refused_and_no_term_goes_with_the_highest() {
        let terms = Terms::default();
        assert_eq!(terms.obey(Some(5), || "done"), Ok("done"));
        assert_eq!(terms.obey(Some(4), || "done"), Err(5));
        assert_eq!(terms.obey(Some(5), || "done"), Ok("done"));
        assert_eq!(terms.obey(None, || "done"), Ok("done"));
        assert_eq!(terms.obey(Some(9), || "done"), Ok("done"));
        assert_eq!(terms.highest(), 9);
    }
}
