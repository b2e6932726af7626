//! One refusal: which field, what is wrong with it, what is allowed. And their collection, one for each field.

use std::fmt;

use crate::api::names::NameError;

/// A field that can't stand as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.describe(None))]
pub struct FieldError {
    /// Path of the field, e.g. `spec.pulls[0].url`; of an unknown field, that of the object which holds it.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such field.
    UnknownField {
        /// Its name.
        key: String,
        /// The known field whose name is nearest, if any is near.
        nearest: Option<String>,
        /// All fields that are known there.
        known: Vec<String>,
    },
    /// Its value is refused; the text says why and what is allowed.
    Refused(String),
}

impl FieldError {
    /// A refused value.
    pub fn refused(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: Problem::Refused(problem.into()),
        }
    }

    /// The error as a sentence, with the resource that it is about where that is known.
    pub fn describe(&self, resource: Option<&str>) -> String {
        match &self.problem {
            Problem::UnknownField { key, nearest, known } => {
                let mut place = Vec::new();
                if !self.path.is_empty() {
                    place.push(format!(" in {}", self.path));
                }
                place.extend(resource.map(|resource| format!(" of {resource}")));
                let advice = match nearest {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("known are {}", known.join(", ")),
                };
                format!("unknown field `{key}`{}; {advice}", place.concat())
            }
            Problem::Refused(problem) => {
                let resource = resource.map(|resource| format!("{resource}: ")).unwrap_or_default();
                format!("{resource}{}: {problem}", self.path)
            }
        }
    }
}

/// The refusals found so far. Of one field the first counts: what follows from it would only repeat it.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<FieldError>);

impl Findings {
    pub(super) fn new(found: Vec<FieldError>) -> Self {
        Self(found)
    }

    pub(super) fn refuse(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        let error = FieldError::refused(path, problem);
        if !self.0.iter().any(|known| known.path == error.path) {
            self.0.push(error);
        }
    }

    /// The value of a name, or none with its refusal noted. The text is quoted where `quote` says that it holds no key.
    pub(super) fn name<T>(
        &mut self,
        path: impl Into<String>,
        text: &str,
        parsed: Result<T, NameError>,
        quote: Quote,
    ) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                match quote {
                    Quote::Shown => self.refuse(path, format!("{} {error}", quoted(text))),
                    Quote::Hidden => self.refuse(path, error.to_string()),
                }
                None
            }
        }
    }

    /// The value, if nothing was found.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// Whether a refused text may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// A name.
    Shown,
    /// An address, which may hold a key.
    Hidden,
}

/// A text as it stands in a message: cut where it is long.
pub(crate) fn quoted(text: &str) -> impl fmt::Display {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}
