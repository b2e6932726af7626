//! The machine with shell scripts for media nodes.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fake_node::until;
use crate::local::manifests::{self, ManifestFile};
use crate::platform::{origin_id, pool_id};

struct Bench {
    machine: Machine,
    // Holds the program.
    _folder: tempfile::TempDir,
}

fn bench(attached: Vec<Attached>) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("media-node");
    std::fs::write(&program, "#!/bin/sh\nread line\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let machine = Machine::new(Settings {
        program,
        token: ControlToken::new("t"),
        token_file: "/dev/null".into(),
        secrets: folder.path().to_owned(),
        attached,
        reserved: Vec::new(),
    });
    Bench {
        machine,
        _folder: folder,
    }
}

fn wishes(origin: &str, pools: &[&str]) -> Wishes {
    let mut text = format!(
        "apiVersion: headwater.dev/v1alpha1\nkind: StreamOrigin\nmetadata: {{name: main}}\nspec: {{{origin}}}\n"
    );
    for pool in pools {
        text.push_str(&format!(
            "---\napiVersion: headwater.dev/v1alpha1\nkind: EdgePool\nmetadata: {{name: {pool}}}\nspec: {{upstream: {{kind: StreamOrigin, name: main}}}}\n"
        ));
    }
    let file = ManifestFile {
        name: "test".into(),
        text,
    };
    let read = manifests::read(&[file]).unwrap();
    let wish = |spec: &crate::validate::ValidOrigin| OriginWish {
        spec: spec.clone(),
        keys: None,
    };
    Wishes {
        origins: read
            .origins
            .iter()
            .map(|spec| (origin_id(&spec.key), wish(spec)))
            .collect(),
        pools: read
            .pools
            .iter()
            .map(|spec| (pool_id(&spec.key), spec.clone()))
            .collect(),
        ..Wishes::default()
    }
}

fn pids(machine: &Machine) -> Vec<u32> {
    let state = |owned: &Owned| match owned.process.state() {
        State::Up { pid, .. } => Some(pid),
        _ => None,
    };
    machine.nodes.values().filter_map(state).collect()
}

fn lives(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn an_origin_keeps_its_address_and_edges_get_it_as_their_upstream() {
    let mut bench = bench(Vec::new());
    let wishes = wishes("", &["web"]);
    let (origin, web) = (
        ResourceId::origin("default", "main"),
        ResourceId::pool("default", "web"),
    );
    bench.machine.keep(&wishes).await.unwrap();
    bench.machine.add(&web, 2).await.unwrap();
    assert_eq!((bench.machine.replicas(&web), bench.machine.nodes().len()), (2, 3));
    let rtmp = bench.machine.addresses(&origin).rtmp;
    assert!(
        bench
            .machine
            .nodes_of(&web)
            .all(|(_, owned)| owned.spec.upstreams == [format!("rtmp://{rtmp}/live")])
    );
    until(|| (pids(&bench.machine).len() == 3).then_some(())).await;
    let pids = pids(&bench.machine);
    assert_eq!(bench.machine.addresses(&origin).rtmp, rtmp);
    let removed = bench.machine.nodes_of(&web).next().unwrap().0.clone();
    bench.machine.remove(&removed).await.unwrap();
    assert_eq!(bench.machine.replicas(&web), 1);
    bench.machine.end().await;
    assert!(pids.iter().all(|pid| !lives(*pid)), "a node outlived the machine");
}

#[tokio::test]
async fn what_is_wished_no_more_ends_and_a_suspended_origin_keeps_its_address() {
    let mut bench = bench(Vec::new());
    let origin = ResourceId::origin("default", "main");
    bench.machine.keep(&wishes("", &["web", "two"])).await.unwrap();
    bench.machine.add(&ResourceId::pool("default", "two"), 1).await.unwrap();
    let rtmp = bench.machine.addresses(&origin).rtmp;
    let pools: Vec<_> = bench
        .machine
        .pools
        .values()
        .flat_map(|pool| [pool.http, pool.rtmp])
        .collect();
    assert_eq!(
        pools.iter().collect::<std::collections::BTreeSet<_>>().len(),
        4,
        "{pools:?}"
    );
    let suspended = wishes("suspend: true", &["web"]);
    bench.machine.keep(&suspended).await.unwrap();
    assert!(bench.machine.nodes().is_empty());
    assert_eq!(bench.machine.addresses(&origin).rtmp, rtmp);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while bench.machine.pools.len() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "the pool's load balancer stays");
        tokio::task::yield_now().await;
        bench.machine.keep(&suspended).await.unwrap();
    }
    bench.machine.end().await;
}

