//! Why a value cannot be decoded: serde's errors, in our words and with a hint.

use std::fmt;

use serde::de;

use super::{
    document::Finding,
    raw::Defaults,
    redact::without_secrets,
    suggest,
    tree::{Node, Spot},
};

/// Why a value cannot be decoded.
#[derive(Debug)]
pub(super) struct Error {
    message: String,
    hint: Option<String>,
    /// Where; `None` until the decoder that stands there has seen it.
    pub(super) spot: Option<Spot>,
    /// The key that is missing, if that is the matter.
    pub(super) missing: Option<&'static str>,
    unknown_key: bool,
}

impl Error {
    pub(super) fn new(message: String, hint: Option<String>) -> Self {
        Self {
            message,
            hint,
            spot: None,
            missing: None,
            unknown_key: false,
        }
    }

    pub(super) fn wanted(expected: &dyn fmt::Display, found: &Node) -> Self {
        let is_plain = matches!(
            found,
            Node::Bool(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_)
        );
        let hint =
            (is_plain && expected.to_string() == A_TEXT).then(|| "write it in quotes".to_owned());
        Self::new(
            format!("expected {expected}, found {}", found.describe()),
            hint,
        )
    }

    /// The same of a value that is not shown.
    pub(super) fn wanted_of_secret(expected: &dyn fmt::Display) -> Self {
        Self::new(
            format!("expected {expected}, found something else"),
            Some("write it in quotes".to_owned()),
        )
    }

    pub(super) fn into_finding(self, spot: &Spot) -> Finding {
        let mut finding = Finding::new(spot.clone(), &self.message);
        finding.on_key = self.unknown_key;
        finding.hint = self.hint.or(finding.hint);
        finding
    }

    /// Where it happened, unless something deeper said so already.
    pub(super) fn at(mut self, spot: &Spot) -> Self {
        self.spot.get_or_insert_with(|| spot.clone());
        self
    }
}

/// What a plain `String` field expects.
pub(super) const A_TEXT: &str = "a text";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// "did you mean", then all that is allowed.
fn choices(word: &str, allowed: &[&'static str]) -> String {
    let list = allowed
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match suggest::nearest(word, allowed.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("allowed: {list}"),
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Map => "a mapping".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
            de::Unexpected::Str(text) => format!("the text `{}`", text.escape_debug()),
            de::Unexpected::Unsigned(number) => format!("the number {number}"),
            de::Unexpected::Signed(number) => format!("the number {number}"),
            de::Unexpected::Float(number) => format!("the number {number}"),
            other @ (de::Unexpected::Bool(_)
            | de::Unexpected::Char(_)
            | de::Unexpected::Bytes(_)
            | de::Unexpected::NewtypeStruct
            | de::Unexpected::Enum
            | de::Unexpected::UnitVariant
            | de::Unexpected::NewtypeVariant
            | de::Unexpected::TupleVariant
            | de::Unexpected::StructVariant
            | de::Unexpected::Other(_)) => other.to_string(),
        };
        Self::new(format!("expected {expected}, found {found}"), None)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(
            format!(
                "`{}` is not a value that is allowed here",
                word.escape_debug()
            ),
            Some(choices(word, allowed)),
        )
    }

    fn unknown_field(key: &str, allowed: &'static [&'static str]) -> Self {
        let message = format!("unknown key `{}`", without_secrets(key).escape_debug());
        // The one slip that is no slip of the pen: a fan-out setting at the top of the file.
        let misplaced = allowed.contains(&"defaults") && Defaults::KEYS.contains(&key);
        let hint = if misplaced {
            "it is a setting of fan-out routes; put it under a route, or under `defaults`"
                .to_owned()
        } else {
            choices(key, allowed)
        };
        Self {
            unknown_key: true,
            ..Self::new(message, Some(hint))
        }
    }

    fn missing_field(key: &'static str) -> Self {
        Self {
            missing: Some(key),
            ..Self::new(format!("key `{key}` is missing here"), None)
        }
    }
}
