//! Conflicts of server-side apply: which fields others own, and an object without them. Pure.

use kube::core::Status;
use serde_json::Value;

/// Reason of a cause that names a field which another manager owns.
const CONFLICT: &str = "FieldManagerConflict";

/// The fields that others own, as the API server writes them: `.spec.replicas`, `.spec.pulls[stream="cam1"].url`.
pub(super) fn fields(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let conflicts = causes.filter(|cause| cause.reason == CONFLICT && !cause.field.is_empty());
    conflicts.map(|cause| cause.field.clone()).collect()
}

/// Takes a field out of an object; what is not there stays away. Lists that are kept as a whole are taken out as a whole.
pub(super) fn leave_out(object: &mut Value, field: &str) {
    match (object, field.chars().next()) {
        (Value::Object(fields), Some('.')) => {
            let path = &field[1..];
            // Keys hold dots too: the longest one that fits.
            let fits = |key: &&String| {
                path.strip_prefix(key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            let Some(key) = fields.keys().filter(fits).max_by_key(|key| key.len()).cloned() else {
                return;
            };
            match &path[key.len()..] {
                "" => drop(fields.remove(&key)),
                rest => leave_out(&mut fields[&key], rest),
            }
        }
        (Value::Array(items), Some('[')) => {
            let Some((keys, rest)) = field[1..].split_once(']') else {
                return;
            };
            let Some(at) = items.iter().position(|item| is_at(item, keys)) else {
                return;
            };
            match rest {
                "" => drop(items.remove(at)),
                rest => leave_out(&mut items[at], rest),
            }
        }
        _ => {}
    }
}

/// True if an item has these keys: `stream="cam1",port=80`.
fn is_at(item: &Value, keys: &str) -> bool {
    keys.split(',').all(|key| {
        let Some((name, value)) = key.split_once('=') else {
            return false;
        };
        serde_json::from_str::<Value>(value).is_ok_and(|value| item[name] == value)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_field_that_somebody_else_owns_is_left_out() {
        let whole = json!({
            "metadata": {"annotations": {"headwater.dev/paused": "true", "headwater.dev/paused-scale-in": "true"}},
            "spec": {"replicas": 2, "pulls": [{"stream": "a", "url": "1"}, {"stream": "b", "url": "2"}]},
        });
        let without = |field: &str| {
            let mut object = whole.clone();
            leave_out(&mut object, field);
            object
        };
        assert_eq!(
            without(".spec.replicas")["spec"],
            json!({"pulls": whole["spec"]["pulls"]})
        );
        assert_eq!(
            without(".metadata.annotations.headwater.dev/paused")["metadata"]["annotations"],
            json!({"headwater.dev/paused-scale-in": "true"})
        );
        assert_eq!(
            without(".spec.pulls[stream=\"a\"].url")["spec"]["pulls"],
            json!([{"stream": "a"}, {"stream": "b", "url": "2"}])
        );
        assert_eq!(
            without(".spec.pulls[stream=\"b\"]")["spec"]["pulls"],
            json!([{"stream": "a", "url": "1"}])
        );
        for field in [
            "",
            ".",
            ".spec.none",
            ".spec.pulls[stream=\"c\"].url",
            ".spec.pulls[",
            "spec",
        ] {
            assert_eq!(without(field), whole, "{field}");
        }
    }
}
