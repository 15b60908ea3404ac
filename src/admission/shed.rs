//! How long a client that was turned away should stay away.

use std::time::Duration;

use crate::clock::Millis;

/// Nobody is asked to come back sooner than about this.
const RETRY_MIN_SECONDS: f64 = 10.0;

/// Nobody is told to wait longer.
const RETRY_MAX_SECONDS: f64 = 300.0;

/// The told time is the mean times 0.5 to 1.5.
const JITTER: f64 = 0.5;

/// An estimate of how many clients are away because we told them so.
///
/// Each one counts from its verdict until about the time it was told, which exponential decay with
/// that time as its constant models without remembering anybody: n clients that come back every t
/// seconds and are turned away again make n / t verdicts a second, and n / t * t is n.
#[derive(Debug, Default)]
pub(super) struct ShedEstimate {
    waiting: f64,
    at: Millis,
}

impl ShedEstimate {
    /// Notes one more verdict and says what to tell the client.
    pub(super) fn shed(&mut self, random: f64, now: Millis, connects_per_second: f64) -> Duration {
        debug_assert!(
            (0.0..1.0).contains(&random),
            "random is uniform in 0..1: {random}"
        );
        debug_assert!(connects_per_second > 0.0, "a rate of 0 would shed for ever");
        let away = mean(self.waiting, connects_per_second);
        let passed = now.since(self.at).as_secs_f64();
        self.waiting = self.waiting * (-passed / away).exp() + 1.0;
        self.at = self.at.max(now);
        let told = mean(self.waiting, connects_per_second) * (1.0 - JITTER + 2.0 * JITTER * random);
        Duration::try_from_secs_f64(told).unwrap_or(Duration::from_secs(10))
    }
}

/// The mean stops short of the maximum by the jitter: cut off at the maximum itself, all the long
/// waits would end in the same second.
fn mean(waiting: f64, connects_per_second: f64) -> f64 {
    (waiting / connects_per_second).clamp(RETRY_MIN_SECONDS, RETRY_MAX_SECONDS / (1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 100.0;

    /// Tells `n` clients at once; the mean and the largest of what they were told, in seconds.
    fn tell(estimate: &mut ShedEstimate, n: u32, now: Millis) -> (f64, f64) {
        let told: Vec<f64> = (0..n)
            .map(|i| {
                estimate
                    .shed(f64::from(i % 100) / 100.0, now, RATE)
                    .as_secs_f64()
            })
            .collect();
        let max = told.iter().copied().fold(0.0, f64::max);
        (told.iter().sum::<f64>() / f64::from(n), max)
    }

    #[test]
    fn few_are_told_about_ten_seconds() {
        let mut estimate = ShedEstimate::default();
        let (mean, max) = tell(&mut estimate, 100, Millis(1_000));
        assert!((9.0..=11.0).contains(&mean), "{mean}");
        assert!(max <= 15.0, "{max}");
    }

    #[test]
    fn the_wait_grows_with_the_crowd_and_has_an_end() {
        let mut estimate = ShedEstimate::default();
        tell(&mut estimate, 6_000, Millis(1_000));
        let (mean, _) = tell(&mut estimate, 100, Millis(1_000));
        assert!(
            (55.0..=65.0).contains(&mean),
            "6,000 at 100 a second: {mean}"
        );
        let (_, max) = tell(&mut estimate, 500_000, Millis(1_000));
        assert!((295.0..=300.0).contains(&max), "{max}");
    }

    #[test]
    fn a_crowd_that_keeps_coming_back_counts_once() {
        let mut estimate = ShedEstimate::default();
        let mut returns: Vec<u64> = (0..3_000).map(|i| i / 10).collect();
        let mut random = 0.0_f64;
        let end = 600_000;
        // Each of 3,000 clients comes back when told, and is turned away again.
        loop {
            returns.sort_unstable_by(|a, b| b.cmp(a));
            let Some(now) = returns.pop().filter(|now| *now < end) else {
                break;
            };
            random = (random + 0.618_034) % 1.0;
            let told = estimate.shed(random, Millis(now), RATE);
            returns.push(now + u64::try_from(told.as_millis()).unwrap());
        }
        assert!(
            (2_000.0..=4_000.0).contains(&estimate.waiting),
            "{}",
            estimate.waiting
        );
    }

    #[test]
    fn calm_is_forgotten() {
        let mut estimate = ShedEstimate::default();
        tell(&mut estimate, 6_000, Millis(0));
        let (mean, _) = tell(&mut estimate, 100, Millis(600_000));
        assert!(mean <= 11.0, "{mean}");
    }

    #[test]
    fn a_clock_that_stands_still_or_steps_back_is_harmless() {
        let mut estimate = ShedEstimate::default();
        assert!(estimate.shed(0.0, Millis(5_000), RATE) >= Duration::from_secs(5));
        assert!(estimate.shed(0.999, Millis(0), RATE) <= Duration::from_secs(15));
    }
}
