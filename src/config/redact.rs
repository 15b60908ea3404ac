//! Reports go to logs: neither the value of `ids_key` nor what looks like a user name and password is
//! shown.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, HashSet},
};

use super::{suggest, tree::Node};

/// The key of a value that nobody is shown, by its letters.
const SECRET: &str = "idskey";

/// Whether `key` is the key of a secret, or was probably meant to be.
pub(super) fn is_secret(key: &str) -> bool {
    let letters: String = key.chars().filter(|c| c.is_alphanumeric()).collect();
    suggest::nearest(&letters, [SECRET]).is_some()
}

/// Masks secrets in the text of a file, character by character: what follows the key of one, or the
/// anchor (`&name`) that such a key refers to (`*name`). That is the rest of the line and, where the
/// value can go on, all below that belongs to it. By words, because a text that is not YAML is shown
/// as well.
pub(super) fn without_secrets(text: &str) -> String {
    let anchors: HashSet<&str> = text
        .lines()
        .filter_map(|line| anchor_name(at_secret_key(line)?.1.strip_prefix('*')?))
        .collect();
    let mut shown = String::with_capacity(text.len());
    // The line with the key whose value may go on.
    let mut open: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        if open.is_some_and(|first| !goes_on(first, line)) {
            open = None;
        }
        let mut value = line;
        if open.is_none() {
            let found = [at_secret_key(line), at_anchor(line, &anchors)];
            let first = found
                .into_iter()
                .flatten()
                .min_by_key(|(before, _)| before.len());
            let Some((before, after)) = first else {
                shown.push_str(line);
                continue;
            };
            // Not in a comment, and not within brackets that hold more.
            if !before.contains(['#', '{', '[', ',']) {
                open = Some(line);
            }
            value = after;
        }
        shown.push_str(line.strip_suffix(value).unwrap_or_default());
        shown.extend(
            value
                .chars()
                .map(|c| if c.is_whitespace() { c } else { '*' }),
        );
    }
    shown
}

/// Whether `line` belongs to the value of a key in the line `first`: it is indented deeper, or an item
/// of a list right below its key.
fn goes_on(first: &str, line: &str) -> bool {
    let body = line.trim_start();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_item = |line: &str| line.trim_start().starts_with("- ");
    match indent(line).cmp(&indent(first)) {
        Ordering::Greater => true,
        Ordering::Equal => is_item(line) && !is_item(first),
        Ordering::Less => body.is_empty(),
    }
}

/// What stands in `line` before the key of a secret, and its value. The key may have blanks in it.
fn at_secret_key(line: &str) -> Option<(&str, &str)> {
    const WORDS_MAX: usize = 3;
    let ends_word = |c: char| !(c.is_alphanumeric() || c == '_' || c == '-');
    let starts: Vec<usize> = line
        .split_inclusive(ends_word)
        .scan(0, |end, word| {
            let start = *end;
            *end += word.len();
            Some(start)
        })
        .collect();
    for (number, start) in starts.iter().enumerate() {
        let ends = starts.iter().skip(number + 1).copied().chain([line.len()]);
        for end in ends.take(WORDS_MAX) {
            let key = line.get(*start..end)?;
            if is_secret(key) {
                let value = line.get(end..)?;
                let value = value.trim_start_matches([':', '=', ' ', '\t', '"', '\'']);
                return Some((line.get(..*start)?, value));
            }
            if !key.ends_with([' ', '\t']) {
                break;
            }
        }
    }
    None
}

/// What stands in `line` before one of the anchors, and what is anchored.
fn at_anchor<'t>(line: &'t str, anchors: &HashSet<&str>) -> Option<(&'t str, &'t str)> {
    line.match_indices('&').find_map(|(at, _)| {
        let rest = line.get(at + 1..)?;
        let name = anchor_name(rest)?;
        anchors
            .contains(name)
            .then(|| Some((line.get(..at)?, rest.strip_prefix(name)?)))
            .flatten()
    })
}

