//! Who imports whom: the `use` lines of `src/` against the levels in `ARCHITECTURE.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Module = Vec<String>;

/// Module prefix -> level, as in the `levels` block.
struct Levels(BTreeMap<Module, u32>);

impl Levels {
    fn read() -> Self {
        let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let block = page
            .split("```levels\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let mut levels = BTreeMap::new();
        for line in block.expect("a ```levels block").lines() {
            let mut words = line.split_whitespace();
            let level = words.next().unwrap().parse().unwrap();
            for name in words {
                let twice = levels.insert(path(name), level);
                assert!(twice.is_none(), "{name} stands twice in ARCHITECTURE.md");
            }
        }
        Self(levels)
    }

    /// The longest listed prefix of a module and its level.
    fn of(&self, module: &[String]) -> Option<(&Module, u32)> {
        (1..=module.len())
            .rev()
            .find_map(|length| self.0.get_key_value(&module[..length]))
            .map(|(unit, level)| (unit, *level))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn path(name: &str) -> Module {
    name.split("::").map(str::to_owned).collect()
}

/// Source files of the library without those that hold tests only.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let of_tests = ["tests", "testing"].contains(&path.file_stem().unwrap().to_str().unwrap())
            || name.ends_with("_tests.rs");
        if path.is_dir() && name != "tests" {
            files(&path, found);
        } else if name.ends_with(".rs") && !of_tests {
            found.push(path);
        }
    }
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are both `a::b`.
fn module_of(file: &Path) -> Module {
    let relative = file
        .strip_prefix(root().join("src"))
        .unwrap()
        .with_extension("");
    let mut module: Module = relative
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// The source without comment lines and without `#[cfg(test)] mod name { ... }`, which the formatter
/// ends with a brace at the start of a line.
fn strip(source: &str) -> String {
    let mut text: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    while let Some(start) = text.find("#[cfg(test)]\nmod ") {
        let rest = &text[start..];
        let head = rest.find(['{', ';']).unwrap();
        let length = if rest[head..].starts_with(';') {
            head
        } else {
            rest.find("\n}").expect("the module ends") + 1
        };
        text.replace_range(start..=start + length, "");
    }
    text
}

/// `{a, b as c}` -> `{a,b}`: a new name says nothing of what is imported.
fn plain(tree: &str) -> String {
    let mut plain = String::new();
    let mut words = tree.split_whitespace();
    while let Some(word) = words.next() {
        if word == "as" {
            let renamed = words.next().unwrap();
            plain.push_str(renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
        } else {
            plain.push_str(word);
        }
    }
    plain
}

/// `a::{b, c::{d, e}}` -> `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in tree.char_indices().chain([(tree.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &tree[start..at];
                start = at + 1;
                match part.split_once('{') {
                    Some((head, tail)) => {
                        let inner = tail.strip_suffix('}').unwrap();
                        expand(&format!("{prefix}{head}"), inner, out);
                    }
                    None if part.is_empty() => {}
                    None => out.push(format!("{prefix}{part}")),
                }
            }
            _ => {}
        }
    }
}

/// Modules of ours that a file names: in `use` lines, and by a full path anywhere else.
fn imports(module: &[String], source: &str) -> Vec<Module> {
    let text = strip(source);
    let mut names = Vec::new();
    for statement in text.split("use ").skip(1) {
        let tree = statement.split(';').next().unwrap();
        if ["crate::", "super::", "self::"]
            .iter()
            .any(|start| tree.starts_with(start))
        {
            expand("", &plain(tree), &mut names);
        }
    }
    for inline in text.split("crate::").skip(1) {
        let end = inline.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        names.push(format!("crate::{}", &inline[..end.unwrap_or(inline.len())]));
    }
    names
        .iter()
        .map(|name| resolve(module, name))
        .filter(|name| !name.is_empty())
        .collect()
}

/// From a path as written to the path of a module (and maybe an item in it) below the crate.
fn resolve(module: &[String], name: &str) -> Module {
    let mut resolved = module.to_vec();
    for part in name.split("::") {
        match part {
            "crate" => resolved.clear(),
            "super" => drop(resolved.pop()),
            "self" | "" | "*" => {}
            part => resolved.push(part.to_owned()),
        }
    }
    resolved
}

#[test]
fn modules_import_lower_levels_only_and_levels_have_no_cycles() {
    let levels = Levels::read();
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    let mut breaches = BTreeSet::new();
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for file in found {
        let module = module_of(&file);
        if ["lib", "main"].contains(&module[0].as_str()) {
            continue;
        }
        let Some((own, level)) = levels.of(&module) else {
            breaches.insert(format!(
                "{} has no level in ARCHITECTURE.md",
                module.join("::")
            ));
            continue;
        };
        for import in imports(&module, &fs::read_to_string(&file).unwrap()) {
            let Some((other, its_level)) = levels.of(&import) else {
                continue;
            };
            if its_level > level {
                breaches.insert(format!(
                    "{} (level {level}) imports {} (level {its_level})",
                    module.join("::"),
                    import.join("::"),
                ));
            } else if its_level == level && other != own {
                edges.entry(own.clone()).or_default().insert(other.clone());
            }
        }
    }
    for start in edges.keys() {
        if let Some(cycle) = cycle_from(start, &edges) {
            breaches.insert(format!("cycle inside a level: {cycle}"));
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// A way from `start` back to itself.
fn cycle_from(start: &Module, edges: &BTreeMap<Module, BTreeSet<Module>>) -> Option<String> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in way
            .last()
            .and_then(|last| edges.get(*last))
            .into_iter()
            .flatten()
        {
            if next == start {
                let names: Vec<String> = way.iter().map(|module| module.join("::")).collect();
                return Some(format!("{} -> {}", names.join(" -> "), start.join("::")));
            }
            if seen.insert(next) {
                let mut longer = way.clone();
                longer.push(next);
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn every_listed_module_exists() {
    for module in Levels::read().0.keys() {
        let place = root().join("src").join(module.iter().collect::<PathBuf>());
        let exists = place.with_extension("rs").exists() || place.join("mod.rs").exists();
        assert!(exists, "{}", module.join("::"));
    }
}

#[test]
fn use_lines_are_read_as_the_compiler_reads_them() {
    let source = "
//! use crate::comment;
use std::fmt;
use super::sibling::Item;
pub use self::child::{One, Two};
use super::{cousin as relative, uncle::{Big as Small}};
use crate::{
    a::{self, b::C},
    d as e,
};
#[cfg(test)]
mod tests;
fn f() { crate::inline::g(); }
#[cfg(test)]
mod more {
    use crate::ignored;
}
fn g() { crate::after::h(); }
";
    let got: BTreeSet<String> = imports(&path("x::y"), source)
        .iter()
        .map(|m| m.join("::"))
        .collect();
    let wanted = [
        "x::sibling::Item",
        "x::cousin",
        "x::uncle::Big",
        "x::y::child::One",
        "x::y::child::Two",
        "a",
        "a::b::C",
        "d",
        "inline::g",
        "after::h",
    ];
    assert_eq!(got, wanted.map(str::to_owned).into());
}
