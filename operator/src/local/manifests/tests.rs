//! Manifests as a person writes them, right and wrong, with the exact words of each refusal.

use super::*;
use crate::validate::Scaling;

const ORIGIN: &str = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {name: main}\nspec: {}\n";

fn file(text: &str) -> Vec<ManifestFile> {
    vec![ManifestFile {
        name: "m.yaml".to_owned(),
        text: text.to_owned(),
    }]
}

fn errors(text: &str) -> Vec<String> {
    match read(&file(text)) {
        Ok(manifests) => panic!("accepted: {manifests:?}"),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

fn pool(name: &str, spec: &str) -> String {
    format!("---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata:\n  name: {name}\nspec:\n{spec}")
}

const UPSTREAM: &str = "  upstream: {kind: StreamOrigin, name: main}\n";

#[test]
fn the_example_is_right_and_scales_on_a_laptop() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/local.yaml");
    let manifests = load(&[path]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(manifests.origins[0].key, ResourceKey::new("default", "main"));
    let web = &manifests.pools[0];
    assert_eq!((web.key.name.as_str(), web.upstream.key.name.as_str()), ("web", "main"));
    let Scaling::Auto(scaling) = web.scaling else {
        panic!("{web:?}")
    };
    assert_eq!((scaling.min_replicas, scaling.max_replicas), (2, 5));
    assert!(scaling.capacity_bps <= 50_000_000);
    assert_eq!(manifests.warnings, Vec::<String>::new());
}

#[test]
fn the_commented_parts_of_the_example_are_right_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/local.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, tail) = text.split_once("# ---\n").unwrap();
    let tail: String = tail
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let head = head
        .replace("  # publish:", "  publish:")
        .replace("  #   keysSecret", "    keysSecret");
    let manifests = read(&file(&format!("{head}---\n{tail}"))).unwrap();
    let keys = manifests.publish_keys(&manifests.origins[0]).unwrap();
    assert_eq!(keys["mine"].expose(), "choose-a-key");
    assert_eq!(manifests.warnings, Vec::<String>::new());
}

#[test]
fn each_bad_pool_is_refused_with_its_line_and_words() {
    for (spec, expected) in [
        (
            "  autoscaling:\n    maxReplica: 5\n",
            "m.yaml:13 (document 2): unknown field `maxReplica` in spec.autoscaling of EdgePool default/web; did you mean `maxReplicas`?",
        ),
        (
            "  autoscaling: {minReplicas: 2, maxReplicas: 1}\n",
            "m.yaml:12 (document 2): EdgePool default/web: spec.autoscaling.maxReplicas: 1 is below minReplicas (2); it must be at least minReplicas",
        ),
        (
            "  replicas: two\n",
            "m.yaml:12 (document 2): EdgePool default/web: spec.replicas: is a string; it must be an integer",
        ),
        (
            "  replicas: 2.5\n",
            "m.yaml:12 (document 2): EdgePool default/web: spec.replicas: is a fraction; it must be an integer",
        ),
        (
            "  replicas: 99999999999999\n",
            "m.yaml:12 (document 2): EdgePool default/web: spec.replicas: 99999999999999 is out of range; allowed are 1 to 1000",
        ),
        (
            "  suspend: 1\n",
            "m.yaml:12 (document 2): EdgePool default/web: spec.suspend: is an integer; it must be true or false",
        ),
        (
            "  replication: Eager\n",
            "m.yaml:12 (document 2): EdgePool default/web: spec.replication: is a string; it must be an object",
        ),
        (
            "  replication:\n    mode: eager\n",
            "m.yaml:13 (document 2): EdgePool default/web: spec.replication.mode: `eager` is not allowed; allowed are Eager, OnDemand",
        ),
        (
            "  replication:\n    streams: cam1\n",
            "m.yaml:13 (document 2): EdgePool default/web: spec.replication.streams: is a string; it must be a list",
        ),
        (
            "  service:\n    annotations:\n      example.com/x: true\n",
            "m.yaml:14 (document 2): EdgePool default/web: spec.service.annotations[\"example.com/x\"]: is a boolean; it must be a string (put it in quotes)",
        ),
        (
            "  autoscaling:\n    capacityMbps:\n    wild: 1\n",
            "m.yaml:14 (document 2): unknown field `wild` in spec.autoscaling of EdgePool default/web; known are capacityMbps, fallbackReplicas, maxReplicas, minReplicas, scaleInPercent, scaleInStabilizationSeconds, scaleOutPercent, scaleOutStabilizationSeconds",
        ),
        (
            "  template: {tolerations: [{key: a, efect: NoExecute}]}\n",
            "m.yaml:12 (document 2): unknown field `efect` in spec.template.tolerations[0] of EdgePool default/web; did you mean `effect`?",
        ),
    ] {
        let text = format!("{ORIGIN}{}", pool("web", &format!("{UPSTREAM}{spec}")));
        assert_eq!(errors(&text), [expected], "{spec}");
    }
}

