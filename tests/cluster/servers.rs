//! The servers of a test cluster: outages, the audit log, accounts, faults on order, garbage collection.

use e2e::harness::cluster::{ApiProxy, Case, Cluster, Fault, Mark, Objects, Space, User, servers};
use e2e::harness::wait_until;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::{LONG, hello, name, nodes, one_pod};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![
        Nodes:
            pods_run_on_while_the_api_server_is_away,
            writes_are_told_by_user,
            an_account_may_do_what_its_role_says,
            a_proxy_has_faults_on_order,
            a_service_may_be_dual_stack;
        ControllerManager:
            what_belongs_to_a_deleted_object_goes_with_it
    ]
}

async fn pods_run_on_while_the_api_server_is_away(_: Space) {
    let cluster = Cluster::start_own().await.unwrap();
    let space = Space::make(&cluster).await.unwrap();
    let pod = one_pod(&space).await;
    let address = pod["status"]["podIP"].as_str().unwrap();
    cluster.stop_api_server().await.unwrap();
    assert!(space.get("Pod", &name(&pod)).await.is_err());
    assert!(hello(address, "first").await.status.is_success());
    cluster.start_api_server().await.unwrap();
    let again = space.get("Pod", &name(&pod)).await.unwrap();
    assert_eq!(again["metadata"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(again["status"]["containerStatuses"][0]["restartCount"], 0);
    // Watches are at work again.
    space.delete("Deployment", "n").await.unwrap();
    space.gone("Pod", &name(&pod), LONG).await.unwrap();
}

async fn writes_are_told_by_user(space: Space) {
    let audit = space.cluster.audit().unwrap();
    let (mark, pod) = (audit.mark(), name(&one_pod(&space).await));
    let writes = audit.of(User::Nodes.name(), mark).unwrap();
    let own = |subresource: &str| {
        let of_pod = writes
            .iter()
            .filter(|write| write.namespace == space.name && write.name == pod);
        of_pod
            .filter(|write| write.subresource == subresource && write.code < 300)
            .count()
    };
    assert_eq!(own("binding"), 1);
    assert!(
        (1..=4).contains(&own("status")),
        "{} writes of one pod's status",
        own("status")
    );
    assert!(
        audit
            .of(User::Operator.name(), Mark::default())
            .unwrap()
            .iter()
            .all(|w| w.namespace != space.name)
    );
}

async fn an_account_may_do_what_its_role_says(space: Space) {
    let kubeconfig = space.cluster.account_kubeconfig(&space.name, "reader").await.unwrap();
    let client = servers::client(&kubeconfig).await.unwrap();
    let own = Objects::new(client, &space.name);
    let error = own.list("EdgePool", "").await.unwrap_err().to_string();
    assert!(error.contains("cannot list resource \"edgepools\""), "{error}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["headwater.dev"], "resources": ["edgepools"], "verbs": ["list"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": space.name}],
    });
    space.apply_one(role).await.unwrap();
    space.apply_one(binding).await.unwrap();
    wait_until(LONG, "the role is in force", || async {
        own.list("EdgePool", "").await.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    let error = own.delete("EdgePool", "x").await.unwrap_err().to_string();
    assert!(error.contains("cannot delete resource"), "{error}");
}

/// A ConfigMap to write.
fn note(number: u32) -> Value {
    let data = json!({"number": number.to_string()});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": data})
}

async fn a_proxy_has_faults_on_order(space: Space) {
    let proxy = ApiProxy::start(&space.cluster, User::Operator).await.unwrap();
    let client = servers::client(&proxy.kubeconfig).await.unwrap();
    let own = Objects::new(client.clone(), &space.name);
    let stored = || async { space.get("ConfigMap", "note").await.unwrap()["data"]["number"].clone() };
    let mark = space.cluster.audit().unwrap().mark();
    own.apply_one(note(1)).await.unwrap();
    let writes = space.cluster.audit().unwrap().of(User::Operator.name(), mark).unwrap();
    assert_eq!(writes.len(), 1, "{writes:?}");

    // The second write from here on conflicts, the third breaks, the fourth is done without its answer.
    proxy.set(|call| match (call.is_write(), call.writes) {
        (true, 1) => Fault::Refuse(409, "Conflict"),
        (true, 2) => Fault::Cut,
        (true, 3) => Fault::CutAnswer,
        _ => Fault::Pass,
    });
    own.apply_one(note(2)).await.unwrap();
    let refused = own.apply_one(note(3)).await.unwrap_err().to_string();
    assert!(refused.contains("Conflict"), "{refused}");
    assert!(own.apply_one(note(4)).await.is_err());
    assert_eq!(stored().await, "2");
    assert!(own.apply_one(note(5)).await.is_err());
    assert_eq!(stored().await, "5");
    assert_eq!(proxy.writes().len(), 4);
    proxy.heal();
    let healed = own.apply_one(note(6)).await.unwrap();

    // Watches pass through as they come, and end on order.
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client, &space.name);
    let (params, from) = (
        kube::api::WatchParams::default(),
        healed["metadata"]["resourceVersion"].as_str().unwrap(),
    );
    let watched = maps.watch(&params.fields("metadata.name=note"), from).await.unwrap();
    let mut watched = std::pin::pin!(watched.map(Result::unwrap));
    for number in [7, 8] {
        space.apply_one(note(number)).await.unwrap();
        let event = tokio::time::timeout(LONG, watched.next()).await.unwrap();
        assert!(matches!(event, Some(kube::api::WatchEvent::Modified(_))), "{event:?}");
    }
    proxy.end_watches();
    assert!(tokio::time::timeout(LONG, watched.next()).await.unwrap().is_none());
}

async fn a_service_may_be_dual_stack(space: Space) {
    space.apply(&nodes("n", 0, &[])).await.unwrap();
    let service = space.get("Service", "n").await.unwrap();
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(service["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
}

async fn what_belongs_to_a_deleted_object_goes_with_it(space: Space) {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let owner = space.apply_one(owner).await.unwrap();
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    let meta = json!({"name": "owned", "ownerReferences": [reference]});
    let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
    space.apply_one(owned).await.unwrap();
    space.delete("ConfigMap", "owner").await.unwrap();
    space.gone("ConfigMap", "owned", LONG).await.unwrap();
}
