//! Each promise names what holds it: tests that exist, or commands with what they check.
//!
//! A proof is a file or a command, and names behind it: `tests/x.rs`: `a_test`, `another_one`.

use crate::{quoted, read, root};

/// Where the names of a proof stand.
struct Place {
    name: String,
    text: String,
    /// Says nothing by itself, without a name of what is in it.
    is_file: bool,
}

impl Place {
    /// `None`: what is quoted is a name in the place before.
    fn of(quoted: &str) -> Option<Self> {
        const FILES: [&str; 3] = [".rs", ".mjs", ".py"];
        let is_file = FILES.iter().any(|ending| quoted.ends_with(ending));
        let text = match quoted.split_once(' ') {
            _ if is_file => read(quoted),
            Some(("make", target)) => recipe(target),
            Some(("loadtest/run.sh", scenario)) => thresholds(scenario),
            Some(("loadtest/peers/run.sh", shape)) => bars(shape),
            _ => return None,
        };
        Some(Self {
            name: quoted.to_owned(),
            text,
            is_file,
        })
    }

    /// Functions of a file are tests; anything else stands there word for word.
    fn has(&self, name: &str) -> bool {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !self.is_file || !name.bytes().all(is_word) {
            return self.text.contains(name);
        }
        if self.name.ends_with(".py") {
            return name.starts_with("test_") && self.text.contains(&format!("def {name}("));
        }
        let Some((before, _)) = self.text.split_once(&format!("fn {name}(")) else {
            return false;
        };
        let attributes = before.rsplit("\n\n").next().unwrap();
        attributes.contains("#[test]") || attributes.contains("#[tokio::test")
    }
}

fn recipe(target: &str) -> String {
    let makefile = read("Makefile");
    let rule = makefile.split(&format!("\n{target}: ")).nth(1);
    let rule = rule.unwrap_or_else(|| panic!("no target {target} in the Makefile"));
    rule.split("\n\n").next().unwrap().to_owned()
}

/// Of a scenario in a file, or the script that has one of its own.
fn thresholds(scenario: &str) -> String {
    let file = format!("loadtest/scenarios/{scenario}.yaml");
    if root().join(&file).exists() {
        let text = read(&file);
        return text.split("\nthresholds:\n").nth(1).unwrap().to_owned();
    }
    let script = read("loadtest/run.sh");
    let is_there = script.contains(&format!("\n{scenario}() {{"));
    assert!(is_there, "no scenario {scenario}");
    script
}

/// What a shape is held to, each bar on a line.
fn bars(shape: &str) -> String {
    let shapes = read("loadtest/peers/shapes.sh");
    assert!(shapes.contains(&format!("\n    {shape})")), "no {shape}");
    let bars = read("loadtest/src/ratios/bars.rs");
    let bars = bars.split("bar(").skip(1);
    let lines = bars.map(|bar| bar.split_whitespace().collect::<Vec<_>>().join(" "));
    let of_shape = lines.filter(|line| line.starts_with(&format!("\"{shape}\"")));
    of_shape.collect::<Vec<_>>().join("\n")
}

/// Proofs by promise, from all tables of promises on a page.
fn promises(page: &str) -> Vec<(String, String)> {
    let mut is_table = false;
    let mut promises = Vec::new();
    for line in read(page).lines() {
        if line.starts_with("| promise |") {
            is_table = true;
        } else if !line.starts_with('|') {
            is_table = false;
        } else if is_table && !line.starts_with("|--") {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            let [promise, proof] = cells[..] else {
                panic!("{page}: two cells: {line}");
            };
            promises.push((promise.trim().to_owned(), proof.to_owned()));
        }
    }
    promises
}

fn proofs_exist(page: &str, least: usize) {
    let promises = promises(page);
    for (promise, proof) in &promises {
        let mut named = 0;
        let mut place: Option<Place> = None;
        for quoted in quoted(proof) {
            if let Some(next) = Place::of(quoted) {
                let is_empty = place.is_some_and(|place| place.is_file) && named == 0;
                assert!(!is_empty, "{page}: {promise}: a file without a test");
                named = 0;
                place = Some(next);
                continue;
            }
            let place = place.as_ref().expect("a place before a name");
            assert!(place.has(quoted), "{page}: {}: {quoted}", place.name);
            named += 1;
        }
        let place = place.unwrap_or_else(|| panic!("{page}: nothing holds: {promise}"));
        assert!(named > 0 || !place.is_file, "{page}: {promise}: no test");
    }
    let count = promises.len();
    assert!(count >= least, "{page}: {count} promises");
}

#[test]
fn the_proofs_of_security_exist() {
    proofs_exist("SECURITY.md", 20);
}

#[test]
fn the_proofs_of_the_specification_exist() {
    proofs_exist("SPECIFICATION.md", 60);
}
