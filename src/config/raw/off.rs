//! A duration that may be `off`.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::super::units::Time;

/// A duration, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOrOff(pub Option<Time>);

impl From<Option<Duration>> for TimeOrOff {
    fn from(time: Option<Duration>) -> Self {
        Self(time.map(Time))
    }
}

impl<'de> Deserialize<'de> for TimeOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = TimeOrOff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `15s`, or `off`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeOrOff, E> {
                if text == "off" {
                    return Ok(TimeOrOff(None));
                }
                let time = Time::parse(text)
                    .map_err(|problem| E::custom(format!("{problem}; or write `off`")))?;
                Ok(TimeOrOff(Some(time)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for TimeOrOff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_str("off"),
            Some(time) => time.serialize(serializer),
        }
    }
}

impl JsonSchema for TimeOrOff {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrOff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Time>();
        json_schema!({
            "description": "A duration, or `off`.",
            "anyOf": [ { "const": "off" }, time ],
        })
    }
}
