//! The manifests of local mode: YAML text in, proven resources out, or every error with its file, line, resource and field.
//!
//! Local mode has no API server, so its work is done here: unknown fields, types, bounds and rules. No value of a Secret is ever
//! shown, and no address that may hold a key.

mod document;
mod error;
mod references;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headwater_contract::PublishKey;
use serde_json::{Value, json};

use document::Document;
pub use error::{ManifestError, ManifestErrors, Place};

use crate::api::names::{ResourceKey, SecretName};
use crate::api::tls;
use crate::platform::{Certificate, usable_keys};
use crate::validate::{ValidOrigin, ValidPool, pool_change};

/// Secrets by key; of each, its entries.
pub type Secrets = BTreeMap<ResourceKey, BTreeMap<String, PublishKey>>;

/// Largest file that is read, in bytes; a larger one is refused.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most files of a folder; a folder with more is refused.
const MAX_FILES: usize = 256;

/// Everything that the manifests hold, in the order in which it stands there. Every upstream exists and no pool is its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The origins.
    pub origins: Vec<ValidOrigin>,
    /// The pools.
    pub pools: Vec<ValidPool>,
    /// The Secrets.
    pub secrets: Secrets,
    /// What is allowed but hardly meant, in a person's words.
    pub warnings: Vec<String>,
}

/// A file of manifests, as read.
#[derive(Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its name as it stands in errors.
    pub name: String,
    /// Its YAML text; it may hold Secrets.
    pub text: String,
}

impl Manifests {
    /// The publish keys of an origin as a node wants them. None: anyone may publish. Empty: the Secret is not there, all are refused.
    /// Entries that let nobody publish are left out: a node would refuse the rules as a whole for one of them.
    pub fn publish_keys(&self, origin: &ValidOrigin) -> Option<BTreeMap<String, PublishKey>> {
        let entries = self.entries(origin)?;
        let entries = entries.into_iter().flatten();
        Some(usable_keys(entries.map(|(name, key)| (name.clone(), key.clone()))))
    }

    /// The certificate in a Secret, if it is there as a whole.
    pub fn certificate(&self, namespace: &str, secret: &SecretName) -> Option<Certificate> {
        let entries = self.secrets.get(&ResourceKey::new(namespace, secret.as_str()))?;
        let entry = |name: &str| entries.get(name).map(|entry| entry.expose().to_owned());
        Some(Certificate {
            chain: entry(tls::CERTIFICATE)?,
            key: entry(tls::KEY)?,
        })
    }

    /// The entries of the Secret that an origin names, if it names one; and if that one is there.
    fn entries(&self, origin: &ValidOrigin) -> Option<Option<&BTreeMap<String, PublishKey>>> {
        let secret = origin.keys_secret.as_ref()?;
        let key = ResourceKey::new(&origin.key.namespace, secret.as_str());
        Some(self.secrets.get(&key))
    }

    /// Whether these manifests may follow `old` ones: some fields can't be changed while the resource exists.
    ///
    /// # Errors
    /// Every change that is refused; the old manifests stay in force.
    pub fn may_follow(&self, old: &Manifests) -> Result<(), ManifestErrors> {
        let errors = self.pools.iter().flat_map(|new| {
            let before = old.pools.iter().find(|old| old.key == new.key);
            let refused = before.and_then(|old| pool_change(old, new).err()).unwrap_or_default();
            let resource = format!("EdgePool {}", new.key);
            refused
                .into_iter()
                .map(move |error| ManifestError::of_field(None, Some(&resource), error))
        });
        ManifestErrors::none_or(errors.collect())
    }
}

/// Reads files, and the `.yaml` and `.yml` files of folders in the order of their names. Blocks on the disk.
///
/// # Errors
/// Every file that can't be read, or every error of their text ([`read`]).
pub fn load(paths: &[PathBuf]) -> Result<Manifests, ManifestErrors> {
    read(&files(paths)?)
}

/// The texts of files, and of the `.yaml` and `.yml` files of folders in the order of their names. Blocks on the disk.
///
/// # Errors
/// Every file that can't be read.
pub fn files(paths: &[PathBuf]) -> Result<Vec<ManifestFile>, ManifestErrors> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match files_of(path) {
            Ok(found) => {
                for file in found {
                    match text_of(&file) {
                        Ok(text) => files.push(ManifestFile {
                            name: file.display().to_string(),
                            text,
                        }),
                        Err(problem) => errors.push(ManifestError::of_file(&file, problem)),
                    }
                }
            }
            Err(problem) => errors.push(ManifestError::of_file(path, problem)),
        }
    }
    ManifestErrors::none_or(errors)?;
    Ok(files)
}

