//! From a place in the tree to line and column in the source.
//!
//! `serde_yaml` tells positions in its errors only. So we walk the source once more to the place
//! and raise an error there, which comes back with line and column.

use std::fmt;

use serde::{Deserializer, de};

use super::tree::Spot;

/// A place in the source; line and column count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// The start of the file, for what has no better place.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// The place of the value at `spot`, or of its key.
pub(super) fn locate(source: &str, spot: &Spot, on_key: bool) -> Place {
    let probe = Probe {
        steps: &spot.0,
        on_key,
    };
    let error =
        match de::DeserializeSeed::deserialize(probe, serde_yaml::Deserializer::from_str(source)) {
            Ok(never) => match never {},
            Err(error) => error,
        };
    place_of(&error)
}

/// The place that an error of serde_yaml tells.
pub(super) fn place_of(error: &serde_yaml::Error) -> Place {
    error.location().map_or(Place::START, |at| Place {
        line: at.line().max(1),
        column: at.column().max(1),
    })
}

/// How many characters the caret line covers: the word, quoted text or value at the column.
pub(super) fn width(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(column.saturating_sub(1)).collect();
    let end = match rest.first() {
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            rest.iter()
                .skip(1)
                .position(|c| {
                    let closes = c == quote && !escaped;
                    escaped = *c == '\\' && *quote == '"' && !escaped;
                    closes
                })
                .map_or(rest.len(), |end| end + 2)
        }
        Some(_) => plain_end(&rest),
        None => 0,
    };
    let text: String = rest.iter().take(end).collect();
    text.trim_end().chars().count().max(1)
}

/// A plain word ends before `: `, ` #` and, within `[]` or `{}`, before `,` and the bracket. Whether
/// we are within brackets is not known here; a wrong guess only costs or adds some carets.
fn plain_end(rest: &[char]) -> usize {
    let mut open: usize = 0;
    for (index, c) in rest.iter().enumerate() {
        let next = rest.get(index + 1);
        let space_follows = next.is_none_or(|next| next.is_whitespace());
        let ends = match c {
            ':' | ',' => index > 0 && space_follows,
            ' ' => next == Some(&'#'),
            ']' | '}' => open == 0,
            _ => false,
        };
        if ends {
            return index;
        }
        match c {
            '[' | '{' => open += 1,
            ']' | '}' => open -= 1,
            _ => {}
        }
    }
    rest.len()
}

/// Walks to a place and fails there.
#[derive(Clone, Copy)]
struct Probe<'s> {
    steps: &'s [usize],
    on_key: bool,
}

/// The probe never succeeds.
enum Never {}

impl Probe<'_> {
    fn below(self) -> Option<(usize, Self)> {
        let (first, rest) = self.steps.split_first()?;
        Some((
            *first,
            Self {
                steps: rest,
                on_key: self.on_key,
            },
        ))
    }

    fn here<T, E: de::Error>() -> Result<T, E> {
        Err(E::custom("here"))
    }
}

impl<'de> de::DeserializeSeed<'de> for Probe<'_> {
    type Value = Never;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Never, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Probe<'_> {
    type Value = Never;

    // A scalar where the steps lead deeper cannot be: the tree came from the same source. The
    // default visits fail there too, which is as near as one can point.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Never, A::Error> {
        let Some((index, below)) = self.below() else {
            return Self::here();
        };
        for _ in 0..index {
            items.next_element::<de::IgnoredAny>()?;
        }
        match items.next_element_seed(below)? {
            Some(never) => match never {},
            None => Self::here(),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Never, A::Error> {
        let Some((index, below)) = self.below() else {
            return Self::here();
        };
        for _ in 0..index {
            map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?;
        }
        if self.on_key && below.steps.is_empty() {
            return match map.next_key_seed(below)? {
                Some(never) => match never {},
                None => Self::here(),
            };
        }
        map.next_key::<de::IgnoredAny>()?;
        match map.next_value_seed(below)? {}
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _tagged: A) -> Result<Never, A::Error> {
        Self::here()
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Spot, locate, width};

    #[test]
    fn places_are_found() {
        let source = "a: 1\nb:\n  - x\n  - {c: d, e: \"f\"}\n\"g\": !tag 5\nh: &anchor [1, 2]\ni: *anchor\nj:\n";
        for (steps, on_key, line, column) in [
            (&[0][..], true, 1, 1),
            (&[0], false, 1, 4),
            (&[1], true, 2, 1),
            (&[1, 0], false, 3, 5),
            (&[1, 1], false, 4, 5),
            (&[1, 1, 1], true, 4, 12),
            (&[1, 1, 1], false, 4, 15),
            (&[2], true, 5, 1),
            (&[3, 1], false, 6, 16),
            // An alias stands where its anchor does.
            (&[4, 1], false, 6, 16),
            (&[], false, 1, 1),
        ] {
            let place = locate(source, &Spot(steps.to_vec()), on_key);
            assert_eq!(place, Place { line, column }, "{steps:?} {on_key}");
        }
    }

    #[test]
    fn carets_cover_the_word() {
        for (line, column, expected) in [
            ("key: value", 1, 3),
            ("key: value", 6, 5),
            ("key: value # why", 6, 5),
            ("key: two words  ", 6, 9),
            ("key: http://a:80/x", 6, 13),
            ("key: \"a \\\" # b\" # c", 6, 10),
            ("key: 'a' # c", 6, 3),
            ("{a: b, c: d}", 5, 1),
            ("{a: b, c: d}", 11, 1),
            ("{a: {b: 5}}", 9, 1),
            ("a: ${B}", 4, 4),
            ("[x, y]", 5, 1),
            ("path: /a/{x}/b", 7, 8),
            ("path: /a/{x}", 7, 6),
            ("key:", 5, 1),
        ] {
            assert_eq!(width(line, column), expected, "{line:?} at {column}");
        }
    }
}
