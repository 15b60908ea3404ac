//! `auto`, `off`, or a time.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::units::Time;

/// `auto`, `off`, or the longest silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// By the rhythm of the app's comments.
    Auto,
    /// Never.
    Off,
    /// After this long.
    After(Time),
}

impl<'de> Deserialize<'de> for Watchdog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl de::Visitor<'_> for Form {
            type Value = Watchdog;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto`, `off`, or a duration such as `60s`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Watchdog, E> {
                match text {
                    "auto" => Ok(Watchdog::Auto),
                    "off" => Ok(Watchdog::Off),
                    _ if text.starts_with(|first: char| first.is_ascii_digit()) => {
                        Time::parse(text).map(Watchdog::After).map_err(E::custom)
                    }
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Watchdog, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for Watchdog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Off => serializer.serialize_str("off"),
            Self::After(time) => time.serialize(serializer),
        }
    }
}

impl JsonSchema for Watchdog {
    fn schema_name() -> Cow<'static, str> {
        "Watchdog".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Time>();
        json_schema!({
            "description": "`auto`, `off`, or a duration.",
            "anyOf": [ { "enum": ["auto", "off"] }, time ],
        })
    }
}
