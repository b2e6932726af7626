//! The programs of Kubernetes that the cluster tests need, and where they are looked for.

use std::path::{Path, PathBuf};

use super::suite::Need;

/// Names the folder with the programs, as everywhere in the field.
const FOLDER: &str = "KUBEBUILDER_ASSETS";
/// Looked into where it is not set.
const USUAL: &str = "/usr/local/kubebuilder/bin";
/// Set to `cluster`, the tests run against the cluster of `KUBECONFIG`.
const OUTSIDE: &str = "HEADWATER_E2E";

/// What there is to run cluster tests against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assets {
    /// Programs to start a cluster of our own with.
    Found(Programs),
    /// A cluster of somebody's: only tests that need no test kubelet run against it.
    Outside,
    /// Nothing; why, and what to do.
    Missing(String),
}

/// The programs of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub api_server: PathBuf,
    /// Controllers of Deployments, of garbage and more; without it the harness acts for Deployments.
    pub controller_manager: Option<PathBuf>,
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).map_or_else(|| PathBuf::from(USUAL), PathBuf::from)
}

fn search() -> Vec<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search).collect()
}

/// kubectl, beside the other programs or on the search path.
pub fn kubectl() -> Option<PathBuf> {
    let folders = std::iter::once(folder()).chain(search());
    folders.map(|folder| folder.join("kubectl")).find(|path| path.is_file())
}

impl Assets {
    /// Looks for them: in `KUBEBUILDER_ASSETS`, else in the usual folder; for etcd on the search path too.
    pub fn find() -> Self {
        if std::env::var_os(OUTSIDE).is_some_and(|value| value == "cluster") {
            return match std::env::var_os("KUBECONFIG") {
                Some(_) => Assets::Outside,
                None => Assets::Missing(format!("{OUTSIDE}=cluster, but KUBECONFIG names no cluster")),
            };
        }
        Self::look(&folder(), &search())
    }

    fn look(folder: &Path, search: &[PathBuf]) -> Self {
        let own = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let Some(api_server) = own("kube-apiserver") else {
            let folder = folder.display();
            return Assets::Missing(format!("no kube-apiserver in {folder}; set {FOLDER}"));
        };
        let found = search.iter().map(|folder| folder.join("etcd"));
        let Some(etcd) = own("etcd").or_else(|| found.into_iter().find(|path| path.is_file())) else {
            return Assets::Missing(format!("no etcd in {} nor on PATH; run make setup", folder.display()));
        };
        let controller_manager = own("kube-controller-manager");
        Assets::Found(Programs {
            etcd,
            api_server,
            controller_manager,
        })
    }

    /// Why a test with this need can't run here; nothing if it can.
    pub fn lacks(&self, need: Need) -> Option<String> {
        match (self, need) {
            (Assets::Missing(why), _) => Some(why.clone()),
            (_, Need::Kubectl) if kubectl().is_none() => Some(format!("no kubectl on PATH nor in {FOLDER}")),
            (Assets::Outside, Need::Api | Need::Kubectl) => None,
            (Assets::Outside, _) => Some("a foreign cluster runs no test kubelet".to_owned()),
            (Assets::Found(programs), Need::ControllerManager) if programs.controller_manager.is_none() => {
                let folder = programs.api_server.parent().unwrap_or(Path::new("."));
                let folder = folder.display();
                Some(format!("no kube-controller-manager in {folder}; set {FOLDER}"))
            }
            (Assets::Found(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(programs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::TempDir::new().unwrap();
        for program in programs {
            std::fs::write(folder.path().join(program), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let (empty, api, etcd) = (folder(&[]), folder(&["kube-apiserver"]), folder(&["etcd"]));
        let why = |assets: Assets| match assets {
            Assets::Missing(why) => why,
            other => panic!("{other:?}"),
        };
        let nothing = why(Assets::look(empty.path(), &[etcd.path().to_owned()]));
        assert!(
            nothing.contains("kube-apiserver") && nothing.contains(FOLDER),
            "{nothing}"
        );
        let no_store = why(Assets::look(api.path(), &[empty.path().to_owned()]));
        assert!(no_store.contains("no etcd"), "{no_store}");
        assert!(matches!(
            Assets::look(api.path(), &[etcd.path().to_owned()]),
            Assets::Found(Programs {
                controller_manager: None,
                ..
            })
        ));
    }

    #[test]
    fn tests_of_controllers_alone_are_left_out_without_a_controller_manager() {
        let bare = folder(&["kube-apiserver", "etcd"]);
        let whole = folder(&["kube-apiserver", "etcd", "kube-controller-manager"]);
        let lacks = |folder: &tempfile::TempDir, need| Assets::look(folder.path(), &[]).lacks(need);
        assert_eq!(lacks(&bare, Need::Api), None);
        assert_eq!(lacks(&bare, Need::Nodes), None);
        assert!(lacks(&bare, Need::ControllerManager).is_some());
        assert_eq!(lacks(&whole, Need::ControllerManager), None);
        assert_eq!(Assets::Outside.lacks(Need::Api), None);
        assert!(Assets::Outside.lacks(Need::Nodes).is_some());
    }
}
