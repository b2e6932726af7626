//! Helm as a library, by `tests/helm/helm.py`: one process for a list of requests.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::root;

/// What `make setup` installs Helm into.
fn python() -> PathBuf {
    root().join(".cache/venv/bin/python")
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    root().join("charts/headwater")
}

/// Why Helm can't run here; nothing if it can.
pub fn lacks() -> Option<String> {
    let found = python().exists()
        && Command::new(python())
            .args(["-c", "import helm_python"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    (!found).then(|| "no Helm in .cache/venv; run make setup".to_owned())
}

/// Answers of Helm in the order of the requests; a refusal is an error's text. Blocks for as long as Helm works.
pub fn run(requests: &[Value]) -> Result<Vec<Result<Value, String>>> {
    let mut child = Command::new(python())
        .arg(root().join("tests/helm/helm.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start Helm")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(&serde_json::to_vec(requests)?)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "Helm ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).context("Helm's answers are no JSON")?;
    ensure!(answers.len() == requests.len(), "Helm left requests unanswered");
    let answer = |answer: Value| match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["ok"].clone()),
    };
    Ok(answers.into_iter().map(answer).collect())
}

/// A request of the chart: what to do, values, and whether those for AKS are below them.
pub fn request(what: &str, aks: bool, values: Value) -> Value {
    let files: Vec<PathBuf> = aks.then(|| chart().join("values-aks.yaml")).into_iter().collect();
    json!({"do": what, "chart": chart(), "files": files, "values": values})
}

/// The objects of a rendered chart, without notes.
pub fn objects(rendered: &Value) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for (file, text) in rendered.as_object().context("nothing was rendered")? {
        if !file.ends_with("NOTES.txt") {
            let documents: Vec<Value> = serde_saphyr::from_multiple(text.as_str().unwrap_or_default())
                .with_context(|| format!("{file} is no YAML:\n{text}"))?;
            found.extend(documents.into_iter().filter(|document| !document.is_null()));
        }
    }
    Ok(found)
}
