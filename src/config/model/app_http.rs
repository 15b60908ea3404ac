//! Which HTTP an app speaks.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which HTTP is spoken with an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppHttp {
    /// HTTP/1.1 (default).
    One,
    /// HTTP/2; without TLS by prior knowledge (RFC 9113, section 3.3).
    Two,
    /// What the app picks of both by ALPN; so only with TLS.
    Auto,
}

impl<'de> Deserialize<'de> for AppHttp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl de::Visitor<'_> for Form {
            type Value = AppHttp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`1`, `2`, or `auto`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<AppHttp, E> {
                match number {
                    1 => Ok(AppHttp::One),
                    2 => Ok(AppHttp::Two),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AppHttp, E> {
                match text {
                    "1" => Ok(AppHttp::One),
                    "2" => Ok(AppHttp::Two),
                    "auto" => Ok(AppHttp::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for AppHttp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One => serializer.serialize_u8(1),
            Self::Two => serializer.serialize_u8(2),
            Self::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl JsonSchema for AppHttp {
    fn schema_name() -> Cow<'static, str> {
        "AppHttp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "`1`, `2`, or `auto`.", "enum": [1, 2, "auto"] })
    }
}