/// The name of an anchor at the start of `text`.
fn anchor_name(text: &str) -> Option<&str> {
    text.split([' ', '\t', '\r', '\n', ',', '[', ']', '{', '}'])
        .next()
        .filter(|name| !name.is_empty())
}

/// The values of all secrets of a file. A rule that looks at another key may find one there, by a YAML
/// alias, and would quote it.
#[derive(Debug)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Shorter ones are words like any other, and too short for a key in any case.
    const CHARS_MIN: usize = 4;

    pub(super) fn of(root: &Node) -> Self {
        let mut found = BTreeSet::new();
        gather(root, false, &mut found);
        let as_quoted: Vec<String> = found
            .iter()
            .map(|secret| secret.escape_debug().to_string())
            .collect();
        found.extend(as_quoted);
        found.retain(|secret| secret.chars().count() >= Self::CHARS_MIN);
        let mut secrets: Vec<String> = found.into_iter().collect();
        // What is a part of another one is masked after it.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        Self(secrets)
    }

    /// `text` without them, and [`redacted`].
    pub(super) fn masked(&self, text: &str) -> String {
        self.0.iter().fold(redacted(text), |shown, secret| {
            shown.replace(secret.as_str(), "***")
        })
    }
}

/// Adds what stands at a secret's key: texts, numbers, and the keys of mappings.
fn gather(node: &Node, is_secret_here: bool, found: &mut BTreeSet<String>) {
    let value = match node {
        Node::Text { text, .. } => Some(text.trim().to_owned()),
        Node::Unsigned(number) => Some(number.to_string()),
        Node::Signed(number) => Some(number.to_string()),
        Node::Float(number) => Some(number.to_string()),
        Node::Null | Node::Bool(_) | Node::Tagged | Node::Sequence(_) | Node::Mapping(_) => None,
    };
    found.extend(value.filter(|_| is_secret_here));
    for (key, child) in node.children() {
        found.extend(key.filter(|_| is_secret_here).map(str::to_owned));
        gather(child, is_secret_here || key.is_some_and(is_secret), found);
    }
}

