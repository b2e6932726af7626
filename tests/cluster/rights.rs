//! The rights that `examples/operator.yaml` gives are enough for all that the operator does.

use e2e::harness::cluster::objects::documents;
use e2e::harness::cluster::{Case, Operator, Space};
use e2e::harness::root;
use serde_json::{Value, json};

use crate::stage::{LONG, MAIN, carried, publish_sample, serve, web};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![Nodes: the_example_s_rights_are_enough_for_one_namespace]
}

/// The rules of a role of the example.
fn rules(kind: &str, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("examples/operator.yaml")).unwrap();
    let objects = documents(&text).unwrap();
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap()["rules"].as_array().unwrap().clone()
}

async fn the_example_s_rights_are_enough_for_one_namespace(space: Space) {
    let mut all = rules("ClusterRole", "headwater");
    all.extend(rules("Role", "headwater-leader"));
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "headwater"}, "rules": all,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "headwater"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "headwater"},
        "subjects": [{"kind": "ServiceAccount", "name": "headwater", "namespace": space.name}],
    });
    for object in [role, binding] {
        space.apply_one(object).await.unwrap();
    }
    let kubeconfig = space
        .cluster
        .account_kubeconfig(&space.name, "headwater")
        .await
        .unwrap();
    let operator = Operator::start_as(&space.cluster, &kubeconfig, "restricted", &space.name, &[])
        .await
        .unwrap();
    space.apply(MAIN).await.unwrap();
    space.apply(&web("replicas: 2\ndrainTimeoutSeconds: 5")).await.unwrap();
    serve(&space, &operator, 2).await;
    let _publication = publish_sample(&space, "a").await;
    carried(&operator, "a").await;
    space.scale("EdgePool", "web", 1).await.unwrap();
    serve(&space, &operator, 1).await;
    space
        .patch("EdgePool", "web", json!({"spec": {"suspend": true}}))
        .await
        .unwrap();
    space.gone("PodDisruptionBudget", "web-edge", LONG).await.unwrap();
    space
        .wait_all("Event", "", LONG, "what happened is told", |events| {
            let told = |reason: &str| events.iter().any(|event| event["reason"] == reason);
            (told("ScaledIn") && told("EdgeDrained")).then_some(())
        })
        .await
        .unwrap();
    let log = operator.child.process.log();
    operator.stop().await.unwrap();
    for word in ["forbidden", "Forbidden", "lacks a right"] {
        assert!(!log.contains(word), "{log}");
    }
}
