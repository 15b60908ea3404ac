//! Bounds are those that the program enforces.

use std::collections::BTreeSet;

use serde_yaml::{Mapping, Value as Yaml};

use crate::{Kind, Row, documented, keys, load};

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
        // One that is missing is told by another test.
        let Some(Row { allowed, .. }) = rows.get(&path) else {
            continue;
        };
        let told: BTreeSet<String> = beyond.iter().filter_map(|v| bounds(&path, v)).collect();
        let told = Vec::from_iter(told);
        // Words that stand for a value come first.
        let allowed = allowed.rsplit(", or ").next().unwrap();
        assert_eq!(
            told,
            [allowed],
            "what the program says of {path}, and the page"
        );
        checked += 1;
    }
    assert!(checked > 40, "{checked} keys with bounds");
}

/// What the report says about the bounds of the key at `path` when it has a value beyond them.
fn bounds(path: &str, value: &str) -> Option<String> {
    let mut file: Yaml = serde_yaml::from_str(
        "{version: 1, listeners: [{address: '127.0.0.1:0'}], 
          defaults: {cors: {origins: all}}, upstreams: {app: {address: 'http://a'}},
          routes: [{path: /a, action: fanout, cors: {origins: all}}]}",
    )
    .unwrap();
    let mut place = &mut file;
    for step in path.replace("<name>", "app").split('.') {
        let is_list = step.ends_with("[]");
        let Yaml::Mapping(mapping) = place else {
            panic!("{path}: {step}");
        };
        place = mapping
            .entry(step.trim_end_matches("[]").into())
            .or_insert_with(|| Yaml::Mapping(Mapping::new()));
        if is_list {
            place = &mut place[0];
        }
    }
    *place = serde_yaml::from_str(value).unwrap();
    let report = load(&serde_yaml::to_string(&file).unwrap()).err()?;
    let (_, told) = report.split_once("allowed: ")?;
    let told = told.lines().next()?.trim();
    let endless = format!(" to {}", u64::MAX);
    Some(match told.strip_suffix(&endless) {
        Some(least) => format!("at least {least}"),
        None => told.to_owned(),
    })
}
