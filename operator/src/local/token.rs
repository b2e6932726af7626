//! The control token of this run, in a file that only this user can read and that goes with the program.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::processes::write_secret;
use crate::fleet::link::ControlToken;

/// The file and its folder; dropping it removes both.
#[derive(Debug)]
pub(super) struct TokenFile {
    token: ControlToken,
    folder: PathBuf,
    path: PathBuf,
}

impl TokenFile {
    /// Makes a token of 256 random bits and writes it into a folder of its own.
    pub(super) fn create() -> io::Result<Self> {
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let name = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 12]>());
        let folder = std::env::temp_dir().join(format!("headwater-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let path = folder.join("control-token");
        write_secret(&path, &token)?;
        Ok(Self {
            token: ControlToken::new(&token),
            folder,
            path,
        })
    }

    pub(super) fn token(&self) -> ControlToken {
        self.token.clone()
    }

    /// Only this user can look into it.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