#[test]
fn each_document_that_is_no_resource_is_refused() {
    for (text, expected) in [
        (
            "kind: EdgePol\n",
            "m.yaml:1 (document 1): kind: `EdgePol` is not known; did you mean `EdgePool`?",
        ),
        (
            "kind: ConfigMap\n",
            "m.yaml:1 (document 1): kind: `ConfigMap` is not known; allowed are StreamOrigin, EdgePool, Secret",
        ),
        (
            "metadata: {}\n",
            "m.yaml:1 (document 1): kind: is missing; allowed are StreamOrigin, EdgePool, Secret",
        ),
        (
            "just words\n",
            "m.yaml:1 (document 1): the document: is a string; it must be an object with apiVersion, kind, metadata and spec",
        ),
        (
            "kind: StreamOrigin\napiVersion: headwater.dev/v1\nmetadata: {name: a}\n",
            "m.yaml:2 (document 1): StreamOrigin default/a: apiVersion: `headwater.dev/v1` is not known for StreamOrigin; allowed is headwater.dev/v1alpha1",
        ),
        (
            "kind: StreamOrigin\napiVersion: headwater.dev/v1alpha1\nmetadata: {}\n",
            "m.yaml:3 (document 1): StreamOrigin: metadata.name: is missing; it has no default",
        ),
        (
            "kind: StreamOrigin\napiVersion: headwater.dev/v1alpha1\nmetadata: {name: a, nmespace: b}\n",
            "m.yaml:3 (document 1): unknown field `nmespace` in metadata of StreamOrigin default/a; did you mean `namespace`?",
        ),
        (
            "kind: StreamOrigin\napiVersion: headwater.dev/v1alpha1\nmetadata: {name: a}\nspecs: {}\n",
            "m.yaml:4 (document 1): unknown field `specs` of StreamOrigin default/a; did you mean `spec`?",
        ),
        (
            "kind: StreamOrigin\napiVersion: headwater.dev/v1alpha1\nmetadata: {name: A_b}\n",
            "m.yaml:3 (document 1): StreamOrigin default/A_b: metadata.name: `A_b` is not a resource name; allowed are 1 to 40 of a-z 0-9 -, the first of them a letter, the last a letter or digit",
        ),
        (
            "kind: EdgePool\napiVersion: headwater.dev/v1alpha1\nmetadata: {name: a}\n",
            "m.yaml:1 (document 1): EdgePool default/a: spec.upstream: is missing; it has no default",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn text_that_is_not_yaml_is_refused_with_its_line_and_nothing_of_it_is_shown() {
    let text = format!("{ORIGIN}---\nkind: Secret\nstringData:\n  a: [s3cret\n  b: s3cret\n");
    let found = errors(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("(document 2): is not YAML: "), "{found:?}");
    assert!(!found[0].contains("s3cret"), "{found:?}");
    let twice = errors("kind: StreamOrigin\nkind: EdgePool\n");
    assert!(
        twice[0].starts_with("m.yaml:2 (document 1): is not YAML: "),
        "{twice:?}"
    );
}

#[test]
fn errors_of_all_documents_are_told_in_the_order_of_lines() {
    let text = format!(
        "{ORIGIN}{}{}",
        pool(
            "web",
            "  upstream: {kind: StreamOrigin, name: mian}\n  replicas: 0\n  drainTimeoutSeconds: x\n"
        ),
        pool("b", "  upstream: {kind: EdgePool, name: webb}\n  oops: 1\n"),
    );
    let found = errors(&text);
    assert_eq!(
        found,
        [
            "m.yaml:11 (document 2): EdgePool default/web: spec.upstream.name: there is no StreamOrigin default/mian in the manifests; did you mean `main`?",
            "m.yaml:12 (document 2): EdgePool default/web: spec.replicas: 0 is out of range; allowed are 1 to 1000",
            "m.yaml:13 (document 2): EdgePool default/web: spec.drainTimeoutSeconds: is a string; it must be an integer",
            "m.yaml:20 (document 3): EdgePool default/b: spec.upstream.name: there is no EdgePool default/webb in the manifests; did you mean `web`?",
            "m.yaml:21 (document 3): unknown field `oops` in spec of EdgePool default/b; known are autoscaling, drainTimeoutSeconds, replicas, replication, service, suspend, template, tls, upstream",
        ]
    );
}

#[test]
fn an_upstream_that_is_broken_itself_is_not_called_missing() {
    let text = format!(
        "{}{}",
        ORIGIN.replace("spec: {}", "spec: {app: api}"),
        pool("web", UPSTREAM)
    );
    assert_eq!(errors(&text).len(), 1);
}

#[test]
fn a_missing_upstream_says_what_there_is() {
    let alone = errors(&pool("web", UPSTREAM));
    assert_eq!(
        alone,
        [
            "m.yaml:7 (document 1): EdgePool default/web: spec.upstream.name: there is no StreamOrigin default/main in the manifests; add a StreamOrigin of this name in namespace default"
        ]
    );
}

#[test]
fn a_resource_that_is_there_twice_is_refused_with_the_first_place() {
    let found = errors(&format!("{ORIGIN}---\n{ORIGIN}"));
    assert_eq!(
        found,
        ["m.yaml:8 (document 2): StreamOrigin default/main: is there twice; it stands first in m.yaml:3 (document 1)"]
    );
}

#[test]
fn pools_that_feed_each_other_are_refused_once() {
    let of = |name: &str, above: &str| pool(name, &format!("  upstream: {{kind: EdgePool, name: {above}}}\n"));
    let found = errors(&format!(
        "{}{}{}{}",
        of("a", "b"),
        of("b", "c"),
        of("c", "a"),
        of("below", "a")
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("EdgePool default/a: spec.upstream.name: the pools default/a <- default/b <- default/c <- default/a feed each other"));
    let itself = errors(&of("a", "a"));
    assert!(
        itself[0].contains("default/a <- default/a feed each other"),
        "{itself:?}"
    );
    let chain = format!("{ORIGIN}{}{}", pool("a", UPSTREAM), of("b", "a"));
    assert_eq!(read(&file(&chain)).unwrap().pools.len(), 2);
}

#[test]
fn a_missing_keys_secret_refuses_publishers_and_is_told() {
    let text = ORIGIN.replace("spec: {}", "spec: {publish: {keysSecret: keys}}");
    let manifests = read(&file(&text)).unwrap();
    assert_eq!(manifests.publish_keys(&manifests.origins[0]), Some(BTreeMap::new()));
    assert_eq!(
        manifests.warnings,
        [
            "StreamOrigin default/main: spec.publish.keysSecret: there is no Secret default/keys with keys in the manifests, so every publisher is refused"
        ]
    );
    let open = read(&file(ORIGIN)).unwrap();
    assert_eq!(open.publish_keys(&open.origins[0]), None);
}

#[test]
fn secrets_are_read_from_both_fields_and_never_shown() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\ntype: Opaque\ndata: {a: czNjcmV0, b: b2xk}\nstringData: {b: s3cret2, '*': s3cret3}\n";
    let text = format!(
        "{}{secret}",
        ORIGIN.replace("spec: {}", "spec: {publish: {keysSecret: keys}}")
    );
    let manifests = read(&file(&text)).unwrap();
    let keys = manifests.publish_keys(&manifests.origins[0]).unwrap();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, key)| (name.as_str(), key.expose())).collect();
    assert_eq!(keys, [("*", "s3cret3"), ("a", "s3cret"), ("b", "s3cret2")]);
    assert!(!format!("{manifests:?}").contains("s3cret"));
    assert_eq!(manifests.warnings, Vec::<String>::new());
}

#[test]
fn a_certificate_is_taken_from_its_secret_and_a_missing_one_is_told() {
    let web = pool("web", &format!("{UPSTREAM}  tls: {{secretName: web-tls}}\n"));
    let secret = |entries: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: web-tls}}\ntype: kubernetes.io/tls\nstringData: {{{entries}}}\n"
        )
    };
    let whole = read(&file(&format!(
        "{ORIGIN}{web}{}",
        secret("tls.crt: chain, tls.key: hunter2")
    )))
    .unwrap();
    assert_eq!(whole.warnings, Vec::<String>::new());
    let named = whole.pools[0].tls_secret.as_ref().unwrap();
    let certificate = whole.certificate("default", named).unwrap();
    assert_eq!(
        (certificate.chain.as_str(), certificate.key.as_str()),
        ("chain", "hunter2")
    );
    assert!(!format!("{whole:?}").contains("hunter2"));
    for rest in [String::new(), secret("tls.crt: chain")] {
        let lacking = read(&file(&format!("{ORIGIN}{web}{rest}"))).unwrap();
        assert_eq!(
            lacking.warnings,
            [
                "EdgePool default/web: spec.tls.secretName: there is no Secret default/web-tls with tls.crt and tls.key in the manifests, so viewers \
              come by plain HTTP alone"
            ]
        );
    }
    let unknown = ORIGIN.replace("spec: {}", "spec: {tls: {secretNam: a}}");
    let errors = errors(&unknown);
    assert!(
        errors
            .iter()
            .any(|error| error.contains("secretNam") && error.contains("secretName")),
        "{errors:?}"
    );
}