/// Without an address its pools could make no edges, and failed each second to.
#[tokio::test]
async fn an_origin_that_is_suspended_from_the_start_has_an_address() {
    let mut bench = bench(Vec::new());
    let web = ResourceId::pool("default", "web");
    bench.machine.keep(&wishes("suspend: true", &["web"])).await.unwrap();
    assert!(bench.machine.nodes().is_empty());
    let rtmp = bench.machine.addresses(&ResourceId::origin("default", "main")).rtmp;
    assert!(!rtmp.is_empty());
    bench.machine.add(&web, 1).await.unwrap();
    bench.machine.end().await;
}

#[tokio::test]
async fn another_app_starts_the_nodes_anew() {
    let mut bench = bench(Vec::new());
    let web = ResourceId::pool("default", "web");
    bench.machine.keep(&wishes("", &["web"])).await.unwrap();
    bench.machine.add(&web, 1).await.unwrap();
    let other = wishes("app: other", &["web"]);
    until(|| (pids(&bench.machine).len() == 2).then_some(())).await;
    bench.machine.keep(&other).await.unwrap();
    assert_eq!(bench.machine.replicas(&web), 0, "the scaling rule makes new ones");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while bench.machine.nodes.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the origin does not come back");
        tokio::task::yield_now().await;
        bench.machine.keep(&other).await.unwrap();
    }
    assert!(bench.machine.nodes.values().all(|owned| owned.spec.app == "other"));
    bench.machine.end().await;
}

#[tokio::test]
async fn attached_nodes_are_named_routed_and_neither_started_nor_scaled_nor_ended() {
    let web = ResourceId::pool("default", "web");
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let attached = Attached {
        id: web.node("web-attached-1"),
        reach: Reach {
            addresses: Addresses::default(),
            ops: address,
            token: ControlToken::new("other"),
        },
        http: address,
        rtmp: address,
    };
    let mut bench = bench(vec![attached.clone()]);
    bench.machine.keep(&wishes("suspend: true", &["web"])).await.unwrap();
    let nodes = bench.machine.nodes();
    assert_eq!((nodes.len(), &nodes[0].id), (1, &attached.id));
    assert!(!bench.machine.scales(&web));
    assert_eq!(bench.machine.target(&attached.id).unwrap().http, address);
    bench.machine.end().await;
}

#[tokio::test]
async fn a_pool_below_a_pool_pulls_from_its_load_balancer_from_the_start() {
    let mut bench = bench(Vec::new());
    let mut wishes = wishes("", &["above", "a-below"]);
    let below = ResourceId::pool("default", "a-below");
    wishes.pools.get_mut(&below).unwrap().upstream = crate::validate::Upstream {
        kind: crate::api::edge_pool::UpstreamKind::EdgePool,
        key: crate::api::names::ResourceKey::new("default", "above"),
    };
    bench.machine.keep(&wishes).await.unwrap();
    bench.machine.add(&below, 1).await.unwrap();
    let above = bench.machine.addresses(&ResourceId::pool("default", "above")).rtmp;
    let upstreams: Vec<_> = bench
        .machine
        .nodes_of(&below)
        .flat_map(|(_, owned)| owned.spec.upstreams.clone())
        .collect();
    assert_eq!(upstreams, [format!("rtmp://{above}/live")]);
    bench.machine.end().await;
}
