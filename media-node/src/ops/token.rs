//! The control API's bearer token: a file, looked at again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use subtle::{Choice, ConstantTimeEq};

/// The lines of the file: the current token first, then earlier ones that are still taken while it is rotated.
/// A file that is missing or empty lets nobody in.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    stamp: Option<(SystemTime, u64)>,
    tokens: Vec<String>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Read({} tokens)", self.tokens.len())
    }
}

/// Longest file and most tokens that are taken.
const LONGEST: u64 = 64 << 10;
const MOST: usize = 8;

impl TokenFile {
    /// Of that path; read at the first question.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: Mutex::default(),
        }
    }

    /// True if `authorization` is `Bearer` and one of the file's tokens. Takes the same time for every wrong token of one length.
    pub fn admits(&self, authorization: &str) -> bool {
        let Some((scheme, given)) = authorization.split_once(' ') else {
            return false;
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut read);
        let given = given.trim().as_bytes();
        let known = read
            .tokens
            .iter()
            .fold(Choice::from(0), |known, token| known | token.as_bytes().ct_eq(given));
        scheme.eq_ignore_ascii_case("bearer") && bool::from(known)
    }

    /// The file is a few bytes on a local disk or in memory: reading it here takes no longer than asking another thread to.
    fn refresh(&self, read: &mut Read) {
        let stamp = std::fs::metadata(&self.path)
            .ok()
            .filter(|file| file.len() <= LONGEST)
            .and_then(|file| Some((file.modified().ok()?, file.len())));
        if stamp.is_some() && stamp == read.stamp {
            return;
        }
        let text = stamp.and_then(|_| std::fs::read_to_string(&self.path).ok());
        read.tokens = text
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .take(MOST)
            .collect();
        if read.tokens.is_empty() {
            tracing::warn!(file = %self.path.display(), "no control token can be read: the control API lets nobody in");
        }
        read.stamp = stamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_and_the_previous_token_are_taken_and_a_new_file_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::new(&path);
        assert!(!file.admits("Bearer "), "no file");
        std::fs::write(&path, "new\nold\n").unwrap();
        for good in ["Bearer new", "bearer old"] {
            assert!(file.admits(good), "{good}");
        }
        for bad in ["Bearer other", "Basic new", "new", "", "Bearer", "Bearer ne"] {
            assert!(!file.admits(bad), "{bad}");
        }
        std::fs::write(&path, "newest").unwrap();
        assert!(file.admits("Bearer newest") && !file.admits("Bearer new"));
        std::fs::remove_file(&path).unwrap();
        assert!(!file.admits("Bearer newest"));
    }

    #[test]
    fn tokens_never_stand_in_debug_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2").unwrap();
        let file = TokenFile::new(&path);
        assert!(file.admits("Bearer hunter2"));
        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
