//! Durations, sizes and counts as users write them: one parser, so that all are reported alike.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest duration that anyone means: a year. What is longer is a slip of the unit.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Largest size that anyone means: 1 TiB.
const SIZE_MAX: u64 = 1 << 40;

/// Units of a duration with their milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// Units of a size with their bytes. Binary ones first: those are the ones that we print.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A duration: `250ms`, `15s`, `10m`, `1h`, `7d`, or `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A size in bytes: `64KiB`, `1MiB`, `500kB`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

/// Splits `15s` into 15 and `s`. `None` when there is no leading number that fits.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// The unit's factor, exactly as written.
fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
}

impl Time {
    /// Parses a duration.
    ///
    /// # Errors
    /// One sentence that names the text and says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |hint: &str| {
            format!("`{text}` is not a duration; {hint}, as in `250ms`, `15s`, `10m`, `1h`")
        };
        let (number, unit) =
            split_number(text.trim()).ok_or_else(|| wrong("write a whole number and a unit"))?;
        if unit.is_empty() && number == 0 {
            return Ok(Self(Duration::ZERO));
        }
        if unit.is_empty() {
            return Err(wrong(&format!("the unit is missing (`{number}s`?)")));
        }
        let millis_per_unit = factor(&DURATION_UNITS, unit)
            .ok_or_else(|| wrong("write one whole number and one unit of ms, s, m, h, d"))?;
        number
            .checked_mul(millis_per_unit)
            .map(Duration::from_millis)
            .filter(|duration| *duration <= DURATION_MAX)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is longer than a year; is the unit right?"))
    }
}

impl Size {
    /// Parses a size.
    ///
    /// # Errors
    /// One sentence that names the text and says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |hint: &str| {
            format!("`{text}` is not a size; {hint}, as in `64KiB`, `1MiB`, `500kB`, `4096`")
        };
        let (number, unit) =
            split_number(text.trim()).ok_or_else(|| wrong("write a whole number and a unit"))?;
        let bytes_per_unit = if unit.is_empty() {
            Some(1)
        } else {
            factor(&SIZE_UNITS, unit)
        }
        .ok_or_else(|| {
            wrong("write one whole number and one unit of B, kB, KiB, MB, MiB, GB, GiB")
        })?;
        number
            .checked_mul(bytes_per_unit)
            .filter(|bytes| *bytes <= SIZE_MAX)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is above 1 TiB; is the unit right?"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        let (name, factor) = DURATION_UNITS
            .iter()
            .find(|(_, factor)| millis.is_multiple_of(*factor))
            .unwrap_or(&("ms", 1));
        write!(f, "{}{name}", millis / factor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
        for (name, factor) in binary {
            if self.0 != 0 && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{name}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl From<Duration> for Time {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl From<usize> for Count {
    fn from(count: usize) -> Self {
        Self(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

/// Takes a text or a whole number and hands it to a parser, so that `4096` and `64KiB` both serve.
struct TextOrNumber<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> de::Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a duration such as `15s`",
            parse: Self::parse,
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a size such as `64KiB`",
            parse: Self::parse,
        })
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        match text.parse::<u64>() {
            Ok(bytes) => serializer.serialize_u64(bytes),
            Err(_) => serializer.serialize_str(&text),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: a whole number and one of ms, s, m, h, d, or 0.",
            "anyOf": [
                { "type": "string", "pattern": r"^\d+ ?(ms|s|m|h|d)$" },
                { "const": 0 },
            ],
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size: a whole number and one of B, kB, KiB, MB, MiB, GB, GiB, or a plain number of bytes.",
            "anyOf": [
                { "type": "string", "pattern": r"^\d+ ?(B|kB|KiB|MB|MiB|GB|GiB)?$" },
                { "type": "integer", "minimum": 0 },
            ],
        })
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number.",
            "type": "integer",
            "minimum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, millis, printed) in [
            ("250ms", 250, "250ms"),
            ("15s", 15_000, "15s"),
            ("15 s", 15_000, "15s"),
            ("90s", 90_000, "90s"),
            ("10m", 600_000, "10m"),
            ("60m", 3_600_000, "1h"),
            ("1h", 3_600_000, "1h"),
            ("2d", 172_800_000, "2d"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("1500ms", 1_500, "1500ms"),
        ] {
            let time = Time::parse(text).unwrap();
            assert_eq!(time.0, Duration::from_millis(millis), "{text}");
            assert_eq!(time.to_string(), printed, "{text}");
            assert_eq!(
                Time::parse(printed).unwrap(),
                time,
                "{text}: print is not parsed back"
            );
        }
    }

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes, printed) in [
            ("64KiB", 65_536, "64KiB"),
            ("1MiB", 1_048_576, "1MiB"),
            ("1024KiB", 1_048_576, "1MiB"),
            ("500kB", 500_000, "500000"),
            ("4096", 4_096, "4KiB"),
            ("100", 100, "100"),
            ("100B", 100, "100"),
            ("2 GiB", 2_147_483_648, "2GiB"),
            ("0", 0, "0"),
        ] {
            let size = Size::parse(text).unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
            assert_eq!(
                Size::parse(printed).unwrap(),
                size,
                "{text}: print is not parsed back"
            );
        }
    }

    #[test]
    fn wrong_durations_say_what_to_write() {
        for (text, expected) in [
            ("15", "the unit is missing (`15s`?)"),
            ("", "write a whole number and a unit"),
            ("s", "write a whole number and a unit"),
            ("-1s", "write a whole number and a unit"),
            ("1.5s", "one whole number and one unit of ms"),
            ("15S", "one whole number and one unit of ms"),
            ("1m30s", "one whole number and one unit of ms"),
            ("15sec", "one whole number and one unit of ms"),
            ("99999999999999999999s", "write a whole number and a unit"),
            ("18446744073709551615d", "longer than a year"),
            ("366d", "longer than a year"),
        ] {
            let error = Time::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn wrong_sizes_say_what_to_write() {
        for (text, expected) in [
            ("", "write a whole number and a unit"),
            ("KiB", "write a whole number and a unit"),
            ("64k", "one unit of B, kB, KiB"),
            ("64kib", "one unit of B, kB, KiB"),
            ("1.5MiB", "one unit of B, kB, KiB"),
            ("-1", "write a whole number and a unit"),
            ("2048GiB", "above 1 TiB"),
            ("18446744073709551615GiB", "above 1 TiB"),
        ] {
            let error = Size::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
