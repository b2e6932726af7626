//! What leaves a cluster: objects and texts without keys. Pure.

use serde_json::Value;

/// What stands for what is left out.
const LEFT_OUT: &str = "(left out)";
/// Annotation that holds a whole object as it was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Variables of the program itself, which hold no secret; every other one may.
const OWN_VARIABLES: &str = "HEADWATER_";

/// Takes keys out of objects and texts. It knows the addresses of pulls and pushes, which hold keys as a query or as the stream's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    known: Vec<String>,
}

impl Redactor {
    /// Learns the addresses of the origins among these objects.
    pub(super) fn learn(&mut self, objects: &[Value]) {
        for object in objects {
            let lists = ["/spec/pulls", "/spec/pushes"].map(|list| object.pointer(list).and_then(Value::as_array));
            for item in lists.into_iter().flatten().flatten() {
                let Some(url) = item["url"].as_str() else { continue };
                let Some((_, rest)) = url.split_once("://") else {
                    continue;
                };
                // All that follows the host, and the name and password before it.
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let user = authority.rsplit_once('@').map(|(user, _)| user.to_owned());
                let last = path.rsplit_once('/').map_or(path, |(_, last)| last);
                let parts = [Some(path.to_owned()), Some(last.to_owned()), user];
                self.known
                    .extend(parts.into_iter().flatten().filter(|part| is_telling(part)));
            }
        }
        // The longest first: a part of one must not spoil the whole.
        self.known.sort_by_key(|part| std::cmp::Reverse(part.len()));
        self.known.dedup();
    }

    /// An object without what may hold a key, and without what nobody reads.
    pub(super) fn object(&self, object: &mut Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove(LAST_APPLIED);
            }
        }
        for list in ["/spec/pulls", "/spec/pushes"] {
            for item in object
                .pointer_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(url) = item.get_mut("url") {
                    *url = Value::String(host_alone(url.as_str().unwrap_or_default()));
                }
            }
        }
        self.inside(object);
    }

    fn inside(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.inside(item)),
            Value::Object(fields) => {
                for (key, field) in fields.iter_mut() {
                    if key == "env" {
                        variables(field);
                    }
                    self.inside(field);
                }
            }
            _ => {}
        }
    }

    /// A text without known addresses, `user:password@` and whatever follows `key=`, `token=` or `password=`.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for part in &self.known {
            if text.contains(part.as_str()) {
                text = text.replace(part.as_str(), LEFT_OUT);
            }
        }
        for word in ["key=", "token=", "password="] {
            text = without_values(&text, word);
        }
        without_users(&text)
    }
}

/// Shorter parts, and names that people give to apps, stand in too many texts to tell anything.
fn is_telling(part: &str) -> bool {
    part.len() >= 4 && !matches!(part, "live" | "{stream}" | "live/{stream}")
}

/// `rtmp://host/(left out)`.
fn host_alone(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}/{LEFT_OUT}")
}

fn variables(env: &mut Value) {
    for variable in env.as_array_mut().into_iter().flatten() {
        let own = variable["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(OWN_VARIABLES));
        if let Some(value) = variable.get_mut("value").filter(|_| !own) {
            *value = Value::String(LEFT_OUT.to_owned());
        }
    }
}

/// Puts something else in the place of what follows each of these words, up to the end of the value.
fn without_values(text: &str, word: &str) -> String {
    let mut parts = text.split(word);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |character: char| character.is_whitespace() || "&\"'<>,;)\\".contains(character);
        let end = part.find(ends).unwrap_or(part.len());
        let value = if end == 0 { "" } else { LEFT_OUT };
        clean += &format!("{word}{value}{}", &part[end..]);
    }
    clean
}

/// Takes out `user:password@` behind every `://`.
fn without_users(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |character: char| character.is_whitespace() || "/\"'<>".contains(character);
        let (authority, rest) = part.split_at(part.find(ends).unwrap_or(part.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        clean += &format!("://{host}{rest}");
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn origin() -> Value {
        json!({
            "kind": "StreamOrigin",
            "metadata": {"name": "main", "managedFields": [{}], "annotations": {LAST_APPLIED: "hunter2", "a": "b"}},
            "spec": {
                "publish": {"keysSecret": "main-keys"},
                "pulls": [{"stream": "cam1", "url": "rtmp://joe:hunter2@cam.example/app/cam?pass=hunter3"}],
                "pushes": [{"stream": "*", "url": "rtmp://live.example/app/hunter4-abcd"}],
            },
            "status": {"conditions": [{"message": "pull of rtmp://joe:hunter2@cam.example/app/cam?pass=hunter3 failed"}]},
        })
    }

    #[test]
    fn no_key_of_an_origin_is_left_and_all_else_is() {
        let mut redactor = Redactor::default();
        redactor.learn(&[origin()]);
        let mut object = origin();
        redactor.object(&mut object);
        let text = object.to_string();
        assert!(!text.contains("hunter"), "{text}");
        assert_eq!(
            object["spec"]["pulls"][0],
            json!({"stream": "cam1", "url": "rtmp://cam.example/(left out)"})
        );
        assert_eq!(object["spec"]["publish"]["keysSecret"], "main-keys");
        assert_eq!(object["metadata"], json!({"name": "main", "annotations": {"a": "b"}}));
        let log = "INFO push to rtmp://live.example/app/hunter4-abcd refused, stream hunter4-abcd";
        assert!(!redactor.text(log).contains("hunter"), "{}", redactor.text(log));
    }

    #[test]
    fn keys_in_texts_are_taken_out_and_addresses_stay_readable() {
        let redactor = Redactor::default();
        for (text, clean) in [
            (
                "publish cam1?key=abc&x=1 refused",
                "publish cam1?key=(left out)&x=1 refused",
            ),
            (
                "{\"url\":\"rtmp://h/live/a?key=abc\"}",
                "{\"url\":\"rtmp://h/live/a?key=(left out)\"}",
            ),
            (
                "rtmp://u:p@10.0.0.1:1935/live/a and rtmp://10.0.0.2/b",
                "rtmp://10.0.0.1:1935/live/a and rtmp://10.0.0.2/b",
            ),
            ("nothing here: a@b", "nothing here: a@b"),
            ("key=", "key="),
        ] {
            assert_eq!(redactor.text(text), clean);
        }
    }

    #[test]
    fn variables_of_others_are_left_out() {
        let mut pod = json!({"spec": {"containers": [{"env": [
            {"name": "HTTPS_PROXY", "value": "http://joe:hunter2@proxy.example"},
            {"name": "HEADWATER_LEASE", "value": "headwater"},
            {"name": "HEADWATER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]}]}});
        Redactor::default().object(&mut pod);
        let env = &pod["spec"]["containers"][0]["env"];
        assert_eq!(
            (&env[0]["value"], &env[1]["value"]),
            (&json!(LEFT_OUT), &json!("headwater"))
        );
        assert!(env[2].get("value").is_none());
    }
}
