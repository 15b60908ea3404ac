//! How long to wait before the next attempt: full jitter under an exponential bound. Pure.

use std::time::Duration;

use crate::config::model::Backoff;

/// An attempt that lasted this long, or as long as the longest delay, is no sign of haste.
const CALM_AFTER: Duration = Duration::from_secs(10);

/// The delays of one channel's attempts.
#[derive(Debug, Clone)]
pub struct Retry {
    bounds: Backoff,
    /// Attempts that ended soon, in a row; each doubles the bound.
    failures: u32,
    /// What the app asked for with its last answer (`Retry-After`).
    floor: Duration,
}

impl Retry {
    /// No attempt has failed yet.
    #[must_use]
    pub fn new(bounds: Backoff) -> Self {
        Self {
            bounds,
            failures: 0,
            floor: Duration::ZERO,
        }
    }

    /// An attempt failed, or its stream is over: the delay before the next one.
    ///
    /// `random` is uniform over all u64, and so is the delay over `0..=bound`: after an outage many
    /// channels of many pods come back, and only full jitter keeps them apart. A `Retry-After` is
    /// waited out first, for the same reason with the jitter on top of it.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let floor = std::mem::take(&mut self.floor);
        floor.saturating_add(scaled(bound, random))
    }

    /// The app named a time with its answer; it holds for the next delay only.
    pub fn hold(&mut self, retry_after: Duration) {
        self.floor = retry_after;
    }

    /// An attempt ended after this time, its stream included. After a long one delays begin anew at
    /// the least bound. Nothing else does that, not even an event: an app that sends one and dies,
    /// or that ends each stream at once, is not to be asked without pause.
    pub fn lasted(&mut self, time: Duration) {
        if time >= self.bounds.max.min(CALM_AFTER) {
            self.failures = 0;
        }
    }

    /// The reloaded route has other bounds.
    pub fn set_bounds(&mut self, bounds: Backoff) {
        self.bounds = bounds;
    }

    /// Upper bound of the next delay.
    fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.bounds.min.saturating_mul(factor).min(self.bounds.max)
    }
}

/// `random / 2^64` of `bound`, to the nanosecond.
fn scaled(bound: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    let product = u128::from(nanos).saturating_add(1) * u128::from(random);
    Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Backoff = Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };

    fn largest_delays(retry: &mut Retry, count: usize) -> Vec<u128> {
        (0..count)
            .map(|_| retry.next_delay(u64::MAX).as_millis())
            .collect()
    }

    #[test]
    fn bounds_double_from_the_least_to_the_most() {
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        assert_eq!(largest_delays(&mut Retry::new(BOUNDS), 9), expected);
    }

    #[test]
    fn a_thousand_failures_stay_at_the_most() {
        let delays = largest_delays(&mut Retry::new(BOUNDS), 1_000);
        assert!(delays.iter().skip(7).all(|millis| *millis == 10_000));
    }

    #[test]
    fn jitter_is_uniform_from_zero_to_the_bound() {
        let delay = |random| Retry::new(BOUNDS).next_delay(random);
        assert_eq!(delay(0), Duration::ZERO);
        assert_eq!(delay(1 << 63), Duration::from_millis(50));
        assert_eq!(delay(1 << 62), Duration::from_millis(25));
        assert_eq!(delay(u64::MAX), Duration::from_millis(100));
    }

    #[test]
    fn only_what_lasted_begins_anew() {
        let second = Duration::from_secs(1);
        for (max, lasted, anew) in [
            (10, 9_999, false),
            (10, 10_000, true),
            (3_600, 9_999, false),
            (3_600, 10_000, true),
            (2, 1_999, false),
            (2, 2_000, true),
        ] {
            let mut retry = Retry::new(Backoff {
                max: max * second,
                ..BOUNDS
            });
            largest_delays(&mut retry, 4);
            retry.lasted(Duration::from_millis(lasted));
            let expected = if anew { 100 } else { 1_600 };
            assert_eq!(largest_delays(&mut retry, 1), [expected], "{max} {lasted}");
        }
    }

    #[test]
    fn an_attempt_that_lasted_leaves_a_retry_after_in_force() {
        let mut retry = Retry::new(BOUNDS);
        retry.hold(Duration::from_secs(7));
        retry.lasted(Duration::from_secs(60));
        assert_eq!(retry.next_delay(0), Duration::from_secs(7));
    }

    #[test]
    fn retry_after_is_waited_out_once_and_jittered() {
        let mut retry = Retry::new(BOUNDS);
        retry.hold(Duration::from_secs(7));
        assert_eq!(retry.next_delay(0), Duration::from_secs(7));
        retry.hold(Duration::from_secs(7));
        assert_eq!(retry.next_delay(u64::MAX), Duration::from_millis(7_200));
        assert_eq!(retry.next_delay(0), Duration::ZERO);
    }

    #[test]
    fn new_bounds_hold_from_the_next_delay_on() {
        let mut retry = Retry::new(BOUNDS);
        largest_delays(&mut retry, 20);
        let max = Duration::from_secs(1);
        retry.set_bounds(Backoff { min: max, max });
        assert_eq!(largest_delays(&mut retry, 1), [1_000]);
    }
}
