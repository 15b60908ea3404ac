//! From the tree to the types of `raw`, with every form error on the way and not just the first.
//!
//! serde stops at its first error. Here an error ends one pass: what it points at is noted and
//! dropped from the tree, and the next pass gets past it. Errors carry the exact place, because
//! this deserializer knows where in the tree it stands.

use serde::{
    Deserialize,
    de::{self, IntoDeserializer as _, Visitor},
};

use super::{
    decode_error::{A_TEXT, Error},
    document::{Document, PROBLEMS_MAX},
    tree::{Node, Spot},
};

/// Decodes the document; problems are noted in it, and what they touch is left out. `None` when
/// nothing is left.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(document: &Document) -> Option<T> {
    let root = Spot::default();
    // Each failed pass drops one entry; the bound is for files with more problems than we list.
    for _ in 0..PROBLEMS_MAX * 2 {
        if document.is_truncated() {
            return None;
        }
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

/// How many keys are named to explain what a mapping is.
const KEYS_SHOWN: usize = 6;

/// Reads one value of the tree.
#[derive(Debug, Clone)]
struct Decoder<'a> {
    node: &'a Node,
    spot: Spot,
    document: &'a Document,
}

impl<'a> Decoder<'a> {
    /// The children that were not dropped; nothing at all reads as an empty container.
    fn children(&self) -> Vec<(Option<&'a str>, Self)> {
        let dropped = self.document.dropped(&self.spot);
        let children = self.node.children().into_iter().enumerate();
        children
            .filter(|(index, _)| !dropped.contains(index))
            .map(|(index, (key, node))| {
                (
                    key,
                    Self {
                        node,
                        spot: self.spot.child(index),
                        document: self.document,
                    },
                )
            })
            .collect()
    }

    /// The entries, if this is a mapping.
    fn entries(&self) -> Option<Vec<(&'a str, Self)>> {
        let is_mapping = matches!(self.node, Node::Mapping(_) | Node::Null);
        let entries = self
            .children()
            .into_iter()
            .filter_map(|(key, child)| Some((key?, child)));
        is_mapping.then(|| entries.collect())
    }

    /// The items, if this is a list.
    fn items(&self) -> Option<Vec<Self>> {
        let is_list = matches!(self.node, Node::Sequence(_) | Node::Null);
        is_list.then(|| {
            self.children()
                .into_iter()
                .map(|(_, child)| child)
                .collect()
        })
    }

    fn map_access(entries: Vec<(&'a str, Self)>) -> MapAccess<'a> {
        MapAccess {
            entries: entries.into_iter(),
            value: None,
        }
    }

    fn wanted<T>(&self, expected: &str) -> Result<T, Error> {
        if self.document.is_secret(&self.spot) {
            return Err(Error::wanted_of_secret(&expected));
        }
        Err(Error::wanted(&expected, self.node))
    }

    /// The text, if this is one.
    fn text(&self) -> Option<&'a str> {
        if let Node::Text { text, .. } = self.node {
            return Some(text);
        }
        None
    }

    /// The text, if this is one that the environment had a part in.
    fn substituted(&self) -> Option<&'a str> {
        self.text().map(str::trim).filter(|_| {
            matches!(
                self.node,
                Node::Text {
                    substituted: true,
                    ..
                }
            )
        })
    }
}

/// Integer hints: a number, or a text from the environment that reads as one.
macro_rules! unsigned {
    ($($method:ident),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = if let Node::Unsigned(number) = self.node {
                Some(*number)
            } else {
                self.substituted().and_then(|text| text.parse().ok())
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
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => self.wanted(A_TEXT),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if *self.node == Node::Null {
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
                let listed: Vec<String> = keys
                    .iter()
                    .take(KEYS_SHOWN)
                    .map(|key| format!("`{key}`"))
                    .collect();
                let more = if keys.len() > KEYS_SHOWN { ", ..." } else { "" };
                self.wanted(&format!(
                    "a mapping with keys ({}{more})",
                    listed.join(", ")
                ))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => visitor.visit_enum(text.into_deserializer()),
            None => {
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
