//! A pod's volumes as folders. Secrets and ConfigMaps are swapped in whole through a symbolic link, as a kubelet does.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{KeyToPath, Pod, Volume};

use super::command::Mounts;
use crate::harness::cluster::stores::Stores;

/// Files of a volume by name.
type Files = BTreeMap<String, Vec<u8>>;

/// The volumes of one pod.
pub(super) struct Volumes {
    folder: PathBuf,
    written: BTreeMap<String, Files>,
    mounts: Mounts,
    /// Counts the swaps: each gets a folder of its own.
    swaps: u64,
}

impl Volumes {
    pub(super) fn new(pod: &Path) -> Self {
        Self {
            folder: pod.join("volumes"),
            written: BTreeMap::new(),
            mounts: Mounts::new(),
            swaps: 0,
        }
    }

    pub(super) fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Brings the folders up to date. An error says which source is missing; what is mounted already stays as it was.
    pub(super) fn sync(&mut self, pod: &Pod, stores: &Stores) -> Result<()> {
        let spec = pod.spec.as_ref().context("a pod without spec")?;
        let mut missing = Ok(());
        for volume in spec.volumes.iter().flatten() {
            let folder = self.folder.join(&volume.name);
            std::fs::create_dir_all(&folder)?;
            match files(volume, pod, stores) {
                Ok(Some(files)) if self.written.get(&volume.name) != Some(&files) => {
                    self.swaps += 1;
                    swap(&folder, &files, self.swaps)?;
                    self.written.insert(volume.name.clone(), files);
                }
                Ok(_) => {}
                Err(_) if self.written.contains_key(&volume.name) => {}
                Err(error) => missing = Err(error),
            }
        }
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
        self.mounts = mounts
            .map(|mount| {
                (
                    mount.mount_path.trim_end_matches('/').to_owned(),
                    self.folder.join(&mount.name),
                )
            })
            .collect();
        missing
    }
}

/// What a volume holds; nothing for one that starts empty.
fn files(volume: &Volume, pod: &Pod, stores: &Stores) -> Result<Option<Files>> {
    if volume.empty_dir.is_some() {
        return Ok(None);
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        return secret(name, pod, source.items.as_deref(), source.optional, stores).map(Some);
    }
    if let Some(source) = &volume.config_map {
        return config_map(&source.name, pod, source.items.as_deref(), source.optional, stores).map(Some);
    }
    if let Some(source) = &volume.projected {
        let mut all = Files::new();
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.secret {
                all.extend(secret(&part.name, pod, part.items.as_deref(), part.optional, stores)?);
            } else if let Some(part) = &part.config_map {
                all.extend(config_map(
                    &part.name,
                    pod,
                    part.items.as_deref(),
                    part.optional,
                    stores,
                )?);
            } else {
                bail!("the test kubelet projects Secrets and ConfigMaps only");
            }
        }
        return Ok(Some(all));
    }
    bail!("the test kubelet knows no volume like {}", volume.name)
}

fn secret(
    name: &str,
    pod: &Pod,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    stores: &Stores,
) -> Result<Files> {
    let namespace = pod.metadata.namespace.as_deref();
    let found = stores.secrets.find(|secret| {
        secret.metadata.name.as_deref() == Some(name) && secret.metadata.namespace.as_deref() == namespace
    });
    let data = found.map(|secret| {
        let data = secret.data.iter().flatten();
        data.map(|(key, value)| (key.clone(), value.0.clone())).collect()
    });
    chosen(data, items, optional).with_context(|| format!("there is no Secret {name}"))
}

fn config_map(
    name: &str,
    pod: &Pod,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    stores: &Stores,
) -> Result<Files> {
    let namespace = pod.metadata.namespace.as_deref();
    let found = stores
        .config_maps
        .find(|map| map.metadata.name.as_deref() == Some(name) && map.metadata.namespace.as_deref() == namespace);
    let data = found.map(|map| {
        let data = map.data.iter().flatten();
        data.map(|(key, value)| (key.clone(), value.clone().into_bytes()))
            .collect()
    });
    chosen(data, items, optional).with_context(|| format!("there is no ConfigMap {name}"))
}

fn chosen(data: Option<Files>, items: Option<&[KeyToPath]>, optional: Option<bool>) -> Option<Files> {
    let Some(data) = data else {
        return (optional == Some(true)).then(Files::new);
    };
    let Some(items) = items else { return Some(data) };
    items
        .iter()
        .map(|item| Some((item.path.clone(), data.get(&item.key)?.clone())))
        .collect()
}

/// Writes the files beside those of before and leads the link over: a reader sees all of the old or all of the new.
fn swap(folder: &Path, files: &Files, count: u64) -> Result<()> {
    let fresh = folder.join(format!("..{count}"));
    std::fs::create_dir_all(&fresh)?;
    for (name, bytes) in files {
        std::fs::write(fresh.join(name), bytes)?;
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            symlink(format!("..data/{name}"), link)?;
        }
    }
    let (data, next) = (folder.join("..data"), folder.join("..next"));
    let before = std::fs::read_link(&data).ok();
    symlink(format!("..{count}"), &next)?;
    std::fs::rename(&next, &data)?;
    if let Some(before) = before {
        std::fs::remove_dir_all(folder.join(before))?;
    }
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !files.contains_key(&name) {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_source_is_swapped_in_whole() {
        let folder = tempfile::TempDir::new().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        let files = |pairs: &[(&str, &str)]| -> Files {
            let pairs = pairs.iter();
            pairs
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
                .collect()
        };
        swap(folder.path(), &files(&[("token", "one"), ("old", "x")]), 1).unwrap();
        assert_eq!(read("token").as_deref(), Some("one"));
        swap(folder.path(), &files(&[("token", "two"), ("new", "y")]), 2).unwrap();
        assert_eq!(read("token").as_deref(), Some("two"));
        assert_eq!(read("new").as_deref(), Some("y"));
        assert_eq!(read("old"), None);
        assert!(!folder.path().join("..1").exists());
    }
}
