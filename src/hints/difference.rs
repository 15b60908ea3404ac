//! By what channel keys differ. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    hash::{BuildHasher, RandomState},
};

use http::header::COOKIE;

use crate::{logging::Clip, route::key::ChannelKey};

/// Channels of one target from which on their number says something.
const CROWD: usize = 100;

/// Keys that are compared: so many say as much as all.
const SAMPLE_MAX: usize = 1_000;

/// Cookies of one key that are looked at.
const COOKIES_MAX: usize = 64;

/// Names that are told.
const NAMES_MAX: usize = 5;

/// By what keys differ, each with a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Difference(pub(super) Vec<(String, usize)>);

impl Difference {
    /// What is not the same in all of `keys`, with the number of its values; none counts as one.
    pub(super) fn of<'k>(keys: impl IntoIterator<Item = &'k ChannelKey>) -> Self {
        // Of values only hashes are kept, and those for no longer than this.
        let hasher = RandomState::new();
        let (mut total, mut found) = (0, HashMap::<String, (usize, HashSet<u64>)>::new());
        for key in keys {
            total += 1;
            for (name, hash) in parts(key, &hasher) {
                let (holders, values) = found.entry(name).or_default();
                *holders += 1;
                values.insert(hash);
            }
        }
        let count = |(name, (holders, values)): (_, (usize, HashSet<u64>))| {
            (name, values.len() + usize::from(holders < total))
        };
        let differing = found.into_iter().map(count).filter(|(_, n)| *n > 1);
        Self(differing.collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(differing, _)| differing == name)
    }
}

/// The names with the highest numbers first.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.0.iter().collect();
        names.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        for (index, (name, number)) in names.iter().take(NAMES_MAX).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} ({number})", Clip::new(name))?;
        }
        match names.len().saturating_sub(NAMES_MAX) {
            0 => Ok(()),
            more => write!(f, ", {more} more"),
        }
    }
}

/// The parts of a key by name, with hashes of their values.
fn parts(key: &ChannelKey, hasher: &RandomState) -> BTreeMap<String, u64> {
    let mut parts = BTreeMap::new();
    let mut note = |name: String, value: &[u8]| {
        let hash = parts.entry(name).or_default();
        *hash = hasher.hash_one((*hash, value));
    };
    let (path, query) = match key.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (key.target.as_str(), None),
    };
    note("scheme".to_owned(), key.scheme.as_str().as_bytes());
    note("host".to_owned(), key.host.as_bytes());
    note("path".to_owned(), path.as_bytes());
    if let Some(query) = query {
        note("query".to_owned(), query.as_bytes());
    }
    for (name, value) in &key.headers {
        if *name != COOKIE {
            note(format!("header {name}"), value);
            continue;
        }
        let pairs = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        for pair in pairs.take(COOKIES_MAX) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = halves.next().unwrap_or_default();
            let value = halves.next().unwrap_or_default();
            note(format!("cookie {}", String::from_utf8_lossy(name)), value);
        }
    }
    parts
}

/// Whether most channels of a route, whose keys these are, have one target and differ by identity
/// alone; and by what of it.
#[must_use]
pub fn split<'k>(keys: impl Iterator<Item = &'k ChannelKey>) -> Option<String> {
    let mut by_target: HashMap<_, Vec<&ChannelKey>> = HashMap::new();
    let mut total = 0;
    for key in keys {
        total += 1;
        let target = (key.scheme, key.host.as_str(), key.target.as_str());
        by_target.entry(target).or_default().push(key);
    }
    let alike = by_target.into_values().max_by_key(Vec::len)?;
    if alike.len() < CROWD || alike.len() * 2 <= total {
        return None;
    }
    let channels = alike.len();
    let difference = Difference::of(alike.into_iter().take(SAMPLE_MAX));
    Some(format!(
        "{channels} of {total} channels have one target; what differs: {difference}"
    ))
}

#[cfg(test)]
pub(super) mod testing {
    use bytes::Bytes;

    use super::*;
    use crate::route::key::Scheme;

    pub(crate) fn key(target: &str, cookie: &str) -> ChannelKey {
        ChannelKey {
            route: "feed".to_owned(),
            scheme: Scheme::Http,
            host: "h".to_owned(),
            target: target.to_owned(),
            headers: vec![(COOKIE, Bytes::copy_from_slice(cookie.as_bytes()))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::key, *};

    fn told(keys: &[ChannelKey]) -> Option<String> {
        split(keys.iter())
    }

    #[test]
    fn many_channels_of_one_target_are_told_by_what_they_differ_and_never_by_value() {
        let keys: Vec<_> = (0..300)
            .map(|n| {
                let session = n / 3;
                key(
                    "/a",
                    &format!("theme=dark; _ga={n}; session=secret{session}"),
                )
            })
            .collect();
        assert_eq!(
            told(&keys).unwrap(),
            "300 of 300 channels have one target; what differs: \
             cookie _ga (300), cookie session (100)"
        );
    }

    #[test]
    fn few_channels_and_those_of_many_targets_say_nothing() {
        for (count, targets, expected) in [
            (0, 1, false),
            (CROWD - 1, 1, false),
            (CROWD, 1, true),
            (500, 500, false),
            (400, 2, false),
        ] {
            let of = |n: usize| key(&format!("/{}", n % targets), &format!("s={n}"));
            let keys: Vec<_> = (0..count).map(of).collect();
            assert_eq!(
                told(&keys).is_some(),
                expected,
                "{count} over {targets} targets"
            );
        }
    }

    #[test]
    fn what_some_keys_lack_differs() {
        let with = |headers: &[(&'static str, &'static str)], target: &str| {
            let of = |(name, value): &(&'static str, &'static str)| {
                let name = http::HeaderName::from_static(name);
                (name, bytes::Bytes::from_static(value.as_bytes()))
            };
            ChannelKey {
                headers: headers.iter().map(of).collect(),
                ..key(target, "")
            }
        };
        for (a, b, expected) in [
            (
                with(&[("authorization", "x")], "/a"),
                with(&[], "/a"),
                "header authorization (2)",
            ),
            (with(&[], "/a?b=1"), with(&[], "/a"), "query (2)"),
            (with(&[], "/a"), with(&[], "/b"), "path (2)"),
            (
                with(&[("cookie", "a=1; b=2")], "/a"),
                with(&[("cookie", "a=1")], "/a"),
                "cookie b (2)",
            ),
            (
                with(&[("cookie", "a=1")], "/a"),
                with(&[("cookie", "a=1")], "/a"),
                "",
            ),
        ] {
            assert_eq!(Difference::of([&a, &b]).to_string(), expected);
        }
    }

    #[test]
    fn names_that_clients_made_up_neither_break_the_line_nor_fill_it() {
        let keys: Vec<_> = (0..CROWD)
            .map(|n| {
                let many: Vec<_> = (0..COOKIES_MAX).map(|i| format!("c{i:02}={n}")).collect();
                key("/a", &format!("\u{1b}[2J={n}; {}", many.join("; ")))
            })
            .collect();
        let told = told(&keys).unwrap();
        let names = told.split("what differs: ").nth(1).unwrap();
        assert_eq!(
            names,
            "cookie \\u{1b}[2J (100), cookie c00 (100), cookie c01 (100), cookie c02 (100), \
             cookie c03 (100), 59 more"
        );
    }
}
