//! The certificates of the manifests as files of the nodes, as a kubelet has them: a changed one is put in place of the one before,
//! and read again by nodes that run.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::processes::write_secret;
use crate::api::tls;
use crate::fleet::ResourceId;
use crate::platform::Certificate;

/// The files, one folder for each resource. They go with the folder that they are in.
#[derive(Debug)]
pub(super) struct Certificates {
    base: PathBuf,
    written: BTreeMap<ResourceId, Certificate>,
}

impl Certificates {
    /// None yet; `base` is a folder that only this user can look into.
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.join("tls"),
            written: BTreeMap::new(),
        }
    }

    /// Where the certificate of a resource stands once it has one.
    pub(super) fn folder(&self, resource: &ResourceId) -> PathBuf {
        let ResourceId { namespace, kind, name } = resource;
        // A namespace and a name have no dot.
        self.base.join(format!("{namespace}.{kind}.{name}"))
    }

    /// Writes those that are new. One that is wished no more is taken away; nodes that serve it do so to their end.
    pub(super) fn keep(&mut self, wished: &BTreeMap<ResourceId, Certificate>) -> io::Result<()> {
        let gone: Vec<ResourceId> = self
            .written
            .keys()
            .filter(|id| !wished.contains_key(id))
            .cloned()
            .collect();
        for id in gone {
            std::fs::remove_dir_all(self.folder(&id))?;
            self.written.remove(&id);
        }
        for (id, certificate) in wished {
            if self.written.get(id) != Some(certificate) {
                let folder = self.folder(id);
                std::fs::create_dir_all(&folder)?;
                replace(&folder, tls::KEY, &certificate.key)?;
                replace(&folder, tls::CERTIFICATE, &certificate.chain)?;
                self.written.insert(id.clone(), certificate.clone());
            }
        }
        Ok(())
    }
}

/// A reader sees the old file or the new one, never half of one.
fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let next = folder.join(format!("{name}.next"));
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => write_secret(&next, text)?,
    }
    std::fs::rename(next, folder.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn wished(chain: &str) -> BTreeMap<ResourceId, Certificate> {
        let certificate = Certificate {
            chain: chain.to_owned(),
            key: "hunter2".to_owned(),
        };
        [(ResourceId::pool("default", "web"), certificate)].into()
    }

    #[test]
    fn files_are_as_the_manifests_say_and_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut certificates = Certificates::new(folder.path());
        let web = certificates.folder(&ResourceId::pool("default", "web"));
        for chain in ["one", "two"] {
            certificates.keep(&wished(chain)).unwrap();
            assert_eq!(std::fs::read_to_string(web.join("tls.crt")).unwrap(), chain);
        }
        let key = std::fs::metadata(web.join("tls.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&web).unwrap().count(), 2, "nothing is left over");
        certificates.keep(&BTreeMap::new()).unwrap();
        assert!(!web.exists());
        let origin = ResourceId::origin("default", "web");
        assert_ne!(certificates.folder(&origin), web);
    }

    #[test]
    fn a_certificate_never_stands_in_debug_text() {
        assert!(!format!("{:?}", wished("one")).contains("hunter2"));
    }
}
