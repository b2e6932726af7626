//! What was written to the API server, by whom, as its audit log has it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// Policy: one line for each finished request that is no read.
pub const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\n\
    rules:\n- {level: None, verbs: [get, list, watch]}\n- {level: Metadata}\n";

/// One request that was not a read; refused ones too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Plural, e.g. `edgepools`.
    pub resource: String,
    /// e.g. `status`; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name; empty where the server chose it.
    pub name: String,
    /// User.
    pub user: String,
    /// Program by its own word.
    pub agent: String,
    /// Status of the answer.
    pub code: u16,
}

/// The audit log of a cluster.
#[derive(Clone, Debug)]
pub struct Audit {
    file: PathBuf,
}

/// A place in the audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(usize);

impl Audit {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// The end of the log so far.
    pub fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.file).map_or(0, |file| usize::try_from(file.len()).unwrap_or_default()))
    }

    /// Every write since then.
    pub fn since(&self, mark: Mark) -> Result<Vec<Write>> {
        let log = std::fs::read(&self.file).context("failed to read the audit log")?;
        let text = String::from_utf8_lossy(log.get(mark.0..).unwrap_or_default()).into_owned();
        // The last line may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(line).collect()
    }

    /// Every write of this user since then.
    pub fn of(&self, user: &str, mark: Mark) -> Result<Vec<Write>> {
        let all = self.since(mark)?;
        Ok(all.into_iter().filter(|write| write.user == user).collect())
    }
}

fn line(text: &str) -> Result<Write> {
    let event: Value = serde_json::from_str(text).context("failed to read a line of the audit log")?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let user = match &event["impersonatedUser"] {
        Value::Null => &event["user"],
        other => other,
    };
    let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
    Ok(Write {
        verb: word(&event["verb"]),
        resource: word(&object["resource"]),
        subresource: word(&object["subresource"]),
        namespace: word(&object["namespace"]),
        name: word(&object["name"]),
        user: word(&user["username"]),
        agent: word(&event["userAgent"]),
        code: u16::try_from(code).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_read_from_a_mark_on_and_a_line_under_way_waits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let event = |name: &str| {
            format!(
                r#"{{"verb":"patch","user":{{"username":"admin"}},"userAgent":"u","responseStatus":{{"code":409}},"objectRef":{{"resource":"edgepools","namespace":"n","name":"{name}","subresource":"status"}}}}"#
            )
        };
        std::fs::write(file.path(), format!("{}\n", event("one"))).unwrap();
        let audit = Audit::new(file.path());
        let mark = audit.mark();
        std::fs::write(file.path(), format!("{}\n{}\n{{\"ver", event("one"), event("two"))).unwrap();
        let writes = audit.of("admin", mark).unwrap();
        assert_eq!(writes.len(), 1);
        assert_eq!((writes[0].name.as_str(), writes[0].code), ("two", 409));
        assert_eq!(writes[0].subresource, "status");
        assert!(audit.of("other", Mark::default()).unwrap().is_empty());
    }
}
