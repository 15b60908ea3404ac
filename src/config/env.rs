//! `${NAME}` and `${NAME:-default}` in values. The environment is an argument.
//!
//! As in a shell, the default also takes the place of an empty value, and `${NAME}` of a variable
//! that is set but empty is the empty text. A key's value that is `${NAME:-}` and nothing else may
//! stay away: without a value the key reads as if it were not written. An item of a list may not.

/// Looks up a variable.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Substituted {
    /// It has no variable and no `$$`.
    Unchanged,
    /// With its variables filled in.
    Text(String),
    /// It is `${NAME:-}`, and there is no value.
    Absent,
}

/// Fills in the variables of `text`.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
pub(super) fn substitute(text: &str, env: &Env<'_>) -> Result<Substituted, String> {
    if !text.contains("${") && !text.contains("$$") {
        return Ok(Substituted::Unchanged);
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(dollar);
        filled.push_str(before);
        if let Some(after) = from_dollar.strip_prefix("$$") {
            filled.push('$');
            rest = after;
        } else if let Some(inner) = from_dollar.strip_prefix("${") {
            let (variable, after) = inner
                .split_once('}')
                .ok_or("`${` without `}`; write `${NAME}`, or `$$` for a dollar sign")?;
            filled.push_str(&lookup(variable, env)?);
            rest = after;
        } else {
            filled.push('$');
            rest = from_dollar.strip_prefix('$').unwrap_or_default();
        }
    }
    filled.push_str(rest);
    Ok(if filled.is_empty() && may_stay_away(text) {
        Substituted::Absent
    } else {
        Substituted::Text(filled)
    })
}

fn may_stay_away(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|text| text.strip_suffix(":-}"))
        .is_some_and(is_name)
}

/// The value of `NAME` or `NAME:-default`.
fn lookup(variable: &str, env: &Env<'_>) -> Result<String, String> {
    if variable.contains("${") {
        return Err(
            "a variable within `${...}` is not supported; write one plain default, as in \
             `${NAME:-3000}`, and choose between variables where Sidestream is started"
                .to_owned(),
        );
    }
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    if !is_name(name) {
        return Err(format!(
            "`{name}` is not a name of an environment variable; use letters, digits and `_`, \
             or write `$$` for a dollar sign"
        ));
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.replace("$$", "$")),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.replace("$$", "$")),
        (None, None) => Err(format!(
            "environment variable `{name}` is not set; set it, or give a default: `${{{name}:-...}}`"
        )),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{Substituted, substitute};

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".to_owned()),
            "HOST" => Some("app".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${PORT}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, expected) in [
            ("${PORT}", Some("8080")),
            ("http://${HOST}:${PORT}/", Some("http://app:8080/")),
            ("${NOPE:-3000}", Some("3000")),
            ("${NOPE:-}x", Some("x")),
            ("${NOPE:-a$$b}", Some("a$b")),
            ("${EMPTY}${NOPE:-}", Some("")),
            ("${NOPE:-}", None),
            ("${EMPTY:-}", None),
            ("${EMPTY:-3000}", Some("3000")),
            ("${EMPTY}", Some("")),
            ("${PORT:-1}", Some("8080")),
            ("$${PORT}", Some("${PORT}")),
            ("$$", Some("$")),
            ("$$$${PORT}$", Some("$${PORT}$")),
            ("$$${PORT}", Some("$8080")),
            ("${TRICK}", Some("${PORT}")),
        ] {
            let expected = expected.map_or(Substituted::Absent, |text: &str| {
                Substituted::Text(text.to_owned())
            });
            assert_eq!(substitute(text, &env), Ok(expected), "{text}");
        }
        for text in ["plain", "", "5$ and $x"] {
            assert_eq!(substitute(text, &env), Ok(Substituted::Unchanged), "{text}");
        }
    }

    #[test]
    fn wrong_variables_are_refused() {
        for (text, expected) in [
            ("${NOPE}", "`NOPE` is not set"),
            ("${PORT", "`${` without `}`"),
            ("${}", "`` is not a name"),
            ("${1A}", "`1A` is not a name"),
            ("${A B}", "`A B` is not a name"),
            ("${A-b}", "`A-b` is not a name"),
            ("${NOPE:-${PORT}}", "a variable within `${...}`"),
            ("${PORT:-a${NOPE}b}", "a variable within `${...}`"),
            ("${${PORT}}", "a variable within `${...}`"),
        ] {
            let error = substitute(text, &env).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