#[test]
fn each_bad_secret_is_refused_without_its_value() {
    for (fields, expected) in [
        (
            "data: {a: 's3cret!'}",
            "m.yaml:4 (document 1): Secret default/keys: data.a: is not base64; plain text goes into stringData",
        ),
        (
            "data: {a: gICA}",
            "m.yaml:4 (document 1): Secret default/keys: data.a: is not text once decoded; a key must be UTF-8",
        ),
        (
            "stringData: {a: ''}",
            "m.yaml:4 (document 1): Secret default/keys: stringData.a: is empty; a key must have at least one character",
        ),
        (
            "stringData: {a: 12345}",
            "m.yaml:4 (document 1): Secret default/keys: stringData.a: is an integer; it must be a string (put it in quotes)",
        ),
        (
            "stringdata: {a: s3cret}",
            "m.yaml:4 (document 1): unknown field `stringdata` of Secret default/keys; did you mean `stringData`?",
        ),
        (
            "stringData: s3cret",
            "m.yaml:4 (document 1): Secret default/keys: stringData: is a string; it must be an object",
        ),
    ] {
        let found = errors(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\n{fields}\n"
        ));
        assert_eq!(found, [expected], "{fields}");
    }
}

#[test]
fn keys_that_nobody_can_use_are_told() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {'.a': x, b: \"y\\n\"}\n";
    let text = format!(
        "{}{secret}",
        ORIGIN.replace("spec: {}", "spec: {publish: {keysSecret: keys}}")
    );
    let warnings = read(&file(&text)).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("`.a` in Secret keys is neither a stream name nor *"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("the key of `b` in Secret keys begins or ends with blanks or a line break"),
        "{warnings:?}"
    );
}

