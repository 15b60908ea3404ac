//! How subscribers behave beyond reading: whether they come back, leave, or read slowly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wait before coming back where the server has not said how long: what browsers take.
const RETRY_DEFAULT: Duration = Duration::from_secs(3);
/// A wait after failed attempts doubles up to this.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What an end of its stream means to a subscriber.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterEnd {
    /// A fault of the server; the subscriber stays away and is owed what it misses.
    #[default]
    Fail,
    /// It was to be expected; nothing further is owed.
    Accept,
    /// Come back by the last event id, after the time that the server has told.
    Return,
}

/// The behaviour of all subscribers of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conduct {
    /// What an end means.
    pub after_end: AfterEnd,
    /// Mean time of a visit; then the subscriber (over HTTP/2 its connection) leaves and comes back.
    pub stay: Option<Duration>,
    /// Bytes that are read in a second, over HTTP/1.1; zero reads nothing behind the head.
    pub bytes_per_second: Option<u32>,
    /// Chooses the random times.
    pub seed: u64,
}

impl Conduct {
    /// True when subscribers come back after an end.
    #[must_use]
    pub fn returns(&self) -> bool {
        self.after_end == AfterEnd::Return
    }

    /// True when what had not arrived at the end counts as lost, for a subscriber that still reads.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.bytes_per_second.is_none()
    }

    /// How long visit number `visit` of a connection is to last: half to one and a half of the mean.
    #[must_use]
    pub fn stay(&self, connection: u32, visit: u32) -> Option<Duration> {
        let part = fraction(self.seed, connection, visit);
        self.stay.map(|mean| mean.mul_f64(0.5 + part))
    }

    /// The wait before an attempt: as the server has told, doubled with each failure since, and
    /// never less than told.
    #[must_use]
    pub fn pause(&self, told: Option<Duration>, connection: u32, failures: u32) -> Duration {
        let wait = told.unwrap_or(RETRY_DEFAULT);
        if failures == 0 {
            return wait;
        }
        let grown = wait.saturating_mul(1 << failures.min(5)).min(RETRY_MAX);
        let spread = 0.5 + fraction(self.seed, connection, failures) / 2.0;
        grown.mul_f64(spread).max(wait)
    }
}

/// A number in `[0, 1)` that depends on all three.
fn fraction(seed: u64, connection: u32, turn: u32) -> f64 {
    let place = u64::from(connection) << 32 | u64::from(turn);
    let bits = crate::payload::mix(seed ^ crate::payload::mix(place));
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept, exactly")]
    let part = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn visits_spread_around_their_mean_and_repeat_with_the_seed() {
        let conduct = Conduct {
            stay: Some(10 * SECOND),
            seed: 7,
            ..Conduct::default()
        };
        let stays: Vec<Duration> = (0..1_000)
            .filter_map(|visit| conduct.stay(3, visit))
            .collect();
        let mean = stays.iter().sum::<Duration>() / 1_000;
        assert!((mean.as_secs_f64() - 10.0).abs() < 0.5, "{mean:?}");
        assert!(stays.iter().all(|stay| (5..15).contains(&stay.as_secs())));
        assert_eq!(conduct.stay(3, 5), conduct.stay(3, 5));
        assert_ne!(conduct.stay(3, 5), conduct.stay(4, 5));
    }

    #[test]
    fn a_told_time_is_kept_and_failures_make_it_longer() {
        let conduct = Conduct::default();
        assert_eq!(conduct.pause(Some(SECOND), 1, 0), SECOND);
        assert_eq!(conduct.pause(None, 1, 0), RETRY_DEFAULT);
        let later = conduct.pause(Some(SECOND), 1, 3);
        assert!((4 * SECOND..8 * SECOND).contains(&later), "{later:?}");
        let longest = conduct.pause(Some(20 * SECOND), 1, 9);
        assert!((20 * SECOND..=RETRY_MAX).contains(&longest), "{longest:?}");
        let told = 2 * RETRY_MAX;
        assert_eq!(conduct.pause(Some(told), 1, 9), told);
    }
}
