//! Local mode's start: ports and the sample's destination.

use headwater_contract::PublishKey;

use super::*;
use crate::fleet::document::{Fleet, OriginEntry};
use crate::local::manifests::ManifestFile;
use crate::platform::{OriginWish, origin_id};

#[tokio::test]
async fn a_taken_ops_port_is_refused_if_it_was_asked_for_and_passed_over_if_not() {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap();
    let error = listen_ops(OpsListen::Exactly(address)).await.unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("--ops-listen"),
        "{error}"
    );
    let (_listener, next) = listen_ops(OpsListen::Default(address)).await.unwrap();
    assert!(next.port() > address.port());
}

#[test]
fn the_sample_goes_to_the_first_origin_with_the_key_of_its_name_or_of_any() {
    let text = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {app: tv}\n";
    let file = ManifestFile {
        name: "test".into(),
        text: text.into(),
    };
    let spec = manifests::read(&[file]).unwrap().origins.remove(0);
    let id = origin_id(&spec.key);
    let entry = OriginEntry {
        namespace: "default".into(),
        name: "main".into(),
        rtmp: "127.0.0.1:1935".into(),
        ..Default::default()
    };
    let snapshot = Snapshot {
        fleet: Fleet {
            origins: vec![entry],
            ..Default::default()
        },
        ..Default::default()
    };
    let key_for = |keys: Option<Vec<(&str, &str)>>| {
        let keys = keys.map(|keys| {
            keys.into_iter()
                .map(|(name, key)| (name.to_owned(), PublishKey::new(key)))
                .collect()
        });
        let spec = spec.clone();
        let wishes = Wishes {
            origins: [(id.clone(), OriginWish { spec, keys })].into(),
            ..Default::default()
        };
        let destination = sample_destination(&snapshot, &wishes).unwrap();
        assert_eq!(destination.app, "tv");
        destination.key.map(|key| key.expose().to_owned())
    };
    assert_eq!(key_for(None), None);
    assert_eq!(key_for(Some(vec![("*", "any")])).as_deref(), Some("any"));
    assert_eq!(
        key_for(Some(vec![("*", "any"), ("sample", "own")])).as_deref(),
        Some("own")
    );
    assert_eq!(sample_destination(&snapshot, &Wishes::default()), None);
}

#[test]
fn attached_nodes_of_resources_that_are_in_no_manifest_are_found() {
    let text = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {}\n";
    let file = ManifestFile {
        name: "test".into(),
        text: text.into(),
    };
    let spec = manifests::read(&[file]).unwrap().origins.remove(0);
    let wishes = Wishes {
        origins: [(origin_id(&spec.key), OriginWish { spec, keys: None })].into(),
        ..Default::default()
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "t").unwrap();
    let node = |role: &str, resource: &str| {
        format!(
            r#"{{"role":"{role}","resource":"{resource}","ops":"127.0.0.1:1","rtmp":"127.0.0.1:2","http":"127.0.0.1:3","tokenFile":"token"}}"#
        )
    };
    let json = format!("[{},{}]", node("origin", "main"), node("edge", "wbe"));
    std::fs::write(folder.path().join("nodes.json"), json).unwrap();
    let attached = attach::read(&folder.path().join("nodes.json")).unwrap();
    let names: Vec<_> = unwished(&attached, &wishes).iter().map(|id| id.to_string()).collect();
    assert_eq!(names, ["default/EdgePool/wbe/wbe-attached-1"]);
}
