//! A histogram that travels between processes as JSON: pairs of value and count.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest duration kept: ten minutes. Longer ones count as that.
pub const MICROS_MAX: u64 = 600_000_000;

/// Durations in microseconds, exact to three digits. Its memory is taken with the first sample.
#[derive(Debug, Clone, Default)]
pub struct Samples(Option<Histogram<u64>>);

impl Samples {
    /// Adds a duration given in nanoseconds.
    pub fn record_ns(&mut self, nanos: u64) {
        self.add(nanos / 1_000, 1);
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (micros, count) in other.pairs() {
            self.add(micros, count);
        }
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// True without samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The duration that `percent` of the samples do not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.0
            .as_ref()
            .map_or(0.0, |samples| millis(samples.value_at_percentile(percent)))
    }

    /// The longest duration in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |samples| millis(samples.max()))
    }

    fn add(&mut self, micros: u64, count: u64) {
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, MICROS_MAX, 3).ok();
        }
        if let Some(samples) = &mut self.0 {
            samples.saturating_record_n(micros.max(1), count);
        }
    }

    fn pairs(&self) -> Vec<(u64, u64)> {
        let pair = |step: hdrhistogram::iterators::IterationValue<u64>| {
            (step.value_iterated_to(), step.count_at_value())
        };
        self.0.as_ref().map_or_else(Vec::new, |samples| {
            samples.iter_recorded().map(pair).collect()
        })
    }
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "bounded by MICROS_MAX")]
    let micros = micros as f64;
    micros / 1_000.0
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut samples = Self::default();
        for (micros, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            samples.add(micros, count);
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_survive_the_way_through_json_and_merge() {
        let mut one = Samples::default();
        for micros in 1..=1_000 {
            one.record_ns(micros * 1_000);
        }
        let text = serde_json::to_string(&one).unwrap();
        let mut two: Samples = serde_json::from_str(&text).unwrap();
        two.merge(&one);
        assert_eq!(two.len(), 2_000);
        assert!((two.percentile_ms(50.0) - 0.5).abs() < 0.01);
        assert!((two.max_ms() - 1.0).abs() < 0.01);
    }
}
