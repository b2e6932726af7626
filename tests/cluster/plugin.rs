//! The kubectl plugin, as a program under its own name, against a pool that serves.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use e2e::harness::cluster::{Case, Space, User, secret_text};
use e2e::harness::{program, wait_until};
use serde_json::{Value, json};

use crate::name;
use crate::stage::{EDGES, LONG, carried, origin_pod, publish_sample, service, serving};

/// The tests.
pub fn cases() -> Vec<Case> {
    e2e::cases![Nodes: the_plugin_shows_a_fleet_drains_an_edge_and_reports_without_secrets]
}

/// The program under the plugin's name.
struct Plugin {
    space: Space,
    folder: tempfile::TempDir,
}

impl Plugin {
    fn new(space: &Space) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(program("headwater").unwrap(), folder.path().join("kubectl-headwater")).unwrap();
        Self {
            space: space.clone(),
            folder,
        }
    }

    /// What it prints; or its error.
    async fn run(&self, args: &[&str]) -> Result<String, String> {
        let mut command = tokio::process::Command::new(self.folder.path().join("kubectl-headwater"));
        command
            .args(args)
            .args(["-n", &self.space.name])
            .current_dir(self.folder.path());
        command.env("KUBECONFIG", self.space.cluster.kubeconfig(User::Admin));
        let run = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(60), run)
            .await
            .unwrap()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Waits until what it prints holds all of these.
    async fn until(&self, args: &[&str], wanted: &[&str]) -> String {
        wait_until(LONG, "the plugin shows it", || async {
            let text = self.run(args).await?;
            match wanted.iter().find(|wanted| !text.contains(**wanted)) {
                None => Ok(text),
                Some(missing) => Err(format!("no {missing} in\n{text}")),
            }
        })
        .await
        .unwrap()
    }
}

async fn the_plugin_shows_a_fleet_drains_an_edge_and_reports_without_secrets(space: Space) {
    let plugin = Plugin::new(&space);
    let operator = serving(&space, "replicas: 2\ndrainTimeoutSeconds: 5", 2).await;
    let _publication = publish_sample(&space, "a").await;
    carried(&operator, "a").await;
    let pods = space.ready_pods(EDGES, 2, LONG).await.unwrap();
    let (first, second) = (name(&pods[0]), name(&pods[1]));

    let status = plugin
        .until(
            &["status"],
            &["StreamOrigin/main", "EdgePool/web", "2 of 2 ready", "AnyoneMayPublish"],
        )
        .await;
    assert!(status.contains(&first) && status.contains(&second), "{status}");
    plugin
        .until(&["streams", "-o", "wide"], &["live/a", "avc1.", "web"])
        .await;
    let urls = plugin.until(&["urls", "-o", "json"], &["/live/a.mp4"]).await;
    let urls: Value = serde_json::from_str(&urls).unwrap();
    let page = format!(
        "http://{}/play/live/a",
        service(&space, "web-edge", 80).await.trim_end_matches(":80")
    );
    let has = |purpose: &str, url: &str| {
        urls.as_array()
            .unwrap()
            .iter()
            .any(|found| found["purpose"] == purpose && found["url"] == url)
    };
    assert!(has("play page", &page), "{page} in {urls}");
    plugin.until(&["top"], &["POOL / EDGE", &first]).await;
    plugin
        .until(&["status", "-o", "yaml"], &["origins:", "name: main"])
        .await;

    // Where no controller counts for the budget, this does.
    let counted = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    }});
    space
        .patch_sub("PodDisruptionBudget", "web-edge", "status", counted)
        .await
        .unwrap();
    let drained = plugin.run(&["drain", &first, "--wait"]).await.unwrap();
    assert!(
        drained.contains("pool web drains") && drained.contains("is gone"),
        "{drained}"
    );
    let pods = space.ready_pods(EDGES, 2, LONG).await.unwrap();
    assert!(
        pods.iter().all(|pod| name(pod) != first),
        "another edge has taken its place"
    );
    let refused = plugin
        .run(&["drain", &name(&origin_pod(&space).await)])
        .await
        .unwrap_err();
    assert!(refused.contains("publishers"), "{refused}");

    plugin
        .run(&["report", "--file", "r.zip", "--operator-namespace", &space.name])
        .await
        .unwrap();
    reported(&plugin.folder.path().join("r.zip"), &space).await;
    operator.stop().await.unwrap();
}

/// The report has what is needed, and no token.
async fn reported(path: &Path, space: &Space) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    let within = |file: &str| format!("headwater-report/{}/{file}", space.name);
    for wanted in [
        "headwater-report/about.txt".to_owned(),
        "headwater-report/status.txt".to_owned(),
        "headwater-report/events.txt".to_owned(),
        within("edgepool/web.yaml"),
        within("streamorigin/main.yaml"),
        within("deployment/web-edge.yaml"),
        within("service/main-origin.yaml"),
        within("lease/headwater.yaml"),
    ] {
        assert!(names.contains(&wanted), "no {wanted} in {names:#?}");
    }
    assert!(names.iter().any(|name| name.contains("/pod/web-edge-")), "{names:#?}");
    assert!(!names.iter().any(|name| name.contains("/secret/")), "{names:#?}");
    let mut text = String::new();
    for name in &names {
        archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    }
    assert!(text.contains("StreamPublished") && text.contains("EdgePool/web"));
    for secret in ["main-origin-control", "web-edge-control"] {
        let secret = space.get("Secret", secret).await.unwrap();
        let token = secret_text(&secret, "token").unwrap();
        assert!(
            token.lines().all(|token| !text.contains(token)),
            "a control token is in the report"
        );
    }
}
