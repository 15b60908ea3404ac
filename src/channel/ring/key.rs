//! The key of an event: what is the same in two events that tell of one thing at two moments. Pure.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{config::model::KeyBy, sse::event::Event};

/// The type of an event that names none (HTML standard, section 9.2.6).
const DEFAULT_TYPE: &[u8] = b"message";

/// The key of `event`. `None`: it has none, and stands for itself.
pub(super) fn of<'a>(by: &KeyBy, event: &'a Event) -> Option<Cow<'a, [u8]>> {
    match by {
        KeyBy::Event if event.name.is_empty() => Some(Cow::Borrowed(DEFAULT_TYPE)),
        KeyBy::Event => Some(Cow::Borrowed(&event.name)),
        KeyBy::Id => event
            .id
            .as_deref()
            .filter(|id| !id.is_empty())
            .map(Cow::Borrowed),
        KeyBy::Data(pointer) => {
            let mut json = serde_json::Deserializer::from_slice(&event.data);
            let value = At(pointer.steps()).deserialize(&mut json).ok()?;
            json.end().ok()?;
            value.map(|text| Cow::Owned(text.into_bytes()))
        }
    }
}

/// Reads past all of a document but the value at these steps. It yields that value's text, if it is
/// a string, a number or a boolean.
struct At<'a>(&'a [String]);

impl At<'_> {
    fn leaf(&self, text: impl Into<String>) -> Option<String> {
        self.0.is_empty().then(|| text.into())
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.leaf(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.leaf(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.leaf(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.leaf(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.leaf(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let wanted = step
            .parse::<usize>()
            .ok()
            .filter(|n| n.to_string() == *step);
        let (mut index, mut found) = (0, None);
        loop {
            if wanted == Some(index) {
                match items.next_element_seed(At(rest))? {
                    Some(value) => found = value,
                    None => return Ok(None),
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let step = self.0.split_first();
        while let Some(is_next) = fields.next_key_seed(Is(step.map(|(step, _)| &**step)))? {
            match step {
                // Of a name that stands twice the last one counts, as in a browser.
                Some((_, rest)) if is_next => found = fields.next_value_seed(At(rest))?,
                Some(_) | None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Whether a field has this name; without a copy of the name.
struct Is<'a>(Option<&'a str>);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(self.0 == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn by(text: &str) -> KeyBy {
        serde_json::from_value(text.into()).unwrap()
    }

    fn key(by: &KeyBy, event: &Event) -> Option<String> {
        of(by, event).map(|key| String::from_utf8(key.into_owned()).unwrap())
    }

    #[test]
    fn a_type_or_an_id_is_a_key() {
        let event = |name: &'static str, id: Option<&'static str>| Event {
            name: name.into(),
            id: id.map(Bytes::from),
            ..Event::default()
        };
        for (name, id, by_event, by_id) in [
            ("tick", Some("7"), "tick", Some("7")),
            ("", Some(""), "message", None),
            ("message", None, "message", None),
        ] {
            assert_eq!(
                key(&by("event"), &event(name, id)).as_deref(),
                Some(by_event)
            );
            assert_eq!(key(&by("id"), &event(name, id)).as_deref(), by_id);
        }
    }

    #[test]
    fn a_value_in_the_data_is_a_key_if_it_is_a_string_a_number_or_a_boolean() {
        for (pointer, data, expected) in [
            ("/s", r#"{"s":"ACME"}"#, Some("ACME")),
            (
                "/s",
                r#"{"p":{"s":1},"s":"A\u0043ME","t":[1]}"#,
                Some("ACME"),
            ),
            (
                "/s",
                r#"{"s":18446744073709551615}"#,
                Some("18446744073709551615"),
            ),
            ("/s", r#"{"s":-1}"#, Some("-1")),
            ("/s", r#"{"s":0.5}"#, Some("0.5")),
            ("/s", r#"{"s":true}"#, Some("true")),
            ("/s", r#"{"s":"a","s":"b"}"#, Some("b")),
            ("/s", "{\n\"s\": \"\"\n}", Some("")),
            ("/a/b", r#"{"a":{"b":1}}"#, Some("1")),
            ("/a/1/c", r#"{"a":[{},{"c":"x"},3]}"#, Some("x")),
            ("/1", r#"["a","b"]"#, Some("b")),
            ("/01", r#"["a","b"]"#, None),
            ("/2", r#"["a","b"]"#, None),
            ("/x", r#"["a","b"]"#, None),
            ("/a~1b", r#"{"a/b":1}"#, Some("1")),
            ("/s", r#"{"s":null}"#, None),
            ("/s", r#"{"s":{"x":1}}"#, None),
            ("/s", r#"{"s":[1]}"#, None),
            ("/s", r#"{"t":1}"#, None),
            ("/s/x", r#"{"s":1}"#, None),
            ("/s", r#"{"s":1} x"#, None),
            ("/s", r#"{"s":1"#, None),
            ("/s", r#"{"s":1,"t":oops}"#, None),
            ("/s", "7", None),
            ("/s", "", None),
        ] {
            let event = Event {
                data: data.into(),
                ..Event::default()
            };
            assert_eq!(
                key(&by(pointer), &event).as_deref(),
                expected,
                "{pointer} of {data}"
            );
        }
    }

    /// What nests deeper than a parser should follow is no key, and no stack overflow.
    #[test]
    fn data_that_nests_deep_has_no_key() {
        let event = Event {
            data: "[".repeat(100_000).into(),
            ..Event::default()
        };
        assert_eq!(key(&by("/0"), &event), None);
    }
}
