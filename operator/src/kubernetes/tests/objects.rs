//! What is made, kept as it should be, and left alone.

use super::*;

/// Everything that is made for an origin and a pool below it.
const OWNED: [(&str, &str); 9] = [
    ("Secret", "main-origin-control"),
    ("Service", "main-origin"),
    ("NetworkPolicy", "main-origin"),
    ("Deployment", "main-origin"),
    ("Secret", "web-edge-control"),
    ("Service", "web-edge"),
    ("NetworkPolicy", "web-edge"),
    ("PodDisruptionBudget", "web-edge"),
    ("Deployment", "web-edge"),
];

type Edit = fn(&mut Value);

#[tokio::test(start_paused = true)]
async fn both_kinds_bring_all_objects_and_then_nothing_is_written() {
    let api = both();
    let operator = Running::start(&api);
    quiet(&api).await;
    for (kind, name) in OWNED {
        let object = api.get(kind, name).unwrap_or_else(|| panic!("no {kind} {name}"));
        let owner = &object["metadata"]["ownerReferences"][0];
        let (kind, name) = if name.starts_with("main") { MAIN } else { WEB };
        assert_eq!((&owner["kind"], &owner["name"]), (&json!(kind), &json!(name)));
        assert_eq!(owner["uid"], api.get(kind, name).unwrap()["metadata"]["uid"]);
    }
    assert_eq!(replicas(&api, "web-edge"), Some(3));
    let writes = api.take_writes();
    assert!(writes.iter().all(|write| write.code == 200), "{writes:#?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(api.take_writes(), [], "nothing changes, so nothing is written");
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_changes_nothing_that_is_right() {
    let api = both();
    let first = Running::start(&api);
    quiet(&api).await;
    first.stop().await;
    let (before, _) = (api.all("EdgePool"), api.take_writes());
    let _second = Running::start(&api);
    quiet(&api).await;
    let changed: Vec<Write> = api.take_writes().into_iter().filter(|write| write.changed).collect();
    assert_eq!(changed, []);
    assert_eq!(api.all("EdgePool"), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_edited_or_deleted_by_hand_is_put_right() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    let right = api.normal();
    for (kind, name) in OWNED {
        api.remove(kind, name);
        quiet(&api).await;
        assert_same(&api, &right, &format!("after {kind} {name} was deleted"));
        api.edit(kind, name, |object| object["metadata"]["labels"] = json!({}));
        quiet(&api).await;
        assert_same(&api, &right, &format!("after {kind} {name} lost its labels"));
    }
    let edits: [(&str, &str, Edit); 5] = [
        ("Deployment", "web-edge", |object| object["spec"]["replicas"] = json!(9)),
        ("Deployment", "main-origin", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        }),
        ("Service", "web-edge", |object| {
            object["spec"]["ports"][1]["targetPort"] = json!("ops")
        }),
        ("NetworkPolicy", "main-origin", |object| {
            object["spec"]["ingress"] = json!([])
        }),
        ("PodDisruptionBudget", "web-edge", |object| {
            object["spec"]["minAvailable"] = json!(0)
        }),
    ];
    for (kind, name, edit) in edits {
        api.edit(kind, name, edit);
        quiet(&api).await;
        assert_same(&api, &right, &format!("after {kind} {name} was edited"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_manager_adds_stays_and_is_not_written_about_again_and_again() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    api.take_writes();
    api.apply_as(
        "somebody",
        &json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-edge", "annotations": {"example.com/a": "b"}},
            "spec": {"ports": [{"name": "extra", "port": 9000, "protocol": "TCP"}]},
        }),
    );
    quiet(&api).await;
    let service = api.get("Service", "web-edge").unwrap();
    assert_eq!(service["metadata"]["annotations"]["example.com/a"], "b");
    assert_eq!(service["spec"]["ports"].as_array().unwrap().len(), 3);
    let writes = api.take_writes();
    assert!(
        writes.len() <= 1 && writes.iter().all(|write| !write.changed),
        "{writes:#?}"
    );
    // Ours still changes what is ours, and takes away what it set before.
    api.edit("EdgePool", "web", |pool| {
        pool["spec"]["service"] = json!({"type": "NodePort", "annotations": {"a/b": "c"}})
    });
    quiet(&api).await;
    api.edit("EdgePool", "web", |pool| {
        pool["spec"]["service"] = json!({"type": "NodePort"})
    });
    quiet(&api).await;
    let service = api.get("Service", "web-edge").unwrap();
    assert_eq!(service["metadata"]["annotations"], json!({"example.com/a": "b"}));
    assert_eq!(service["spec"]["type"], "NodePort");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_resource_leaves_nothing_behind() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    api.remove("EdgePool", "web");
    api.remove("StreamOrigin", "main");
    quiet(&api).await;
    let left: Vec<Value> = api.normal();
    assert_eq!(left, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn suspended_resources_keep_their_address_and_come_back() {
    let api = both();
    let _operator = Running::start(&api);
    quiet(&api).await;
    let right = api.normal();
    for (kind, name) in [MAIN, WEB] {
        api.edit(kind, name, |object| object["spec"]["suspend"] = json!(true));
    }
    quiet(&api).await;
    assert_eq!(
        (replicas(&api, "main-origin"), replicas(&api, "web-edge")),
        (Some(0), Some(0))
    );
    assert_eq!(api.get("PodDisruptionBudget", "web-edge"), None);
    for ((kind, name), object) in [MAIN, WEB].into_iter().zip(["main-origin", "web-edge"]) {
        let address = api.get("Service", object).unwrap()["spec"]["clusterIP"].clone();
        assert_eq!(api.get(kind, name).unwrap()["status"]["address"], address);
        assert_eq!(condition(&api, kind, name, "Ready").unwrap().1, "Suspended");
    }
    for (kind, name) in [MAIN, WEB] {
        api.edit(kind, name, |object| object["spec"]["suspend"] = json!(false));
    }
    quiet(&api).await;
    let mut resumed = api.normal();
    for object in &mut resumed {
        // Said with its default or not said is the same.
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("suspend");
        }
    }
    assert_eq!(resumed, right);
}

#[tokio::test(start_paused = true)]
async fn a_pool_waits_for_its_upstream_and_is_made_at_once_when_it_comes() {
    let api = FakeApi::new();
    api.put(web(json!({"replicas": 2})));
    let _operator = Running::start(&api);
    let message = reason(&api, WEB, "Ready", "UpstreamNotFound").await;
    assert!(
        message.contains("StreamOrigin main") && message.contains("make it"),
        "{message}"
    );
    quiet(&api).await;
    assert_eq!(api.get("Deployment", "web-edge"), None);
    api.put(origin(json!({"app": "sports"})));
    let put = tokio::time::Instant::now();
    until(&api, "two edges", || {
        replicas(&api, "web-edge").filter(|replicas| *replicas == 2)
    })
    .await;
    assert!(put.elapsed() <= Duration::from_secs(1), "{:?}", put.elapsed());
    let deployment = api.get("Deployment", "web-edge").unwrap().to_string();
    assert!(deployment.contains("--app=sports"), "{deployment}");
}

#[tokio::test(start_paused = true)]
async fn pools_in_a_circle_say_so_and_are_given_no_edges() {
    let api = FakeApi::new();
    api.put(pool("a", ("EdgePool", "b"), json!({})));
    api.put(pool("b", ("EdgePool", "a"), json!({})));
    let _operator = Running::start(&api);
    for name in ["a", "b"] {
        reason(&api, ("EdgePool", name), "Ready", "UpstreamCycle").await;
        let (status, _, message) = condition(&api, "EdgePool", name, "UpstreamCycle").unwrap();
        assert_eq!(status, "True");
        assert!(message.contains("must have a StreamOrigin"), "{message}");
    }
    quiet(&api).await;
    assert_eq!(api.all("Deployment"), Vec::<Value>::new());
}

/// An app that is not known for a moment was taken for `live`: every pod below was made anew, twice.
#[tokio::test(start_paused = true)]
async fn an_origin_that_is_made_anew_restarts_no_edge() {
    let api = FakeApi::new();
    api.put(origin(json!({"app": "sports"})));
    api.put(web(json!({})));
    api.put(pool("far", ("EdgePool", "web"), json!({})));
    let _operator = Running::start(&api);
    quiet(&api).await;
    let template = |name: &str| api.get("Deployment", name).unwrap()["spec"]["template"].clone();
    let before = (template("web-edge"), template("far-edge"));
    api.remove("StreamOrigin", "main");
    quiet(&api).await;
    assert_eq!((template("web-edge"), template("far-edge")), before);
    api.put(origin(json!({"app": "sports"})));
    quiet(&api).await;
    assert_eq!((template("web-edge"), template("far-edge")), before);
}
