//! Manifests from disk to wishes, again whenever they change there. Bad manifests change nothing and say why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::manifests::{self, ManifestErrors, Manifests};
use crate::platform::{OriginWish, Wishes, origin_id, pool_id};

const PERIOD: Duration = Duration::from_secs(1);

/// Manifests as they are in force, and what keeps those on disk from being.
#[derive(Debug)]
pub struct Reload {
    files: Vec<PathBuf>,
    in_force: Manifests,
    seen: Vec<Stamp>,
    wishes: watch::Sender<Arc<Wishes>>,
    problem: watch::Sender<Option<String>>,
}

/// What shows that a file has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    changed: Option<SystemTime>,
    length: u64,
}

impl Reload {
    /// Reads the manifests for the first time.
    ///
    /// # Errors
    /// Every error in them.
    pub fn first(files: Vec<PathBuf>) -> Result<Self, ManifestErrors> {
        // Stamps first: a change in between is then seen as one.
        let seen = stamps(&files);
        let in_force = manifests::load(&files)?;
        tell(&in_force);
        Ok(Self {
            wishes: watch::channel(Arc::new(wishes(&in_force))).0,
            problem: watch::channel(None).0,
            files,
            in_force,
            seen,
        })
    }

    /// The wishes in force.
    pub fn wishes(&self) -> watch::Receiver<Arc<Wishes>> {
        self.wishes.subscribe()
    }

    /// Why the manifests on disk are not in force, if they are not.
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.subscribe()
    }

    /// Looks at the files each second, for ever.
    pub async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let files = self.files.clone();
            let before = self.seen.clone();
            // The disk may block: not on this thread.
            let looked = tokio::task::spawn_blocking(move || {
                let seen = stamps(&files);
                (seen != before).then(|| (seen, manifests::load(&files)))
            });
            if let Ok(Some((seen, loaded))) = looked.await {
                self.seen = seen;
                self.take(loaded);
            }
        }
    }

    fn take(&mut self, loaded: Result<Manifests, ManifestErrors>) {
        let loaded = loaded.and_then(|new| new.may_follow(&self.in_force).map(|()| new));
        match loaded {
            Ok(new) => {
                let had_problem = self.problem.send_replace(None).is_some();
                if new == self.in_force && !had_problem {
                    return;
                }
                info!(
                    origins = new.origins.len(),
                    pools = new.pools.len(),
                    "the manifests were read anew and are in force"
                );
                tell(&new);
                self.wishes.send_replace(Arc::new(wishes(&new)));
                self.in_force = new;
            }
            Err(errors) => {
                let text = errors.to_string();
                error!(
                    errors = text,
                    "the manifests have errors; what was in force before stays in force"
                );
                self.problem.send_replace(Some(text));
            }
        }
    }
}

/// Warnings, and who may publish where nobody needs a key.
fn tell(manifests: &Manifests) {
    for warning in &manifests.warnings {
        warn!(warning, "a manifest says something that is hardly meant");
    }
    for origin in manifests.origins.iter().filter(|origin| origin.keys_secret.is_none()) {
        warn!(
            origin = %origin.key,
            "anyone who can reach the RTMP port may publish; set spec.publish.keysSecret to ask for a key"
        );
    }
}

fn wishes(manifests: &Manifests) -> Wishes {
    let origins = manifests.origins.iter().map(|spec| {
        let wish = OriginWish {
            spec: spec.clone(),
            keys: manifests.publish_keys(spec),
        };
        (origin_id(&spec.key), wish)
    });
    let of_origins = manifests
        .origins
        .iter()
        .map(|spec| (origin_id(&spec.key), &spec.tls_secret));
    let of_pools = manifests
        .pools
        .iter()
        .map(|spec| (pool_id(&spec.key), &spec.tls_secret));
    let certificates = of_origins.chain(of_pools).filter_map(|(id, secret)| {
        let certificate = manifests.certificate(&id.namespace, secret.as_ref()?)?;
        Some((id, certificate))
    });
    Wishes {
        origins: origins.collect(),
        certificates: certificates.collect(),
        pools: manifests
            .pools
            .iter()
            .map(|spec| (pool_id(&spec.key), spec.clone()))
            .collect(),
        ..Wishes::default()
    }
}

