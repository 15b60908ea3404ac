//! Defaults are those of the schema and of the program.

use serde_yaml::Value as Yaml;
use sidestream::config::{
    self,
    units::{Size, Time},
};

use crate::{Row, documented, keys, load, quoted};

/// What a description says about the default: `` `live` (the default) ``, `Default 10s.`,
/// `Default: none.`
fn stated(description: &str) -> Option<String> {
    if let Some((before, _)) = description.split_once(" (the default") {
        return before.rsplit(' ').next().map(|word| word.replace('`', ""));
    }
    let (_, text) = description.split_once("Default")?;
    let text = text.trim_start_matches([':', ' ']);
    let end = [text.find(". "), text.find(';')]
        .into_iter()
        .flatten()
        .min();
    let text = end.map_or(text, |end| &text[..end]);
    Some(text.trim_end_matches('.').replace('`', ""))
}

#[test]
fn defaults_are_those_of_the_schema_and_of_the_program() {
    let (keys, rows) = (keys(), documented());
    let program = effective();
    for (path, key) in &keys {
        // One that is missing is told by another test.
        let Some(Row { default, .. }) = rows.get(path) else {
            continue;
        };
        if let Some(stated) = stated(&key.description) {
            let shown = default.replace('`', "");
            let rest = shown.strip_prefix(&stated);
            assert!(
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([';', ','])),
                "{path}: the schema says `{stated}`, the page `{shown}`"
            );
        }
        let Some(literal) = quoted(default).next().filter(|_| default.starts_with('`')) else {
            continue;
        };
        // As much as another key says, which is known when the process starts.
        if keys.contains_key(literal) {
            continue;
        }
        let mut taken = Vec::new();
        values(&program, path, &mut taken);
        // A switch that is off may be left out.
        let is_off = taken.is_empty() && literal == "false";
        assert!(
            is_off || taken.iter().any(|value| is_same(value, literal)),
            "{path}: the page says `{literal}`, the program takes {taken:?}"
        );
    }
}

/// The same text, or another spelling of the same time or size.
fn is_same(one: &str, other: &str) -> bool {
    let times = (Time::parse(one), Time::parse(other));
    let sizes = (Size::parse(one), Size::parse(other));
    one == other
        || matches!(times, (Ok(one), Ok(other)) if one == other)
        || matches!(sizes, (Ok(one), Ok(other)) if one == other)
}

/// What the program makes of a file that sets nothing: `print-config`.
fn effective() -> Yaml {
    let bare = "
version: 1
listeners: [{address: '127.0.0.1:0'}, {address: 'unix:/s'}]
upstreams: {app: 'https://app'}
admin: {address: 'unix:/a'}
routes:
  - {path: /a, action: fanout, resume: true, cors: {origins: all}}
  - {path: /b, action: fanout, share: public}
";
    let mut printed = serde_yaml::from_str(&config::print(&load(bare).unwrap())).unwrap();
    let plain = load(&bare.replace("admin: {address: 'unix:/a'}", "")).unwrap();
    let plain: Yaml = serde_yaml::from_str(&config::print(&plain)).unwrap();
    let Yaml::Mapping(file) = &mut printed else {
        panic!("a mapping");
    };
    let admin = Yaml::Sequence(vec![file["admin"].clone(), plain["admin"].clone()]);
    file.insert("admin".into(), admin);
    // Under `defaults` stands what the routes have.
    file.insert("defaults".into(), plain["routes"].clone());
    printed
}

/// The values at `path`, of all items of lists and all named things.
fn values(node: &Yaml, path: &str, found: &mut Vec<String>) {
    match (node, path.split_once('.')) {
        (Yaml::Sequence(items), _) if !path.is_empty() => {
            items.iter().for_each(|item| values(item, path, found));
        }
        (Yaml::Mapping(named), Some(("<name>", rest))) => {
            named.values().for_each(|value| values(value, rest, found));
        }
        (Yaml::Mapping(_), split) => {
            let (key, rest) = split.unwrap_or((path, ""));
            if let Some(value) = node.get(key.trim_end_matches("[]")) {
                values(value, rest, found);
            }
        }
        (node, None) if path.is_empty() => found.push(flow(node)),
        _ => {}
    }
}

fn flow(node: &Yaml) -> String {
    match node {
        Yaml::Sequence(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        // As in the file: octal digits would be a number without quotes.
        Yaml::String(text) if text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{text:?}")
        }
        Yaml::String(text) => text.clone(),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
            serde_yaml::to_string(node).unwrap().trim().to_owned()
        }
    }
}
