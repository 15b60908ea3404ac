//! Reports go to logs: what looks like a user name and password is not shown.

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
    use super::redacted;

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
}
