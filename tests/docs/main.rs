//! The pages say what the program does: keys, defaults and bounds of the configuration, examples,
//! dependencies, links, and the proofs of promises.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

mod bounds;
mod defaults;
mod dependencies;
mod keys;
mod pages;
mod promises;

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use sidestream::config::{self, Config};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn load(source: &str) -> Result<Config, String> {
    config::load(source, "page.yaml", &|_| None).map_err(|report| report.to_string())
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A key as `docs/configuration.md` has it.
struct Row {
    default: String,
    allowed: String,
    reload: String,
}

/// The rows of all tables of keys by path. A heading names the mappings that its keys stand in.
fn documented() -> BTreeMap<String, Row> {
    let page = read("docs/configuration.md");
    let mut rows = BTreeMap::new();
    let mut mappings: Vec<&str> = Vec::new();
    let mut is_table = false;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            mappings = quoted(heading).collect();
        }
        is_table = line.starts_with("| key |") || (is_table && line.starts_with('|'));
        if !is_table || !line.starts_with("| `") {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default, allowed, reload, what] = cells[..] else {
            panic!("five cells: {line}");
        };
        assert!(!what.is_empty(), "what it is: {line}");
        let key = key.trim_matches('`');
        let paths = match mappings[..] {
            [] => vec![key.to_owned()],
            _ => mappings
                .iter()
                .map(|above| format!("{above}.{key}"))
                .collect(),
        };
        for path in paths {
            let row = Row {
                default: default.to_owned(),
                allowed: allowed.to_owned(),
                reload: reload.to_owned(),
            };
            let twice = rows.insert(path.clone(), row).is_some();
            assert!(!twice, "{path} stands twice in docs/configuration.md");
        }
    }
    rows
}

/// A key of the schema.
#[derive(Debug)]
struct Key {
    description: String,
    kind: Kind,
    /// The words that it may have.
    words: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Duration,
    Size,
    Count,
    Other,
}

/// All keys of the schema that hold no further keys, by path.
fn keys() -> BTreeMap<String, Key> {
    let schema: Value = serde_json::from_str(&config::schema()).unwrap();
    let mut keys = BTreeMap::new();
    gather(&schema, &schema, "", "", &mut keys);
    keys
}

fn gather(
    schema: &Value,
    node: &Value,
    path: &str,
    description: &str,
    keys: &mut BTreeMap<String, Key>,
) {
    let Some((mapping, path)) = mapping(schema, node, path) else {
        let mut words = Vec::new();
        let kind = inspect(schema, node, &mut words);
        let description = description.replace('\n', " ");
        let key = Key {
            description,
            kind,
            words,
        };
        let twice = keys.insert(path.to_owned(), key);
        assert!(twice.is_none(), "{path}: {twice:?}");
        return;
    };
    for (name, value) in mapping["properties"].as_object().unwrap() {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let description = value["description"].as_str().unwrap_or_default();
        gather(schema, value, &below, description, keys);
    }
}

/// The mapping that a node is, or holds in a list or by name, and its path.
fn mapping<'s>(schema: &'s Value, node: &'s Value, path: &str) -> Option<(&'s Value, String)> {
    let node = resolved(schema, node);
    if node.get("properties").is_some() {
        return Some((node, path.to_owned()));
    }
    if let Some(items) = node.get("items") {
        return mapping(schema, items, &format!("{path}[]"));
    }
    if let Some(values) = node.get("additionalProperties").filter(|v| v.is_object()) {
        return mapping(schema, values, &format!("{path}.<name>"));
    }
    ["allOf", "anyOf"]
        .iter()
        .filter_map(|either| node.get(either)?.as_array())
        .flatten()
        .find_map(|member| mapping(schema, member, path))
}

fn resolved<'s>(schema: &'s Value, node: &'s Value) -> &'s Value {
    let reference = node.get("$ref").and_then(Value::as_str);
    reference.map_or(node, |name| schema.pointer(&name[1..]).unwrap())
}

/// What a value is, and the words that it may be.
fn inspect(schema: &Value, node: &Value, words: &mut Vec<String>) -> Kind {
    let kind = match node.get("$ref").and_then(Value::as_str) {
        Some("#/definitions/Duration") => Kind::Duration,
        Some("#/definitions/Size") => Kind::Size,
        Some("#/definitions/Count") => Kind::Count,
        _ => Kind::Other,
    };
    if kind != Kind::Other {
        return kind;
    }
    let node = resolved(schema, node);
    let listed = node["enum"].as_array().into_iter().flatten();
    let word = |value: &Value| value.as_str().map(str::to_owned);
    words.extend(listed.chain(node.get("const")).filter_map(word));
    ["allOf", "anyOf", "oneOf"]
        .iter()
        .filter_map(|either| node.get(either)?.as_array())
        .flatten()
        .map(|member| inspect(schema, member, words))
        .fold(Kind::Other, |found, kind| match kind {
            Kind::Other => found,
            Kind::Duration | Kind::Size | Kind::Count => kind,
        })
}