/// A node refuses rules with one such key as a whole, and its origin then lets nobody publish at all.
#[test]
fn keys_that_nobody_can_use_do_not_reach_the_node() {
    let long = "k".repeat(PublishKey::LONGEST + 1);
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData: {{'.a': x, long: {long}, cam1: s3cret, '*': any}}\n"
    );
    let text = ORIGIN.replace("spec: {}", "spec: {publish: {keysSecret: keys}}");
    let manifests = read(&file(&format!("{text}{secret}"))).unwrap();
    let keys = manifests.publish_keys(&manifests.origins[0]).unwrap();
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["*", "cam1"]);
    assert!(
        manifests
            .warnings
            .iter()
            .any(|warning| warning.contains("`long`") && warning.contains("longer than")),
        "{:?}",
        manifests.warnings
    );
}

#[test]
fn replicas_beside_autoscaling_are_told_to_be_ignored() {
    let text = format!(
        "{ORIGIN}{}",
        pool("web", &format!("{UPSTREAM}  replicas: 3\n  autoscaling: {{}}\n"))
    );
    let warnings = read(&file(&text)).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "m.yaml:12 (document 2): EdgePool default/web: spec.replicas: is ignored, since autoscaling is set; take one of them out"
        ]
    );
}

#[test]
fn annotations_pause_a_pool_by_true_and_by_no_other_word() {
    let paused = |annotations: &str| {
        let named = format!("  name: web\n  annotations: {{{annotations}}}\n");
        let pool = pool("web", UPSTREAM).replace("  name: web\n", &named);
        read(&file(&format!("{ORIGIN}{pool}")))
    };
    let pause = |annotations: &str| {
        let pause = paused(annotations).unwrap().pools[0].pause;
        (pause.all, pause.scale_in, pause.scale_out)
    };
    assert_eq!(pause("other: x"), (false, false, false));
    assert_eq!(pause("headwater.dev/paused: 'true'"), (true, false, false));
    assert_eq!(
        pause("headwater.dev/paused-scale-in: 'true', headwater.dev/paused-scale-out: 'false'"),
        (false, true, false)
    );
    let refused = paused("headwater.dev/paused-scale-out: 'yes'").unwrap_err().to_string();
    assert!(
        refused.contains("headwater.dev/paused-scale-out") && refused.contains("\"true\""),
        "{refused}"
    );
}

