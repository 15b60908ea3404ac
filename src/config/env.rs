//! `${NAME}` and `${NAME:-default}` in values. The environment is an argument.

/// Looks up a variable.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Fills in the variables of `text`; `None` when it has none and no `$$`.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
pub(super) fn substitute(text: &str, env: &Env<'_>) -> Result<Option<String>, String> {
    if !text.contains("${") && !text.contains("$$") {
        return Ok(None);
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
    Ok(Some(filled))
}

/// The value of `NAME` or `NAME:-default`. As in a shell, the default also replaces an empty value.
fn lookup(variable: &str, env: &Env<'_>) -> Result<String, String> {
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
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
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
    use super::substitute;

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
            ("plain", None),
            ("5$ and $x", None),
            ("${PORT}", Some("8080")),
            ("http://${HOST}:${PORT}/", Some("http://app:8080/")),
            ("${NOPE:-3000}", Some("3000")),
            ("${NOPE:-}", Some("")),
            ("${EMPTY:-3000}", Some("3000")),
            ("${EMPTY}", Some("")),
            ("${PORT:-1}", Some("8080")),
            ("$${PORT}", Some("${PORT}")),
            ("$$", Some("$")),
            ("$$$${PORT}$", Some("$${PORT}$")),
            ("$$${PORT}", Some("$8080")),
            ("${TRICK}", Some("${PORT}")),
        ] {
            let filled = substitute(text, &env).unwrap();
            assert_eq!(filled.as_deref(), expected, "{text}");
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
        ] {
            let error = substitute(text, &env).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
