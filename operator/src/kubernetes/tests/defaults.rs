//! Default resources: a file's resources are applied, a person's edits win, and nothing is ever taken away.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::kubernetes::defaults::FIELD_MANAGER;

const ORIGIN: &str =
    "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main, namespace: video}\n";

/// The origin `main` and the pool `web` of so many edges.
fn manifest(replicas: u32) -> String {
    format!(
        "{ORIGIN}---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: web, namespace: video}}\nspec:\n  upstream: \
        {{kind: StreamOrigin, name: main}}\n  replicas: {replicas}\n  drainTimeoutSeconds: 60\n"
    )
}

/// A folder as a kubelet mounts a ConfigMap: what it holds is swapped by one symlink.
struct Mount {
    folder: tempfile::TempDir,
    versions: u32,
}

impl Mount {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink("..data/defaults.yaml", folder.path().join("defaults.yaml")).unwrap();
        let mut mount = Self { folder, versions: 0 };
        mount.swap(text);
        mount
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn swap(&mut self, text: &str) {
        self.versions += 1;
        let (folder, version) = (self.folder.path(), format!("..version.{}", self.versions));
        std::fs::create_dir(folder.join(&version)).unwrap();
        std::fs::write(folder.join(&version).join("defaults.yaml"), text).unwrap();
        symlink(&version, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }
}

fn spec(api: &FakeApi, kind: &str, name: &str, field: &str) -> Option<Value> {
    api.get(kind, name)?["spec"].get(field).cloned()
}

/// Writes to one of both kinds that were applied, not of its status.
fn applied(api: &FakeApi) -> Vec<(String, u16)> {
    let writes = api.take_writes().into_iter();
    let ours = writes.filter(|write| write.verb == "apply" && ["StreamOrigin", "EdgePool"].contains(&write.kind));
    ours.map(|write| (write.name, write.code)).collect()
}

async fn until_replicas(api: &FakeApi, replicas: u32) {
    until(api, &format!("the pool has {replicas} replicas"), || {
        (spec(api, "EdgePool", "web", "replicas") == Some(json!(replicas))).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_file_holds_is_made_and_follows_it_and_is_never_taken_away() {
    let api = FakeApi::new();
    let mut mount = Mount::new(&manifest(3));
    let running = Running::start_with(&api, Some(mount.path()));
    until_replicas(&api, 3).await;
    until(&api, "the operator acts on it", || {
        replicas(&api, "web-edge").filter(|edges| *edges == 3)
    })
    .await;
    assert_eq!(applied(&api), [("main".to_owned(), 200), ("web".to_owned(), 200)]);

    mount.swap(&manifest(4));
    until_replicas(&api, 4).await;
    quiet(&api).await;
    applied(&api);
    quiet(&api).await;
    assert_eq!(applied(&api), [], "a file that stands still is applied once");

    mount.swap("# nothing\n");
    quiet(&api).await;
    quiet(&api).await;
    assert!(api.get("EdgePool", "web").is_some() && api.get("StreamOrigin", "main").is_some());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_file_changes_nothing_until_it_is_put_right() {
    let api = FakeApi::new();
    let mut mount = Mount::new(&manifest(3));
    let _running = Running::start_with(&api, Some(mount.path()));
    until_replicas(&api, 3).await;
    quiet(&api).await;
    applied(&api);
    for wrong in [
        manifest(5).replace("replicas", "replikas"),
        manifest(5) + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: k, namespace: video}\n",
        "a: [".to_owned(),
    ] {
        mount.swap(&wrong);
        quiet(&api).await;
        assert_eq!(applied(&api), [], "{wrong}");
    }
    mount.swap(&manifest(5));
    until_replicas(&api, 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_persons_edit_wins_and_the_other_fields_follow_the_file() {
    let api = FakeApi::new();
    let mut mount = Mount::new(&manifest(3));
    let running = Running::start_with(&api, Some(mount.path()));
    until_replicas(&api, 3).await;
    let mine = json!({"kind": "EdgePool", "metadata": {"name": "web"}, "spec": {"replicas": 7}});
    api.apply_as("kubectl", &mine);
    mount.swap(&manifest(4).replace("60", "90"));
    until(&api, "the other field follows", || {
        (spec(&api, "EdgePool", "web", "drainTimeoutSeconds") == Some(json!(90))).then_some(())
    })
    .await;
    quiet(&api).await;
    assert_eq!(spec(&api, "EdgePool", "web", "replicas"), Some(json!(7)));
    drop(running);

    // The next leader does as this one did.
    let _next = Running::start_with(&api, Some(mount.path()));
    quiet(&api).await;
    assert_eq!(spec(&api, "EdgePool", "web", "replicas"), Some(json!(7)));
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_refuses_is_tried_again() {
    let api = FakeApi::new();
    let mount = Mount::new(&manifest(3));
    api.refuse("EdgePool", 403, "edgepools is forbidden");
    let _running = Running::start_with(&api, Some(mount.path()));
    until(&api, "the origin is there", || api.get("StreamOrigin", "main")).await;
    for _ in 0..2 {
        until(&api, "it is tried again", || {
            applied(&api).contains(&("web".to_owned(), 403)).then_some(())
        })
        .await;
    }
    assert!(api.get("EdgePool", "web").is_none());
    api.accept();
    until_replicas(&api, 3).await;
}

#[test]
fn a_resource_is_applied_as_it_was_written_in_a_namespace() {
    let read = |text: &str, only: Option<&str>| {
        let file = crate::local::manifests::ManifestFile {
            name: "d.yaml".into(),
            text: text.into(),
        };
        crate::local::manifests::for_cluster(&[file], only, "here").map_err(|errors| errors.to_string())
    };
    let text = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata:\n  name: main\n  uid: x\n  labels: {a: b}\nstatus: {}\n";
    let wanted = json!({
        "apiVersion": "headwater.dev/v1alpha1", "kind": "StreamOrigin", "spec": {},
        "metadata": {"name": "main", "namespace": "here", "labels": {"a": "b"}},
    });
    assert_eq!(read(text, None), Ok(vec![wanted]), "nothing is filled in");
    assert_eq!(read("# nothing\n", None), Ok(vec![]));
    let alone = manifest(1).replace(ORIGIN, "");
    assert_eq!(
        read(&alone, None).unwrap().len(),
        1,
        "its upstream may be in the cluster"
    );
    let error = read(&manifest(1), Some("other")).unwrap_err();
    assert!(
        error.contains("d.yaml:3 (document 1): StreamOrigin video/main: metadata.namespace"),
        "{error}"
    );
    let error = read(
        &(manifest(1) + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: k}\n"),
        None,
    )
    .unwrap_err();
    assert!(error.contains("d.yaml:14") && error.contains("Secret"), "{error}");
    assert_ne!(FIELD_MANAGER, crate::kubernetes::apply::FIELD_MANAGER);
}
