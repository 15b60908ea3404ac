//! The file as a tree that keeps what plain deserializing loses: duplicate keys, tags, and where
//! each value stands, so that every problem can be pointed at.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::redact::without_secrets;

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that is not negative.
    Unsigned(u64),
    /// A negative number.
    Signed(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// A text.
    Text {
        /// The text, variables filled in.
        text: String,
        /// The environment filled in a part: it may stand for a number or a boolean as well.
        substituted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, duplicates included.
    Mapping(Vec<(String, Node)>),
    /// A value with a tag (`!name`), which we do not support.
    Tagged,
}

/// Where a value stands: the number of the entry in each container from the root down. Unlike a
/// path of keys it tells duplicates apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Spot(pub(super) Vec<usize>);

impl Spot {
    /// The spot of entry `index` below this one.
    pub(super) fn child(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(index);
        Self(steps)
    }

    /// The spot of the container that holds this one, and its number there.
    pub(super) fn split(&self) -> Option<(Self, usize)> {
        let (last, steps) = self.0.split_last()?;
        Some((Self(steps.to_vec()), *last))
    }
}

/// One step of a path as rules name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Key of a mapping.
    Key(String),
    /// Item of a list.
    Item(usize),
}

impl Node {
    /// The children with their keys, in file order.
    pub(super) fn children(&self) -> Vec<(Option<&str>, &Self)> {
        match self {
            Self::Sequence(items) => items.iter().map(|item| (None, item)).collect(),
            Self::Mapping(entries) => entries
                .iter()
                .map(|(key, value)| (Some(key.as_str()), value))
                .collect(),
            Self::Null
            | Self::Bool(_)
            | Self::Unsigned(_)
            | Self::Signed(_)
            | Self::Float(_)
            | Self::Text { .. }
            | Self::Tagged => Vec::new(),
        }
    }

    /// The child with this number.
    pub(super) fn child(&self, index: usize) -> Option<&Self> {
        match self {
            Self::Sequence(items) => items.get(index),
            Self::Mapping(entries) => entries.get(index).map(|(_, value)| value),
            Self::Null
            | Self::Bool(_)
            | Self::Unsigned(_)
            | Self::Signed(_)
            | Self::Float(_)
            | Self::Text { .. }
            | Self::Tagged => None,
        }
    }

    /// The value at `spot`.
    pub(super) fn at(&self, spot: &Spot) -> Option<&Self> {
        spot.0
            .iter()
            .try_fold(self, |node, index| node.child(*index))
    }

    /// `spot` as users write paths: `routes[1].ring.events_max`.
    pub(super) fn path_text(&self, spot: &Spot) -> String {
        let mut text = String::new();
        let mut node = self;
        for index in &spot.0 {
            let children = node.children();
            let Some((key, child)) = children.get(*index).copied() else {
                break;
            };
            match key {
                Some(key) if text.is_empty() => text.push_str(&without_secrets(key)),
                Some(key) => text.push_str(&format!(".{}", without_secrets(key))),
                None => text.push_str(&format!("[{index}]")),
            }
            node = child;
        }
        text
    }

    /// The value in words, for `expected ..., found ...`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => format!("`{value}`"),
            Self::Unsigned(value) => format!("the number {value}"),
            Self::Signed(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            // The whole file is one text where a colon is missing.
            Self::Text { text, .. } => {
                format!("the text `{}`", without_secrets(text).escape_debug())
            }
            Self::Sequence(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
            Self::Tagged => "a tagged value".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> de::Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(u64::try_from(value).map_or(Node::Signed(value), Node::Unsigned))
    }

    /// Beyond 64 bits only the size is of interest: nothing here takes such a number.
    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        #[expect(clippy::cast_precision_loss, reason = "shown in an error, never used")]
        Ok(Node::Float(value as f64))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        #[expect(clippy::cast_precision_loss, reason = "shown in an error, never used")]
        Ok(Node::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text {
            text: text.to_owned(),
            substituted: false,
        })
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::Sequence(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<KeyText, Node>()? {
            entries.push((key.0, value));
        }
        Ok(Node::Mapping(entries))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        use de::VariantAccess as _;
        let (_tag, value) = data.variant::<KeyText>()?;
        value.newtype_variant::<de::IgnoredAny>()?;
        Ok(Node::Tagged)
    }
}

/// A key: any scalar, as text.
struct KeyText(String);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use de::Error as _;
        match Node::deserialize(deserializer)? {
            Node::Text { text, .. } => Ok(Self(text)),
            Node::Bool(value) => Ok(Self(value.to_string())),
            Node::Unsigned(value) => Ok(Self(value.to_string())),
            Node::Signed(value) => Ok(Self(value.to_string())),
            Node::Float(value) => Ok(Self(value.to_string())),
            node @ (Node::Null | Node::Sequence(_) | Node::Mapping(_) | Node::Tagged) => {
                Err(D::Error::custom(format_args!(
                    "a key must be a word, found {}",
                    node.describe()
                )))
            }
        }
    }
}
