//! Bounds are those that the program enforces.

use std::collections::BTreeSet;

use serde_yaml::Value as Yaml;

use crate::{Kind, documented, keys, load};

#[test]
fn bounds_are_those_that_the_program_enforces() {
    let rows = documented();
    let mut checked = 0;
    for (path, key) in keys() {
        let beyond: &[&str] = match key.kind {
            Kind::Duration => &["0", "364d"],
            Kind::Size => &["0", "1023GiB"],
            Kind::Count => &["0", "18446744073709551615"],
            Kind::Other => continue,
        };
        let told: BTreeSet<String> = beyond.iter().filter_map(|v| bounds(&path, v)).collect();
        let told = Vec::from_iter(told);
        assert_eq!(told, [rows[&path].allowed.clone()], "{path}");
        checked += 1;
    }
    assert!(checked > 40, "{checked} keys with bounds");
}

/// What the report says about the bounds of the key at `path` when it has a value beyond them.
fn bounds(path: &str, value: &str) -> Option<String> {
    let path = path
        .replace("routes[]", "defaults")
        .replace("<name>", "app");
    let mut setting = value.to_owned();
    for key in path.rsplit('.') {
        setting = format!("{{{key}: {setting}}}");
    }
    let mut file: Yaml = serde_yaml::from_str(
        "{version: 1, listeners: [{address: '127.0.0.1:0'}], upstreams: {app: {address: 'http://a'}},
          routes: [{path: /a, action: fanout}]}",
    )
    .unwrap();
    merge(&mut file, serde_yaml::from_str(&setting).unwrap());
    let report = load(&serde_yaml::to_string(&file).unwrap()).err()?;
    let (_, told) = report.split_once("allowed: ")?;
    let told = told.lines().next()?.trim();
    let endless = format!(" to {}", u64::MAX);
    Some(match told.strip_suffix(&endless) {
        Some(least) => format!("at least {least}"),
        None => told.to_owned(),
    })
}

fn merge(into: &mut Yaml, more: Yaml) {
    match (into, more) {
        (Yaml::Mapping(into), Yaml::Mapping(more)) => {
            for (key, value) in more {
                match into.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (into, more) => *into = more,
    }
}
