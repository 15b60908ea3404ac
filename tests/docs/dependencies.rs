//! The table of dependencies is that of the manifest.

use std::collections::{BTreeMap, BTreeSet};

use crate::read;

/// Packages of `Cargo.lock` by name and version, with what they depend on.
fn locked() -> BTreeMap<String, Vec<String>> {
    let lock = read("Cargo.lock");
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|l| l.strip_prefix(key));
        line.unwrap().trim_matches('"').to_owned()
    };
    let blocks = lock.split("[[package]]\n").skip(1);
    blocks
        .map(|block| {
            let name = value(block, "name = ");
            let version = value(block, "version = ");
            let needs = block.split("dependencies = [").nth(1).unwrap_or("]");
            let needs = needs
                .split(']')
                .next()
                .unwrap()
                .split('"')
                .skip(1)
                .step_by(2);
            (
                format!("{name} {version}"),
                needs.map(str::to_owned).collect(),
            )
        })
        .collect()
}

/// The packages that a line of `dependencies` may mean: the version is left out where it is clear.
fn meant<'l>(
    locked: &'l BTreeMap<String, Vec<String>>,
    need: &str,
) -> impl Iterator<Item = &'l String> {
    let (exact, named) = (need.to_owned(), format!("{need} "));
    let names = locked.keys();
    names.filter(move |package| **package == exact || package.starts_with(&named))
}

#[test]
fn the_table_of_dependencies_is_that_of_the_manifest() {
    let (readme, manifest, locked) = (read("README.md"), read("Cargo.toml"), locked());
    let section = |title: &str| {
        let section = manifest.split(title).nth(1).unwrap();
        let lines = section.lines().skip(1).take_while(|l| !l.starts_with('['));
        let names = lines.filter_map(|l| l.split([' ', '.', '=']).next());
        let names = names.filter(|name| !name.is_empty() && !name.starts_with('#'));
        names.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let table = readme.split("| crate | why |").nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(','));
    let listed: Vec<&str> = cells.map(str::trim).collect();
    let names: BTreeSet<String> = listed
        .iter()
        .map(|l| l.trim_end_matches('*').to_owned())
        .collect();
    assert_eq!(names, section("\n[dependencies]"));
    let tests = readme.split("Tests add ").nth(1).unwrap();
    let tests = tests.split("the load client").next().unwrap();
    for name in section("\n[dev-dependencies]") {
        assert!(tests.contains(&name), "README.md: tests add {name}");
    }

    let mut in_pingora = BTreeSet::new();
    let mut open: Vec<&String> = meant(&locked, "pingora").collect();
    while let Some(package) = open.pop() {
        if in_pingora.insert(package) {
            open.extend(locked[package].iter().flat_map(|need| meant(&locked, need)));
        }
    }
    let ours = meant(&locked, "sidestream").next().unwrap();
    for entry in listed.iter().filter(|entry| **entry != "pingora") {
        let name = entry.trim_end_matches('*');
        let need = locked[ours]
            .iter()
            .find(|need| need.split(' ').next() == Some(name));
        let is_theirs = meant(&locked, need.unwrap()).any(|package| in_pingora.contains(package));
        assert_eq!(
            entry.ends_with('*'),
            is_theirs,
            "README.md: the star of {name}"
        );
    }
}