#[test]
fn what_kubectl_prints_is_read_too() {
    let text = "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata:\n  name: main\n  uid: x\n  generation: 3\n  creationTimestamp: 2026-01-01T00:00:00Z\nspec:\n  template:\n  service: {loadBalancerClass: null}\nstatus: {streamCount: 1}\n";
    assert_eq!(read(&file(text)).unwrap().origins.len(), 1);
}

#[test]
fn comments_and_empty_documents_are_no_documents() {
    let text = format!("# head\n---\n# nothing\n--- # more\n{ORIGIN}---\n");
    assert_eq!(read(&file(&text)).unwrap().origins.len(), 1);
    assert_eq!(read(&file("# nothing\n")).unwrap(), Manifests::default());
}

#[test]
fn namespaces_keep_resources_apart() {
    let far = ORIGIN.replace("{name: main}", "{name: main, namespace: far}");
    assert_eq!(read(&file(&format!("{ORIGIN}---\n{far}"))).unwrap().origins.len(), 2);
    let found = errors(&format!("{far}{}", pool("web", UPSTREAM)));
    assert!(found[0].contains("there is no StreamOrigin default/main"), "{found:?}");
}

#[test]
fn a_changed_kind_of_upstream_may_not_follow() {
    let old = read(&file(&format!(
        "{ORIGIN}{}{}",
        pool("a", UPSTREAM),
        pool("web", UPSTREAM)
    )))
    .unwrap();
    let cascade = pool("web", "  upstream: {kind: EdgePool, name: a}\n");
    let new = read(&file(&format!("{ORIGIN}{}{cascade}", pool("a", UPSTREAM)))).unwrap();
    assert_eq!(old.may_follow(&old), Ok(()));
    let refused = new.may_follow(&old).unwrap_err().to_string();
    assert!(
        refused.starts_with("EdgePool default/web: spec.upstream.kind: can't be changed"),
        "{refused}"
    );
}

#[test]
fn folders_are_read_in_order_and_files_that_can_not_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.yaml"), pool("web", UPSTREAM)).unwrap();
    std::fs::write(folder.path().join("a.yml"), ORIGIN).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a manifest").unwrap();
    let manifests = load(&[folder.path().to_owned()]).unwrap();
    assert_eq!((manifests.origins.len(), manifests.pools.len()), (1, 1));
    let missing = load(&[folder.path().join("none.yaml")]).unwrap_err().to_string();
    assert!(missing.contains("none.yaml: failed to read it"), "{missing}");
    let empty = tempfile::tempdir().unwrap();
    assert!(
        load(&[empty.path().to_owned()])
            .unwrap_err()
            .to_string()
            .contains("is a folder without")
    );
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let above = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{above}]\n"));
    }
    assert!(errors(&text)[0].contains("is not YAML"));
}
