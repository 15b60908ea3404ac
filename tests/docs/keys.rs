//! Each key of the schema stands on the page once.

use std::collections::BTreeSet;

use crate::{documented, keys, quoted};

#[test]
fn every_key_stands_on_the_page_once_and_no_other() {
    let (keys, rows) = (keys(), documented());
    assert!(keys.len() > 80, "{} keys in the schema", keys.len());
    let known: BTreeSet<&String> = keys.keys().collect();
    let shown: BTreeSet<&String> = rows.keys().collect();
    let missing: Vec<_> = known.difference(&shown).collect();
    let unknown: Vec<_> = shown.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/configuration.md misses {missing:?}, and has {unknown:?}, which the schema does not know"
    );
    for (path, row) in &rows {
        let words = ["now", "next", "ends", "restart", "-"];
        let reload = &row.reload;
        assert!(words.contains(&reload.as_str()), "{path}: {reload}");
        for word in &keys[path].words {
            let is_shown = quoted(&row.allowed).any(|shown| shown == word);
            assert!(is_shown, "{path} may be `{word}`");
        }
    }
}