/// Reads the texts of files as one set of manifests.
///
/// # Errors
/// Every error of every document, and of the references between them.
pub fn read(files: &[ManifestFile]) -> Result<Manifests, ManifestErrors> {
    let (documents, mut errors) = documents(files);
    // Text that can't be parsed may hold what others refer to: references are looked at only where all of it could be.
    let all_parsed = errors.is_empty();
    let documents = without_errors(files, documents, &mut errors, all_parsed)?;
    Ok(references::gather(documents))
}

/// Reads the texts of files as custom resources for an API server, each as it was written, in a namespace: the only one that may be
/// named, if there is such a one, else `fallback` where none is named. What they refer to may be in the cluster already.
///
/// # Errors
/// Every error of every document; a Secret is one.
pub fn for_cluster(files: &[ManifestFile], only: Option<&str>, fallback: &str) -> Result<Vec<Value>, ManifestErrors> {
    let (documents, mut errors) = documents(files);
    for document in &documents {
        let Some((kind, _)) = &document.declares else { continue };
        let title = document.title();
        let mut refuse = |path: &str, text: String| {
            let place = document.place_of(path);
            errors.push(ManifestError::of_text(Some(place), title.as_deref(), text));
        };
        if *kind == document::SECRET {
            refuse(
                "kind",
                "kind: a Secret is not taken from here; make it in the cluster".to_owned(),
            );
        }
        let named = document.written["metadata"]["namespace"].as_str();
        if let (Some(only), Some(named)) = (only, named)
            && only != named
        {
            let text = format!("metadata.namespace: is `{named}`, and this operator looks after `{only}` alone");
            refuse("metadata.namespace", text);
        }
    }
    let documents = without_errors(files, documents, &mut errors, false)?;
    Ok(documents
        .into_iter()
        .map(|document| wanted(document.written, fallback))
        .collect())
}

/// A custom resource as it is applied: what the API server sets by itself is left out.
fn wanted(mut written: Value, fallback: &str) -> Value {
    let metadata = |key: &str| written["metadata"][key].clone();
    let named = metadata("namespace");
    let mut kept = json!({
        "name": metadata("name"),
        "namespace": if named.is_string() { named } else { json!(fallback) },
    });
    for key in ["labels", "annotations"] {
        if let Value::Object(map) = metadata(key) {
            kept[key] = Value::Object(map);
        }
    }
    let spec = match written["spec"].take() {
        Value::Null => json!({}),
        spec => spec,
    };
    json!({"apiVersion": written["apiVersion"], "kind": written["kind"], "metadata": kept, "spec": spec})
}

/// Every document as far as it can be read, and an error for each that is no YAML.
fn documents(files: &[ManifestFile]) -> (Vec<Document>, Vec<ManifestError>) {
    let mut errors = Vec::new();
    let mut documents = Vec::new();
    for file in files {
        let mut number = 0;
        for (first_line, text) in yaml::documents(&file.text) {
            let place = |document| Place {
                file: file.name.clone(),
                document,
                line: first_line,
            };
            match yaml::parse(text, first_line) {
                Ok(None) => {}
                Ok(Some(parsed)) => {
                    number += 1;
                    documents.push(document::read(parsed, place(number)));
                }
                Err((line, problem)) => {
                    number += 1;
                    let at = Place { line, ..place(number) };
                    errors.push(ManifestError::of_text(
                        Some(at),
                        None,
                        format!("is not YAML: {problem}"),
                    ));
                }
            }
        }
    }
    (documents, errors)
}

/// The documents if neither they nor the references between them have errors.
fn without_errors(
    files: &[ManifestFile],
    mut documents: Vec<Document>,
    errors: &mut Vec<ManifestError>,
    complete: bool,
) -> Result<Vec<Document>, ManifestErrors> {
    for document in &mut documents {
        errors.append(&mut document.errors);
    }
    references::check(&documents, complete, errors);
    errors.sort_by_key(|error| {
        let file = files
            .iter()
            .position(|file| Some(&file.name) == error.place.as_ref().map(|place| &place.file));
        (file, error.place.as_ref().map(|place| place.line))
    });
    ManifestErrors::none_or(std::mem::take(errors))?;
    Ok(documents)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| format!("failed to list the folder: {error}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry
            .map_err(|error| format!("failed to list the folder: {error}"))?
            .path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(format!("has more than {MAX_FILES} manifests"));
        }
    }
    if files.is_empty() {
        return Err("is a folder without .yaml or .yml files".to_owned());
    }
    files.sort();
    Ok(files)
}

fn text_of(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file)
        .map_err(|error| format!("failed to read it: {error}"))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(format!("has {size} bytes; at most {MAX_FILE_BYTES} are read"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("failed to read it: {error}"))
}

#[cfg(test)]
mod tests;
