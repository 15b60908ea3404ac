//! Path patterns: `/prices/{symbol}`, `/files/{name}.json`, `/files/{*rest}`.

/// Deeper patterns are refused: a bound on the recursion of the search.
const SEGMENTS_MAX: usize = 64;

/// What one segment of a path must be, from the most to the least specific.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    /// This text.
    Text(String),
    /// Any text that is not empty, between these two. A parameter's name tells nothing apart.
    Parameter {
        /// Before it.
        prefix: String,
        /// After it.
        suffix: String,
    },
    /// This and all segments after it; may be one empty segment.
    Rest,
}

/// Splits a pattern into its segments.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
pub(super) fn parse(pattern: &str) -> Result<Vec<Segment>, String> {
    let Some(path) = pattern.strip_prefix('/') else {
        return Err(format!("a path starts with `/`; write `/{pattern}`"));
    };
    let segments = path
        .split('/')
        .map(segment)
        .collect::<Result<Vec<_>, _>>()?;
    let rest = segments
        .iter()
        .position(|segment| *segment == Segment::Rest);
    if rest.is_some_and(|index| index + 1 < segments.len()) {
        return Err("`{*name}` takes all that follows; let nothing follow it".to_owned());
    }
    if segments.len() > SEGMENTS_MAX {
        return Err(format!(
            "a path has at most {SEGMENTS_MAX} segments; end it with `{{*rest}}`"
        ));
    }
    Ok(segments)
}

fn segment(text: &str) -> Result<Segment, String> {
    let mut rest = text;
    let mut literal = String::new();
    let mut prefix: Option<String> = None;
    while let Some(open) = rest.find(['{', '}']) {
        let (before, from_brace) = rest.split_at(open);
        literal.push_str(before);
        if from_brace.starts_with("{{") || from_brace.starts_with("}}") {
            literal.push_str(from_brace.get(..1).unwrap_or_default());
            rest = from_brace.get(2..).unwrap_or_default();
            continue;
        }
        let Some((name, after)) = from_brace
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        else {
            return Err("the braces do not pair; write `{name}`, or `{{` for a brace".to_owned());
        };
        let (is_rest, name) = name
            .strip_prefix('*')
            .map_or((false, name), |name| (true, name));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("a parameter needs a name; use letters, digits and `_`".to_owned());
        }
        if is_rest && text.len() == name.len() + "{*}".len() {
            return Ok(Segment::Rest);
        }
        if is_rest {
            return Err(format!(
                "`{{*{name}}}` must be a whole segment; write `/{{*{name}}}`"
            ));
        }
        if prefix.is_some() {
            return Err("a segment has one parameter at most; put a `/` between them".to_owned());
        }
        prefix = Some(std::mem::take(&mut literal));
        rest = after;
    }
    literal.push_str(rest);
    Ok(match prefix {
        Some(prefix) => Segment::Parameter {
            prefix,
            suffix: literal,
        },
        None => Segment::Text(literal),
    })
}

impl Segment {
    /// Whether a parameter takes this segment of a path.
    pub(super) fn takes(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => own == text,
            Self::Parameter { prefix, suffix } => text
                .strip_prefix(prefix.as_str())
                .and_then(|text| text.strip_suffix(suffix.as_str()))
                .is_some_and(|value| !value.is_empty()),
            Self::Rest => true,
        }
    }

    /// Sorts parameters: the longer the fixed part, the more specific.
    pub(super) fn fixed_bytes(&self) -> usize {
        match self {
            Self::Text(own) => own.len(),
            Self::Parameter { prefix, suffix } => prefix.len() + suffix.len(),
            Self::Rest => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, parse};

    #[test]
    fn patterns_are_split_into_segments() {
        let text = |text: &str| Segment::Text(text.to_owned());
        let parameter = |prefix: &str, suffix: &str| Segment::Parameter {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
        };
        for (pattern, expected) in [
            ("/", vec![text("")]),
            ("/a", vec![text("a")]),
            ("/a/", vec![text("a"), text("")]),
            ("/a/{x}/b", vec![text("a"), parameter("", ""), text("b")]),
            ("/a-{x}.json", vec![parameter("a-", ".json")]),
            ("/{*rest}", vec![Segment::Rest]),
            ("/a/{*rest}", vec![text("a"), Segment::Rest]),
            ("/{{a}}", vec![text("{a}")]),
            ("/{{{x}}}", vec![parameter("{", "}")]),
        ] {
            assert_eq!(parse(pattern).as_deref(), Ok(&expected[..]), "{pattern}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        let deep = "/a".repeat(65);
        for (pattern, expected) in [
            ("prices", "write `/prices`"),
            ("", "a path starts with `/`"),
            ("/a/{", "do not pair"),
            ("/a/}", "do not pair"),
            ("/a/{x/y}", "do not pair"),
            ("/a/{}", "needs a name"),
            ("/a/{*}", "needs a name"),
            ("/a/{x y}", "needs a name"),
            ("/a/{x}{y}", "one parameter at most"),
            ("/a/{*rest}/b", "let nothing follow"),
            ("/a/b{*rest}", "must be a whole segment"),
            ("/a/{*rest}b", "must be a whole segment"),
            ("/{x}{*rest}", "must be a whole segment"),
            (&deep, "at most 64 segments"),
        ] {
            let error = parse(pattern).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    }
}