/// Stamps of the files, and of the files in the folders.
fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    for path in paths {
        stamps.push(stamp(path));
        let Ok(entries) = std::fs::read_dir(path) else { continue };
        let mut inner: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inner.sort();
        stamps.extend(inner.iter().map(|path| stamp(path)));
    }
    stamps
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok();
    Stamp {
        path: path.to_owned(),
        changed: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
        length: metadata.map_or(0, |metadata| metadata.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::ResourceId;

    const ORIGIN: &str = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {}\n";

    fn pool(name: &str, upstream: &str, rest: &str) -> String {
        format!(
            "---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: {name}}}\nspec: {{upstream: {{kind: {upstream}, name: main}}{rest}}}\n"
        )
    }

    struct Disk {
        folder: tempfile::TempDir,
        reload: Reload,
    }

    fn disk(text: &str) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, text).unwrap();
        let reload = Reload::first(vec![file]).unwrap();
        Disk { folder, reload }
    }

    impl Disk {
        fn rewrite(&mut self, text: &str) {
            std::fs::write(self.folder.path().join("a.yaml"), text).unwrap();
            let loaded = manifests::load(&self.reload.files);
            self.reload.take(loaded);
        }

        fn pools(&self) -> Vec<ResourceId> {
            self.reload.wishes.borrow().pools.keys().cloned().collect()
        }
    }

    #[test]
    fn what_changes_on_disk_takes_effect_and_a_mistake_changes_nothing() {
        let mut disk = disk(&format!("{ORIGIN}{}", pool("web", "StreamOrigin", "")));
        assert_eq!(disk.pools(), [ResourceId::pool("default", "web")]);
        let more = format!(
            "{ORIGIN}{}{}",
            pool("web", "StreamOrigin", ""),
            pool("two", "StreamOrigin", "")
        );
        disk.rewrite(&more);
        assert_eq!(disk.pools().len(), 2);
        disk.rewrite(&format!("{ORIGIN}{}", pool("web", "StreamOrigin", ", replica: 3")));
        assert_eq!(disk.pools().len(), 2, "a bad manifest changes nothing");
        let problem = disk.reload.problem.borrow().clone().unwrap();
        assert!(problem.contains("replica") && problem.contains("replicas"), "{problem}");
        disk.rewrite(&more);
        assert_eq!(*disk.reload.problem.borrow(), None);
        disk.rewrite(ORIGIN);
        assert_eq!(disk.pools(), []);
    }

    #[test]
    fn a_change_that_is_not_allowed_while_the_pool_exists_is_refused() {
        let mut disk = disk(&format!("{ORIGIN}{}", pool("web", "StreamOrigin", "")));
        let other = pool("main", "StreamOrigin", "");
        disk.rewrite(&format!("{ORIGIN}{other}{}", pool("web", "EdgePool", "")));
        assert!(
            disk.reload
                .problem
                .borrow()
                .as_ref()
                .unwrap()
                .contains("spec.upstream.kind")
        );
    }

    #[test]
    fn stamps_tell_changed_added_and_missing_files() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("gone.yaml")];
        let empty = stamps(&paths);
        std::fs::write(folder.path().join("a.yaml"), "a").unwrap();
        let one = stamps(&paths);
        std::fs::write(folder.path().join("a.yaml"), "ab").unwrap();
        let longer = stamps(&paths);
        assert!(empty != one && one != longer);
        assert_eq!(longer, stamps(&paths));
    }

    #[tokio::test]
    async fn a_file_that_changes_is_seen() {
        let disk = disk(ORIGIN);
        let mut wishes = disk.reload.wishes();
        let task = tokio::spawn(disk.reload.run());
        std::fs::write(
            disk.folder.path().join("a.yaml"),
            format!("{ORIGIN}{}", pool("web", "StreamOrigin", "")),
        )
        .unwrap();
        tokio::time::timeout(
            Duration::from_secs(10),
            wishes.wait_for(|wishes| wishes.pools.len() == 1),
        )
        .await
        .unwrap()
        .unwrap();
        task.abort();
    }
}
