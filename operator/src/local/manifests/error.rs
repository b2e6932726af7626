//! An error of a manifest: where it stands, which resource it is about, which field, what is allowed.

use std::fmt;
use std::path::Path;

use crate::validate::FieldError;

/// Most errors that are printed; the rest is counted.
const MAX_PRINTED: usize = 50;

/// Where in the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Number of the document in it, from 1; empty ones are not counted.
    pub document: usize,
    /// Line in the file, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (document {})", self.file, self.line, self.document)
    }
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{text}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct ManifestError {
    /// Where; none for a file that can't be read, or where the text is no longer at hand.
    pub place: Option<Place>,
    /// Resource, field, what is wrong, what is allowed.
    pub text: String,
}

impl ManifestError {
    pub(super) fn of_field(place: Option<Place>, resource: Option<&str>, error: FieldError) -> Self {
        Self {
            place,
            text: error.describe(resource),
        }
    }

    pub(super) fn of_text(place: Option<Place>, resource: Option<&str>, text: impl Into<String>) -> Self {
        let resource = resource.map(|resource| format!("{resource}: ")).unwrap_or_default();
        Self {
            place,
            text: format!("{resource}{}", text.into()),
        }
    }

    pub(super) fn of_file(file: &Path, problem: String) -> Self {
        Self {
            place: None,
            text: format!("{}: {problem}", file.display()),
        }
    }
}

/// All errors of the manifests, at least one, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct ManifestErrors(pub Vec<ManifestError>);

impl ManifestErrors {
    pub(super) fn none_or(errors: Vec<ManifestError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self.0.iter().take(MAX_PRINTED).map(ToString::to_string).collect();
        if self.0.len() > MAX_PRINTED {
            lines.push(format!("and {} more errors", self.0.len() - MAX_PRINTED));
        }
        lines.join("\n")
    }
}
