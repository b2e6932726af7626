//! What the chart holds of other files: definitions, the resources' schemas, the table of its values.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::root;

const BEGIN: &str = "<!-- values:";
const END: &str = "<!-- end of values -->";

fn chart() -> PathBuf {
    root().join("charts/headwater")
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Holds a file against what it should be; `UPDATE_GOLDEN` writes it anew.
#[track_caller]
fn same(file: &str, made: &str) {
    let path = chart().join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    assert!(
        read(&path) == made,
        "charts/headwater/{file} is not what it is made from: run UPDATE_GOLDEN=1 cargo test --workspace --test repo"
    );
}

#[test]
fn the_chart_s_definitions_are_the_committed_ones() {
    for name in ["edgepools.yaml", "streamorigins.yaml"] {
        same(&format!("files/crds/{name}"), &read(&root().join("crds").join(name)));
    }
    let held = std::fs::read_dir(chart().join("files/crds")).unwrap().count();
    assert_eq!(held, 2, "a definition that crds/ does not hold");
}

/// A schema of a definition as a schema of values: closed, and without what only an API server knows.
fn closed(schema: &Value) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let free = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    let mut made = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            "properties" => {
                let properties = value.as_object().unwrap().iter();
                Value::Object(properties.map(|(name, below)| (name.clone(), closed(below))).collect())
            }
            "items" | "additionalProperties" => closed(value),
            "default" | "format" | "nullable" => continue,
            key if key.starts_with("x-kubernetes") => continue,
            _ => value.clone(),
        };
        made.insert(key.clone(), value);
    }
    if fields.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        made.remove("anyOf");
        made.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if made.contains_key("properties") && !free {
        made.insert("additionalProperties".to_owned(), json!(false));
    }
    Value::Object(made)
}

/// The spec's schema of a definition.
fn spec(file: &str) -> Value {
    let definition: Value = serde_saphyr::from_str(&read(&root().join("crds").join(file))).unwrap();
    closed(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
}

#[test]
fn the_schema_of_values_knows_the_resources_fields() {
    let mut schema: Value = serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap();
    let mut pool = spec("edgepools.yaml");
    // The chart puts the origin there.
    let fields = pool.as_object_mut().unwrap();
    fields.remove("required");
    schema["$defs"] = json!({"streamOriginSpec": spec("streamorigins.yaml"), "edgePoolSpec": pool});
    same(
        "values.schema.json",
        &(serde_json::to_string_pretty(&schema).unwrap() + "\n"),
    );
}

#[test]
fn the_schema_of_values_is_closed_at_every_level() {
    fn open(schema: &Value, at: &str, found: &mut Vec<String>) {
        if !schema.is_object() {
            return;
        }
        let properties = schema["properties"].as_object();
        if properties.is_some() && schema["additionalProperties"] != json!(false) {
            found.push(at.to_owned());
        }
        for (name, below) in properties.into_iter().flatten() {
            open(below, &format!("{at}.{name}"), found);
        }
        for key in ["items", "additionalProperties"] {
            open(&schema[key], &format!("{at}[]"), found);
        }
    }
    let schema: Value = serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap();
    let mut found = Vec::new();
    open(&schema, "", &mut found);
    for (name, below) in schema["$defs"].as_object().unwrap() {
        open(below, name, &mut found);
    }
    assert!(found.is_empty(), "these take unknown keys: {found:?}");
}

/// A value of `values.yaml`: its path, its default and what the comment above it says.
fn described(values: &str) -> Vec<(String, String)> {
    let mut stack: Vec<(usize, String)> = Vec::new();
    let mut about = None;
    let mut found = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(words) = text.strip_prefix("# -- ") {
            about = Some(words.to_owned());
        } else if let Some((key, _)) = text.split_once(':').filter(|_| !text.starts_with(['#', '-'])) {
            stack.retain(|(depth, _)| *depth < indent);
            stack.push((indent, key.to_owned()));
            if let Some(words) = about.take() {
                let path: Vec<&str> = stack.iter().map(|(_, key)| key.as_str()).collect();
                found.push((path.join("."), words));
            }
        }
    }
    found
}

/// Paths of the values that nothing above them describes.
fn undescribed(value: &Value, path: &str, known: &[(String, String)], found: &mut Vec<String>) {
    if known.iter().any(|(known, _)| known == path) {
        return;
    }
    match value.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            for (key, below) in fields {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                undescribed(below, &path, known, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}

#[test]
fn the_readme_s_table_is_made_of_the_values() {
    let text = read(&chart().join("values.yaml"));
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let known = described(&text);
    let mut missing = Vec::new();
    undescribed(&values, "", &known, &mut missing);
    assert!(missing.is_empty(), "values without a description: {missing:?}");

    let mut table = "| key | default | what |\n|---|---|---|\n".to_owned();
    for (path, words) in &known {
        let value = path.split('.').fold(&values, |value, key| &value[key]);
        assert!(words.ends_with('.'), "{path}: its description is no sentence");
        table += &format!("| `{path}` | `{value}` | {} |\n", words.replace('|', "\\|"));
    }
    let readme = read(&chart().join("README.md"));
    let (head, rest) = readme.split_once(BEGIN).expect("the place of the table");
    let (marker, rest) = rest.split_once('\n').unwrap();
    let (_, tail) = rest.split_once(END).expect("the end of the table");
    same("README.md", &format!("{head}{BEGIN}{marker}\n{table}{END}{tail}"));
}

#[test]
fn the_chart_grants_what_the_example_grants() {
    let rules = |text: &str, from: &str| -> Value {
        let start = text.find(from).unwrap();
        let begin = start + text[start..].find("- apiGroups").unwrap();
        let end = text[begin..].find("---").or_else(|| text[begin..].find("{{")).unwrap();
        let part = text[begin..begin + end].split("{{").next().unwrap();
        serde_saphyr::from_str(part).unwrap()
    };
    let example = read(&root().join("examples/operator.yaml"));
    let cluster = rules(&example, "kind: ClusterRole");
    assert_eq!(
        cluster,
        rules(
            &read(&chart().join("templates/_helpers.tpl")),
            "define \"headwater.rules\""
        )
    );
    let leader = rules(&example, "name: headwater-leader");
    assert_eq!(leader, rules(&read(&chart().join("templates/rbac.yaml")), "%s-leader"));
}

#[test]
fn versions_of_chart_and_programs_are_one() {
    let chart: Value = serde_saphyr::from_str(&read(&chart().join("Chart.yaml"))).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
