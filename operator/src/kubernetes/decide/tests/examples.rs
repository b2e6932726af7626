//! The examples for a cluster: read without loss by the types that they are meant for, and at one with what is decided.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::names::{COMPONENT, Component, HEADWATER, NAME, NAMESPACE_NAME};
use super::*;
use crate::local::manifests::load;
use crate::validate::Scaling;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// The text with everything from `# ---` on taken out of its comments.
fn uncommented_tail(text: &str) -> (&str, String) {
    let (head, tail) = text.split_once("# ---\n").unwrap();
    let tail = tail
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)));
    (head, tail.collect())
}

/// The documents of a text by kind and name.
fn documents(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .collect()
}

/// The one document of a kind. Fails where the type does not know a field: a misspelt one would be ignored by it.
fn one<K: DeserializeOwned + Serialize>(documents: &[Value], kind: &str) -> K {
    let mut found = documents.iter().filter(|document| document["kind"] == kind);
    let document = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "two of {kind}");
    let read: K = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&read).unwrap(), document);
    read
}

fn operator_text() -> String {
    std::fs::read_to_string(example("operator.yaml")).unwrap()
}

#[test]
fn the_cluster_example_is_right_and_scales_from_two_to_five() {
    let manifests = load(&[example("cluster.yaml")]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(manifests.warnings, Vec::<String>::new());
    let ([main], [web]) = (manifests.origins.as_slice(), manifests.pools.as_slice()) else {
        panic!("{manifests:?}");
    };
    assert_eq!((main.key.name.as_str(), web.key.name.as_str()), ("main", "web"));
    let Scaling::Auto(scaling) = web.scaling else {
        panic!("{web:?}");
    };
    assert_eq!((scaling.min_replicas, scaling.max_replicas), (2, 5));
    let objects = edge_pool(web, &two_edges(), &around());
    assert!(objects.deployment.is_some() && objects.disruption_budget.is_some());
}

#[test]
fn the_commented_parts_of_the_cluster_example_are_right_too() {
    let text = std::fs::read_to_string(example("cluster.yaml")).unwrap();
    let (head, tail) = uncommented_tail(&text);
    let head: String = head
        .lines()
        .map(|line| {
            let said = ["publish:", "  keysSecret", "annotations:", "  service."];
            match line.trim_start().strip_prefix("# ") {
                Some(rest) if said.iter().any(|start| rest.starts_with(start)) => line.replacen("# ", "", 1) + "\n",
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let manifests = manifests(&format!("{head}---\n{tail}"));
    assert_eq!(manifests.publish_keys(&manifests.origins[0]).unwrap().len(), 1);
    assert_eq!(manifests.pools[0].service.annotations.len(), 4);
    assert_eq!(manifests.warnings, Vec::<String>::new());
}

#[test]
fn the_operators_example_is_what_the_api_server_takes_and_reaches_its_nodes() {
    let text = operator_text();
    let documents = documents(uncommented_tail(&text).0);
    assert_eq!(documents.len(), 7);
    let namespace: Namespace = one(&documents, "Namespace");
    let _: ServiceAccount = one(&documents, "ServiceAccount");
    let deployment: Deployment = one(&documents, "Deployment");
    let spec = deployment.spec.unwrap();
    let pod = spec.template.spec.unwrap();
    let args = pod.containers[0].args.clone().unwrap();
    assert_eq!(args[0], "operator");
    <crate::args::Args as clap::Parser>::try_parse_from(std::iter::once(HEADWATER.to_owned()).chain(args)).unwrap();
    assert_eq!(spec.replicas, Some(2));
    assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
    let container = pod.containers[0].security_context.as_ref().unwrap();
    assert_eq!(container.allow_privilege_escalation, Some(false));
    assert_eq!(
        container.capabilities.as_ref().unwrap().drop.as_deref(),
        Some(&["ALL".to_owned()][..])
    );

    // The media nodes' NetworkPolicy lets these pods in, by the labels that stand here.
    let around = Surroundings {
        operator_namespace: namespace.metadata.name.unwrap(),
        ..around()
    };
    assert_eq!(
        deployment.metadata.namespace.as_deref(),
        Some(around.operator_namespace.as_str())
    );
    let manifests = manifests(&origin_text("  app: live\n"));
    let objects = origin(&manifests.origins[0], &OriginFacts { owner: owner() }, &around);
    let rules = objects.network_policy.spec.unwrap().ingress.unwrap();
    let peer = &rules[1].from.as_ref().unwrap()[0];
    let wanted = peer.pod_selector.as_ref().unwrap().match_labels.as_ref().unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert_eq!(&labels, wanted);
    assert_eq!(labels[NAME], HEADWATER);
    assert_eq!(labels[COMPONENT], Component::Operator.as_str());
    let namespaces = peer.namespace_selector.as_ref().unwrap().match_labels.as_ref().unwrap();
    assert_eq!(namespaces[NAMESPACE_NAME], "headwater-system");
    // Its own pods must not be taken for a media node's.
    let metadata = ObjectMeta {
        namespace: Some("headwater-system".to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    assert_eq!(names::resource_of(&metadata), None);
}

/// A variable that the operator does not know would do nothing, and nobody would be told.
#[test]
fn every_variable_of_the_operators_example_is_one_that_the_operator_has() {
    let text = operator_text();
    let (head, tail) = uncommented_tail(&text);
    let deployment: Deployment = one(&documents(head), "Deployment");
    let container = deployment.spec.unwrap().template.spec.unwrap().containers.remove(0);
    let command = <crate::args::Args as clap::CommandFactory>::command();
    let operator = command.find_subcommand("operator").unwrap();
    let known = |name: &str| {
        operator
            .get_arguments()
            .any(|flag| flag.get_env().is_some_and(|env| env == name))
    };
    for variable in container.env.unwrap() {
        assert!(known(&variable.name), "{}", variable.name);
    }
    assert!(
        known("HEADWATER_NAMESPACE") && head.contains("HEADWATER_NAMESPACE=video") && tail.contains("namespace: video")
    );
    let ops = operator
        .get_arguments()
        .find(|flag| flag.get_id() == "ops_listen")
        .unwrap();
    let port = container.ports.unwrap()[0].container_port;
    assert_eq!(ops.get_default_values()[0], format!("[::]:{port}").as_str());
    for (probe, path) in [
        (container.readiness_probe, "/readyz"),
        (container.liveness_probe, "/livez"),
    ] {
        assert_eq!(probe.unwrap().http_get.unwrap().path.as_deref(), Some(path));
    }
}

/// Least privilege: each word that is missing here is one that nobody needs.
#[test]
fn the_operator_may_do_what_it_needs_and_no_more() {
    let text = operator_text();
    let documents = documents(uncommented_tail(&text).0);
    let role: ClusterRole = one(&documents, "ClusterRole");
    let rules = role.rules.unwrap();
    let verbs = |group: &str, resource: &str| {
        let of = |list: &Option<Vec<String>>, word: &str| list.iter().flatten().any(|given| given == word);
        let rule = rules
            .iter()
            .find(|rule| of(&rule.api_groups, group) && of(&rule.resources, resource));
        rule.map(|rule| rule.verbs.join(" ")).unwrap_or_default()
    };
    for (group, resource, expected) in [
        ("headwater.dev", "streamorigins", "list watch"),
        ("headwater.dev", "edgepools", "list watch"),
        ("headwater.dev", "streamorigins/status", "patch"),
        ("headwater.dev", "edgepools/status", "patch"),
        ("headwater.dev", "edgepools/finalizers", "update"),
        ("apps", "deployments", "get list watch create patch"),
        ("", "services", "get list watch create patch"),
        ("policy", "poddisruptionbudgets", "get list watch create patch delete"),
        ("networking.k8s.io", "networkpolicies", "get list watch create patch"),
        ("", "secrets", "get list watch create patch"),
        ("", "pods", "list watch patch"),
        ("events.k8s.io", "events", "create patch"),
        ("coordination.k8s.io", "leases", ""),
        ("", "nodes", ""),
    ] {
        assert_eq!(verbs(group, resource), expected, "{group}/{resource}");
    }
    let words = rules.iter().flat_map(|rule| {
        let lists = [&rule.api_groups, &rule.resources];
        let words = lists.into_iter().flatten().flatten().chain(&rule.verbs);
        words.cloned().collect::<Vec<_>>()
    });
    assert!(words.into_iter().all(|word| word != "*"));
    let leases: Role = one(&documents, "Role");
    assert_eq!(leases.metadata.namespace.as_deref(), Some("headwater-system"));
    assert_eq!(
        leases.rules.unwrap()[0].resources.as_deref(),
        Some(&["leases".to_owned()][..])
    );
    let everywhere: ClusterRoleBinding = one(&documents, "ClusterRoleBinding");
    let here: RoleBinding = one(&documents, "RoleBinding");
    let account = |subjects: Option<Vec<k8s_openapi::api::rbac::v1::Subject>>| subjects.unwrap()[0].clone();
    assert_eq!(account(everywhere.subjects), account(here.subjects));
    let refers = |role: &RoleRef, kind: &str, name: &str| role.kind == kind && role.name == name;
    assert!(refers(&everywhere.role_ref, "ClusterRole", "headwater"));
    assert!(refers(&here.role_ref, "Role", "headwater-leader"));
}

#[test]
fn one_namespace_alone_is_bound_to_the_same_rules() {
    let text = operator_text();
    let (head, tail) = uncommented_tail(&text);
    let everywhere: ClusterRoleBinding = one(&documents(head), "ClusterRoleBinding");
    let here: RoleBinding = one(&documents(&tail), "RoleBinding");
    assert_eq!(here.metadata.namespace.as_deref(), Some("video"));
    assert_eq!(
        (here.role_ref, here.subjects),
        (everywhere.role_ref, everywhere.subjects)
    );
}
