//! What makes two events the same thing at two moments.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where the key of an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyBy {
    /// Its type.
    Event,
    /// The app's id.
    Id,
    /// A value in its data, which is JSON.
    Data(JsonPointer),
}

/// A place in a JSON document (RFC 6901), below its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(Vec<String>);

impl JsonPointer {
    /// The names on the way, from the root on.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.0
    }

    /// `None`: a `~` that is neither `~0` nor `~1`, or no slash in front.
    fn parse(text: &str) -> Option<Self> {
        let steps = text.strip_prefix('/')?.split('/');
        let steps = steps.map(|step| {
            let is_escaped = step.split('~').skip(1).all(|b| b.starts_with(['0', '1']));
            is_escaped.then(|| step.replace("~1", "/").replace("~0", "~"))
        });
        steps.collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl<'de> Deserialize<'de> for KeyBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl de::Visitor<'_> for Form {
            type Value = KeyBy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`event`, `id`, or a JSON pointer into the data such as `/symbol`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyBy, E> {
                match text {
                    "event" => Ok(KeyBy::Event),
                    "id" => Ok(KeyBy::Id),
                    _ => JsonPointer::parse(text)
                        .map(KeyBy::Data)
                        .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for KeyBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Event => serializer.serialize_str("event"),
            Self::Id => serializer.serialize_str("id"),
            Self::Data(pointer) => serializer.collect_str(pointer),
        }
    }
}

impl JsonSchema for KeyBy {
    fn schema_name() -> Cow<'static, str> {
        "KeyBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`event`, `id`, or a JSON pointer into the data.",
            "anyOf": [
                { "enum": ["event", "id"] },
                { "type": "string", "pattern": "^(/([^~/]|~[01])*)+$" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_and_written_by_the_rfc() {
        for (text, steps) in [
            ("/symbol", Some(&["symbol"][..])),
            ("/a/0", Some(&["a", "0"])),
            ("/a~1b/m~0n", Some(&["a/b", "m~n"])),
            ("/~01", Some(&["~1"])),
            ("/", Some(&[""])),
            ("", None),
            ("symbol", None),
            ("/a~", None),
            ("/a~2", None),
        ] {
            let pointer = JsonPointer::parse(text);
            assert_eq!(pointer.is_some(), steps.is_some(), "{text}");
            if let Some(pointer) = pointer {
                assert_eq!(
                    Some(
                        pointer
                            .steps()
                            .iter()
                            .map(String::as_str)
                            .collect::<Vec<_>>()
                            .as_slice()
                    ),
                    steps
                );
                assert_eq!(pointer.to_string(), text);
            }
        }
    }
}
