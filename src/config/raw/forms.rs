//! Values that may be written in more than one form, and mappings that keep their order.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::UpstreamSettings;

/// The one version there is.
pub(super) fn version_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

/// The sections that must be there. To serde they are not required, so that `check` can say what to
/// write; and what serde would fill in for them is no default to show.
pub(super) fn require_sections(schema: &mut Schema) {
    schema.insert(
        "required".to_owned(),
        ["version", "listeners", "upstreams", "routes"].into(),
    );
    let properties = schema
        .get_mut("properties")
        .and_then(serde_json::Value::as_object_mut);
    for property in properties.into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(property) = property.as_object_mut() {
            property.remove("default");
        }
    }
}

/// A mapping from names to values, in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from names to values")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Named<T>, E> {
                Ok(Named::default())
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "minProperties": 1, "additionalProperties": value })
    }
}

/// An app: its address, or a mapping with an address and settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    /// Only an address.
    Address(String),
    /// A mapping.
    Settings(Box<UpstreamSettings>),
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Upstream;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an address such as `http://127.0.0.1:3000`, or a mapping with `address`",
                )
            }

            fn visit_str<E: de::Error>(self, address: &str) -> Result<Upstream, E> {
                Ok(Upstream::Address(address.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Upstream, A::Error> {
                let settings =
                    UpstreamSettings::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Upstream::Settings(Box::new(settings)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Upstream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Address(address) => serializer.serialize_str(address),
            Self::Settings(settings) => settings.serialize(serializer),
        }
    }
}

impl JsonSchema for Upstream {
    fn schema_name() -> Cow<'static, str> {
        "Upstream".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = generator.subschema_for::<UpstreamSettings>();
        json_schema!({
            "description": "An app: its address, or a mapping with an address and settings.",
            "anyOf": [ { "type": "string" }, settings ],
        })
    }
}

/// The word `all`, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllOr {
    /// `all`.
    All,
    /// Only these.
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for AllOr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = AllOr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, or a list of names such as `[a, b]`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AllOr, E> {
                if text == "all" {
                    return Ok(AllOr::All);
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<AllOr, A::Error> {
                let mut list = Vec::new();
                while let Some(name) = names.next_element()? {
                    list.push(name);
                }
                Ok(AllOr::Names(list))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for AllOr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl JsonSchema for AllOr {
    fn schema_name() -> Cow<'static, str> {
        "AllOrNames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`all`, or a list of names.",
            "anyOf": [ { "const": "all" }, { "type": "array", "items": { "type": "string" } } ],
        })
    }
}

/// Permission bits, octal. A text, because a plain number would be read as decimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mode(pub String);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octal;
        impl de::Visitor<'_> for Octal {
            type Value = Mode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octal digits in quotes, as in `\"0660\"`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                Ok(Mode(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Octal)
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Permission bits: octal digits in quotes.",
            "type": "string",
            "pattern": "^(0o?)?[0-7]{1,3}$",
        })
    }
}

/// `live`, `all`, or a number of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateJoin {
    /// At the next event.
    Live,
    /// The last so many events first.
    Last(u32),
    /// All that is kept first.
    All,
}

impl<'de> Deserialize<'de> for LateJoin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = LateJoin;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`live`, `all`, or a number of events")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LateJoin, E> {
                match text {
                    "live" => Ok(LateJoin::Live),
                    "all" => Ok(LateJoin::All),
                    _ => text
                        .parse()
                        .map(LateJoin::Last)
                        .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LateJoin, E> {
                u32::try_from(number)
                    .map(LateJoin::Last)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for LateJoin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Live => serializer.serialize_str("live"),
            Self::Last(events) => serializer.serialize_u32(*events),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl JsonSchema for LateJoin {
    fn schema_name() -> Cow<'static, str> {
        "LateJoin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`live`, `all`, or a number of events.",
            "anyOf": [
                { "enum": ["live", "all"] },
                { "type": "integer", "minimum": 0 },
            ],
        })
    }
}
