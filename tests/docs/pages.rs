//! Examples load, and links lead somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{load, root};

/// The pages for users and developers.
fn pages() -> Vec<PathBuf> {
    ["", "docs", "k8s", "loadtest", "tests/real"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

#[test]
fn every_configuration_on_a_page_loads() {
    let mut loaded = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let source = block.split("```").next().unwrap();
            if !source.contains("version: 1") {
                continue;
            }
            if let Err(report) = load(source) {
                panic!("{}:\n{report}", page.display());
            }
            loaded += 1;
        }
    }
    assert!(loaded >= 8, "{loaded} configurations");
}

/// GitHub's name of a heading in a link.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let place = format!("{}: {link}", page.display());
            assert!(target.exists(), "{place}");
            let has_heading = |target: &Path| {
                let text = fs::read_to_string(target).unwrap();
                text.lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line.trim_start_matches('#').trim()) == heading)
            };
            assert!(heading.is_empty() || has_heading(&target), "{place}");
        }
    }
}
