//! What happened in each second of a run; the timelines of lanes and processes merge.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::samples::MICROS_MAX;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Digits of a second's latencies: one percent is exact enough for a plot, and ten times smaller.
const DIGITS: u8 = 2;

/// One second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Events delivered.
    pub delivered: u64,
    /// Stream bytes received.
    pub bytes: u64,
    /// Streams opened, again or for the first time.
    pub opened: u64,
    /// Streams that ended.
    pub ended: u64,
    /// Attempts that got no stream.
    pub refused: u64,
    /// Gaps announced.
    pub gaps: u64,
    /// Microseconds of latency and how many deliveries took them.
    pub latency: BTreeMap<u64, u64>,
}

/// Seconds since an origin, with what happened in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(BTreeMap<u64, Second>);

/// Writes a timeline, one second after the other.
#[derive(Debug)]
pub struct Writer {
    origin_ns: u64,
    second: u64,
    now: Second,
    latency: Option<Histogram<u64>>,
    done: Timeline,
}

impl Second {
    /// The latency that `percent` of the deliveries did not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        let all: u64 = self.latency.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
        let wanted = all as f64 * percent / 100.0;
        let mut seen = 0;
        for (micros, count) in &self.latency {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
            if seen as f64 >= wanted {
                return Some(*micros as f64 / 1_000.0);
            }
        }
        None
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.bytes += other.bytes;
        self.opened += other.opened;
        self.ended += other.ended;
        self.refused += other.refused;
        self.gaps += other.gaps;
        for (micros, count) in &other.latency {
            *self.latency.entry(*micros).or_default() += count;
        }
    }
}

impl Timeline {
    /// Adds another one with the same origin.
    pub fn merge(&mut self, other: &Self) {
        for (second, what) in &other.0 {
            self.0.entry(*second).or_default().merge(what);
        }
    }

    /// All seconds up to the last one in which something happened, none left out.
    #[must_use]
    pub fn seconds(&self) -> Vec<Second> {
        let end = self.0.last_key_value().map_or(0, |(second, _)| second + 1);
        (0..end)
            .map(|second| self.0.get(&second).cloned().unwrap_or_default())
            .collect()
    }
}

impl Writer {
    /// A timeline that begins at `origin_ns`.
    #[must_use]
    pub fn new(origin_ns: u64) -> Self {
        Self {
            origin_ns,
            second: 0,
            now: Second::default(),
            latency: None,
            done: Timeline::default(),
        }
    }

    /// The second of `now_ns`.
    pub fn at(&mut self, now_ns: u64) -> &mut Second {
        let second = now_ns.saturating_sub(self.origin_ns) / NANOS_PER_SECOND;
        if second != self.second {
            self.turn();
            self.second = second;
        }
        &mut self.now
    }

    /// A delivery at `now_ns` took `nanos`.
    pub fn delivered(&mut self, now_ns: u64, nanos: u64) {
        let _ = self.at(now_ns);
        if self.latency.is_none() {
            self.latency = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).ok();
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record((nanos / 1_000).max(1));
        }
    }

    /// The whole timeline.
    #[must_use]
    pub fn finish(mut self) -> Timeline {
        self.turn();
        self.done
    }

    /// Files the current second.
    fn turn(&mut self) {
        let mut second = std::mem::take(&mut self.now);
        if let Some(latency) = &mut self.latency {
            second.latency = latency
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect();
            latency.reset();
        }
        if second != Second::default() {
            self.done.0.entry(self.second).or_default().merge(&second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn what_happens_is_filed_by_the_second_and_merges() {
        let origin = 5 * NANOS_PER_SECOND;
        let mut timelines = (1..=2).map(|lane| {
            let mut writer = Writer::new(origin);
            writer.at(origin).opened += lane;
            for millis in 1..=100 {
                writer.delivered(origin + 2 * NANOS_PER_SECOND, millis * MILLI);
                writer.at(origin + 2 * NANOS_PER_SECOND).delivered += 1;
            }
            writer.finish()
        });
        let mut all = timelines.next().unwrap();
        all.merge(&timelines.next().unwrap());
        let seconds = all.seconds();
        let opened: Vec<u64> = seconds.iter().map(|second| second.opened).collect();
        assert_eq!(opened, [3, 0, 0]);
        assert_eq!(seconds[2].delivered, 200);
        let p50 = seconds[2].percentile_ms(50.0).unwrap();
        assert!((p50 - 50.0).abs() < 1.0, "{p50}");
        assert_eq!(seconds[1].percentile_ms(50.0), None);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Timeline>(&text).unwrap(), all);
    }

    #[test]
    fn a_reading_of_an_earlier_second_is_kept() {
        let mut writer = Writer::new(0);
        writer.at(3 * NANOS_PER_SECOND).gaps += 1;
        writer.at(2 * NANOS_PER_SECOND).gaps += 1;
        writer.at(3 * NANOS_PER_SECOND).gaps += 1;
        let gaps: Vec<u64> = writer.finish().seconds().iter().map(|s| s.gaps).collect();
        assert_eq!(gaps, [0, 0, 1, 2]);
    }
}
