//! From the tree to the types of `raw`, with every form error on the way and not just the first.
//!
//! serde stops at its first error. Here an error ends one pass: what it points at is noted and
//! dropped from the tree, and the next pass gets past it. Errors carry the exact place, because
//! this deserializer knows where in the tree it stands.

use std::fmt;

use serde::{
    Deserialize,
    de::{self, IntoDeserializer as _, Visitor},
};

use super::{
    document::{Document, Finding, PROBLEMS_MAX},
    raw::Defaults,
    suggest,
    tree::{Node, Spot},
};

/// Decodes the document; problems are noted in it, and what they touch is left out. `None` when
/// nothing is left.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(document: &Document) -> Option<T> {
    let root = Spot::default();
    // Each failed pass drops one entry; the bound is for files with more problems than we list.
    for _ in 0..PROBLEMS_MAX * 2 {
        let decoder = Decoder {
            node: &document.root,
            spot: root.clone(),
            document,
        };
        let error = match T::deserialize(decoder) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let spot = error.spot.clone().unwrap_or_default();
        match error.missing {
            // Its value was bad, or the key misspelt: that is told already.
            Some(key) if document.excuses(&spot, key) => document.drop_silently(&spot),
            _ => document.drop_with(error.into_finding(&spot)),
        }
        if spot == root {
            return None;
        }
    }
    None
}

/// Why a value cannot be decoded.
#[derive(Debug)]
pub(super) struct Error {
    message: String,
    hint: Option<String>,
    spot: Option<Spot>,
    missing: Option<&'static str>,
    unknown_key: bool,
}

impl Error {
    fn new(message: String, hint: Option<String>) -> Self {
        Self {
            message,
            hint,
            spot: None,
            missing: None,
            unknown_key: false,
        }
    }

    fn wanted(expected: &dyn fmt::Display, found: &Node) -> Self {
        let hint = match found {
            Node::Bool(_) | Node::Unsigned(_) | Node::Signed(_) | Node::Float(_)
                if expected.to_string() == A_TEXT =>
            {
                Some("write it in quotes".to_owned())
            }
            _ => None,
        };
        Self::new(
            format!("expected {expected}, found {}", found.describe()),
            hint,
        )
    }

    fn into_finding(self, spot: &Spot) -> Finding {
        let mut finding = Finding::new(spot.clone(), &self.message);
        finding.on_key = self.unknown_key;
        finding.hint = self.hint.or(finding.hint);
        finding
    }

    /// Where it happened, unless something deeper said so already.
    fn at(mut self, spot: &Spot) -> Self {
        self.spot.get_or_insert_with(|| spot.clone());
        self
    }
}

/// What a plain `String` field expects.
const A_TEXT: &str = "a text";

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
            other => other.to_string(),
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
        let message = format!("unknown key `{}`", key.escape_debug());
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

/// Reads one value of the tree.
#[derive(Debug, Clone)]
struct Decoder<'a> {
    node: &'a Node,
    spot: Spot,
    document: &'a Document,
}

impl<'a> Decoder<'a> {
    /// The child, unless it was dropped.
    fn child(&self, index: usize, node: &'a Node) -> Option<Self> {
        let spot = self.spot.child(index);
        if self.document.is_dropped(&spot) {
            return None;
        }
        Some(Self {
            node,
            spot,
            document: self.document,
        })
    }

    /// The living entries of a mapping; nothing at all reads as an empty one.
    fn entries(&self) -> Option<Vec<(&'a str, Self)>> {
        match self.node {
            Node::Mapping(_) | Node::Null => {}
            _ => return None,
        }
        let children = self.node.children().into_iter().enumerate();
        Some(
            children
                .filter_map(|(index, (key, node))| Some((key?, self.child(index, node)?)))
                .collect(),
        )
    }

    /// The living items of a list; nothing at all reads as an empty one.
    fn items(&self) -> Option<Vec<Self>> {
        match self.node {
            Node::Sequence(_) | Node::Null => {}
            _ => return None,
        }
        let children = self.node.children().into_iter().enumerate();
        Some(
            children
                .filter_map(|(index, (_, node))| self.child(index, node))
                .collect(),
        )
    }

    fn map_access(entries: Vec<(&'a str, Self)>) -> MapAccess<'a> {
        MapAccess {
            entries: entries.into_iter(),
            value: None,
        }
    }

    fn wanted<T>(&self, expected: &str) -> Result<T, Error> {
        Err(Error::wanted(&expected, self.node))
    }

    /// The text that the environment had a part in, if this is one.
    fn substituted(&self) -> Option<&'a str> {
        match self.node {
            Node::Text {
                text,
                substituted: true,
            } => Some(text.trim()),
            _ => None,
        }
    }
}

/// Integer hints: a number, or a text from the environment that reads as one.
macro_rules! unsigned {
    ($($method:ident),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = match self.node {
                Node::Unsigned(number) => Some(*number),
                _ => self.substituted().and_then(|text| text.parse().ok()),
            };
            match number {
                Some(number) => visitor.visit_u64(number),
                None => self.wanted("a whole number, 0 or more"),
            }
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Decoder<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Null => Err(Error::new("a value is missing here".to_owned(), None)),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text { text, .. } => visitor.visit_str(text),
            Node::Sequence(_) => self.deserialize_seq(visitor),
            Node::Mapping(_) => self.deserialize_map(visitor),
            Node::Tagged => self.wanted("a plain value"),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.node, self.substituted()) {
            (Node::Bool(value), _) => visitor.visit_bool(*value),
            (_, Some("true")) => visitor.visit_bool(true),
            (_, Some("false")) => visitor.visit_bool(false),
            _ => self.wanted("`true` or `false`"),
        }
    }

    unsigned!(
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64
    );

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            Node::Text { text, .. } => visitor.visit_str(text),
            _ => self.wanted(A_TEXT),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // `${NAME:-}` that comes out empty reads like a key without a value.
        if *self.node == Node::Null || self.substituted() == Some("") {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.items() {
            Some(items) => visitor.visit_seq(SeqAccess {
                items: items.into_iter(),
            }),
            None => self.wanted("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.entries() {
            Some(entries) => visitor.visit_map(Self::map_access(entries)),
            None => self.wanted("a mapping"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.entries() {
            Some(entries) => visitor.visit_map(Self::map_access(entries)),
            None => {
                let keys = keys
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                self.wanted(&format!("a mapping with keys of {keys}"))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node {
            Node::Text { text, .. } => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => {
                let words = words
                    .iter()
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                self.wanted(&format!("one of {words}"))
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier
    }
}

struct SeqAccess<'a> {
    items: std::vec::IntoIter<Decoder<'a>>,
}

impl<'de> de::SeqAccess<'de> for SeqAccess<'de> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let spot = item.spot.clone();
        seed.deserialize(item)
            .map(Some)
            .map_err(|error| error.at(&spot))
    }
}

struct MapAccess<'a> {
    entries: std::vec::IntoIter<(&'a str, Decoder<'a>)>,
    value: Option<Decoder<'a>>,
}

impl<'de> de::MapAccess<'de> for MapAccess<'de> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        // A seed serves once. An unknown key is dropped and ends this pass; the next one skips it.
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        let spot = value.spot.clone();
        self.value = Some(value);
        let deserializer: de::value::StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(deserializer)
            .map(Some)
            .map_err(|error| error.at(&spot))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(value) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let spot = value.spot.clone();
        seed.deserialize(value).map_err(|error| error.at(&spot))
    }
}
