//! Reports go to logs: neither the value of `ids_key` nor what looks like a user name and password is
//! shown.

use super::suggest;

/// The key of a value that nobody is shown, by its letters.
const SECRET: &str = "idskey";

/// Whether `key` is the key of a secret, or was probably meant to be.
pub(super) fn is_secret(key: &str) -> bool {
    let letters: String = key.chars().filter(|c| c.is_alphanumeric()).collect();
    suggest::nearest(&letters, [SECRET]).is_some()
}

/// Masks what follows the key of a secret, character by character: the rest of its line, and where
/// the key begins the line all below that is indented deeper. By words, because a text that is not
/// YAML is shown as well.
pub(super) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // The indentation of the key whose value may go on.
    let mut open: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if !body.is_empty() && open.is_some_and(|key| indent <= key) {
            open = None;
        }
        let mut value = line;
        if open.is_none() {
            let Some((before, after)) = at_secret_key(line) else {
                shown.push_str(line);
                continue;
            };
            // Not in a comment, and not within brackets that hold more.
            if before
                .trim_matches([' ', '\t', '-', '?', '"', '\''])
                .is_empty()
            {
                open = Some(indent);
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

/// What stands in `line` before the key of a secret, and its value.
fn at_secret_key(line: &str) -> Option<(&str, &str)> {
    let ends_word = |c: char| !(c.is_alphanumeric() || c == '_' || c == '-');
    let mut at = 0;
    for word in line.split_inclusive(ends_word) {
        let (before, key) = line.split_at_checked(at)?;
        if is_secret(word) {
            let value = key.strip_prefix(word)?;
            return Some((
                before,
                value.trim_start_matches([':', '=', ' ', '\t', '"', '\'']),
            ));
        }
        at += word.len();
    }
    None
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
