//! Values as they are written in a scenario: times, and what a figure must be.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::figures::{self, Figure};

/// Reads a value from its text. An error that is raised here gets the line of the text; one that is
/// made of a finished string would not.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A duration such as `250ms`, `30s`, `10m`, `1h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(format!("`{text}` is no time; write 250ms, 30s, 10m or 1h")),
        };
        let number: f64 = number
            .parse()
            .map_err(|_| format!("`{text}` is no time; write 250ms, 30s, 10m or 1h"))?;
        Duration::try_from_secs_f64(number * seconds)
            .map(Self)
            .map_err(|_| format!("`{text}` is too long"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis())
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a figure must be: `lost <= 0`, `deliveries_per_second >= 100000`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The figure.
    pub figure: &'static Figure,
    /// Which side of the limit passes.
    pub side: Side,
    /// The limit; itself it passes.
    pub limit: f64,
}

/// Which side of a limit passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `<=`
    Below,
    /// `>=`
    Above,
}

impl Threshold {
    /// True when `value` passes.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        match self.side {
            Side::Below => value <= self.limit,
            Side::Above => value >= self.limit,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(side), Some(limit), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!(
                "`{text}` is no threshold; write `latency_p99_ms <= 200`"
            ));
        };
        let figure = figures::named(name).ok_or_else(|| unknown(name))?;
        let side = match side {
            "<=" => Side::Below,
            ">=" => Side::Above,
            _ => return Err(format!("`{side}` in `{text}`: there are <= and >=")),
        };
        let limit = limit.replace('_', "");
        let limit = limit.parse::<f64>().ok().filter(|limit| limit.is_finite());
        let limit = limit.ok_or_else(|| format!("the limit of `{text}` is no number"))?;
        Ok(Self {
            figure,
            side,
            limit,
        })
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = figures::ALL.iter().map(|figure| figure.name).collect();
    format!("no figure `{name}`; there are {}", names.join(", "))
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Below => "<=",
            Side::Above => ">=",
        };
        write!(f, "{} {side} {}", self.figure.name, self.limit)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let cases = [
            ("250ms", Some("250ms")),
            ("30s", Some("30s")),
            ("1.5s", Some("1500ms")),
            ("2m", Some("120s")),
            ("1h", Some("3600s")),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("1e400h", None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<Time>().ok().map(|time| time.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn thresholds_hold_or_not() {
        let cases = [
            ("lost <= 0", 0.0, Ok(true)),
            ("lost <= 0", 1.0, Ok(false)),
            ("deliveries_per_second >= 10_000", 10_000.0, Ok(true)),
            ("latency_p99_ms <= 12.5", 12.6, Ok(false)),
            ("lost < 0", 0.0, Err("there are <= and >=")),
            ("losses <= 0", 0.0, Err("no figure `losses`; there are ")),
            ("lost <= none", 0.0, Err("is no number")),
            ("lost <= NaN", 0.0, Err("is no number")),
            ("lost", 0.0, Err("is no threshold")),
        ];
        for (text, value, expected) in cases {
            match (text.parse::<Threshold>(), expected) {
                (Ok(threshold), Ok(holds)) => assert_eq!(threshold.holds(value), holds, "{text}"),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
