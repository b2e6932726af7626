//! Bytes of every URL: whoever gives them, they are the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{Digest, SHA256, digest};

/// Most differences that are kept.
const KEPT: usize = 50;

/// Digest of every URL that was fetched; grows with the test, by about 200 bytes each. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<String, Entry>,
    differences: Vec<String>,
    compared: u64,
}

#[derive(Debug)]
struct Entry {
    length: usize,
    digest: Digest,
    server: String,
}

impl Ledger {
    /// Enters what a server gave for a URL, and compares it with what was given before.
    pub fn enter(&self, path: &str, bytes: &[u8], server: &str) {
        let found = digest(&SHA256, bytes);
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = book.entries.get(path) else {
            let entry = Entry {
                length: bytes.len(),
                digest: found,
                server: server.to_owned(),
            };
            book.entries.insert(path.to_owned(), entry);
            return;
        };
        if known.digest.as_ref() != found.as_ref() {
            let (length, other) = (known.length, &known.server);
            let difference = format!(
                "{path}: {length} bytes of {other} differ from {} bytes of {server}",
                bytes.len()
            );
            if book.differences.len() < KEPT {
                book.differences.push(difference);
            }
        }
        book.compared += 1;
    }

    /// What differed.
    pub fn differences(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .differences
            .clone()
    }

    /// How often bytes were compared with others of the same URL.
    pub fn compared(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_under_the_same_url_are_told_with_both_servers() {
        let ledger = Ledger::default();
        ledger.enter("/a", b"one", "x");
        ledger.enter("/b", b"two", "x");
        ledger.clone().enter("/a", b"one", "y");
        assert_eq!((ledger.differences(), ledger.compared()), (vec![], 1));
        ledger.enter("/a", b"other", "z");
        assert_eq!(ledger.differences(), ["/a: 3 bytes of x differ from 5 bytes of z"]);
    }
}