/// Masks what stands before an `@` in a word with a scheme (`http://user:password@host`) or a colon
/// (`user:password@host`), character by character, so that carets stay in place.
pub(super) fn redacted(text: &str) -> String {
    let mut shown: Vec<char> = text.chars().collect();
    let ends_word = |c: &char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    for word in shown.split_mut(ends_word) {
        let Some(at) = word.iter().rposition(|c| *c == '@') else {
            continue;
        };
        let scheme = word
            .windows(3)
            .position(|three| three == [':', '/', '/'])
            .map(|colon| colon + 3);
        let secret = word.get_mut(scheme.unwrap_or(0)..at).unwrap_or_default();
        if scheme.is_some() || secret.contains(&':') {
            secret.fill('*');
        }
    }
    shown.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{super::load, redacted, without_secrets};

    #[test]
    fn what_stands_before_an_at_sign_is_masked() {
        for (text, shown) in [
            ("app: http://u:p@host:80/x", "app: http://***@host:80/x"),
            ("{app: 'https://token@host'}", "{app: 'https://*****@host'}"),
            (
                "`http://u:p/w@x@host` has a path",
                "`http://*******@host` has a path",
            ),
            ("app: u:p@host", "app: ***@host"),
            ("# ask ops@example.com", "# ask ops@example.com"),
            ("path: /@{user}", "path: /@{user}"),
            ("http://host http://ü:ö@host", "http://host http://***@host"),
            ("plain", "plain"),
            ("@", "@"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
    }

    #[test]
    fn what_follows_the_key_of_a_secret_is_masked() {
        for (text, shown) in [
            ("ids_key: 3f2a", "ids_key: ****"),
            (
                "\"ids_key\": \"3f a\" # x\r\n",
                "\"ids_key\": \"** ** * *\r\n",
            ),
            ("ids-key: ä€", "ids-key: **"),
            ("IdsKey=3f2a", "IdsKey=****"),
            ("ids_key 3f2a", "ids_key ****"),
            ("{a: 1, ids_key: 3f2a, b: 2}", "{a: 1, ids_key: ***** ** **"),
            ("# ids_key: 3f2a\n  b: 2", "# ids_key: ****\n  b: 2"),
            (
                "a: 1\n- isd_key: |\n\n   3f2a\n  b\n- c",
                "a: 1\n- isd_key: *\n\n   ****\n  *\n- c",
            ),
            (
                "ids_key:\n  3f2a\nids: local",
                "ids_key:\n  ****\nids: local",
            ),
            (
                "tls: {key: /etc/tls/tls.key}",
                "tls: {key: /etc/tls/tls.key}",
            ),
            ("ids key: 3f2a", "ids key: ****"),
            (
                "ids_key:\n- 3f2a\n\n- b\nids: local",
                "ids_key:\n* ****\n\n* *\nids: local",
            ),
            (
                "a: [&x 3f2a, *x]\nb: &y c\nids_key: *x",
                "a: [&x ***** ***\nb: &y c\nids_key: **",
            ),
            ("a: &x\n  b: c\nids_key: *x", "a: &x\n  ** *\nids_key: **"),
            ("ids: local\n\n", "ids: local\n\n"),
            ("ids_key", "ids_key"),
        ] {
            assert_eq!(without_secrets(text), shown, "{text}");
        }
    }

    /// The rest of a file, so that the key alone is wrong.
    const REST: &str = "version: 1\nlisteners: [{address: '127.0.0.1:0'}]\nupstreams: {app: 'http://app'}\n\
                        routes: [{path: /other, action: proxy}]";

    #[test]
    fn no_report_shows_the_key_of_ids() {
        for wrong in [
            "ids_key: 3f2a",
            "ids-key: 3f2a",
            "idskey: 3f2a",
            "ids_key: 3f2a\nids_key: 3f2a",
            "ids_key: 7313773137731377",
            "ids_key: 0.731377",
            "ids_key: [3f2a]",
            "ids_key: {3f2a: 3f2a}",
            "ids_key: |\n  3f2a",
            "ids_key: |\n  3f2a\n x: y",
            "ids_key: |\n  3f2a\n b",
            "ids_key:\n  - 3f2a\n  - a: b: c",
            "ids_key: \"3f2a",
            "ids_key: \"3f2a\" 3f2a",
            "ids_key: '3f2a': 3f2a",
            "ids_key: !secret 3f2a",
            "ids_key: *3f2a",
            "ids_key: 3f2a\n\tids_key: 3f2a",
            "ids_key 3f2a",
            "ids_key=3f2a",
            "ids_key=3f2a: {}",
            "{ids_key:3f2a}",
            "ids key: 3f2a",
            "ids  key = 3f2a",
            "limits: {ids key: 3f2a}",
            "ids_key:\n- 3f2a\n- a: b: c",
            "other: &a 3f2a\nids_key: *a",
            "other: &a\n  - 3f2a\nids_key: *a",
            "other: &a |\n  3f2a\n b\nids_key: *a",
            "other: &a 3f2a\nids_key: *a\n\tb: c",
            "limits: {channels_max: &a 3f2a}\nids_key: *a",
            "limits: {other: &a 3f2a, ids_key: *a}",
            "limits: &a {channels_max: 3f2a}\nids_key: *a",
            "ids_key: &a 3f2a\nlimits: {channels_max: *a}",
            "ids_key: &a \"3f2a\\t\\e\"\nlog: {format: *a}",
            "limits: {ids_key: 3f2a}",
            "limits: {channel_max: 5, ids_key: 3f2a}",
            "routes: [{ids_key: 3f2a}]",
        ] {
            for source in [wrong.to_owned(), format!("{wrong}\n{REST}")] {
                let report = load(&source, "bad.yaml", &|_| None).unwrap_err();
                let shown = format!("{report}{}", serde_json::to_string(&report).unwrap());
                for part in ["3f2a", "731377"] {
                    assert!(!shown.contains(part), "{source}:\n{report}");
                }
            }
        }
    }
}
