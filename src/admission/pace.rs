//! How many connections a second are taken.

use std::time::Duration;

use crate::clock::Millis;

/// So much of the rate may come at once.
const BURST: Duration = Duration::from_secs(1);

/// A leaky bucket in its form without a counter: the time at which all who came are through.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// In nanoseconds, so that the shares of a second add up to one at any rate.
    through_ns: u128,
}

impl Pace {
    /// One more comes at `now`; how long it has to wait for its turn at this rate.
    pub(super) fn wait(&mut self, now: Millis, per_second: u32) -> Duration {
        debug_assert!(per_second > 0, "a rate of 0 would wait for ever");
        let now_ns = u128::from(now.0) * 1_000_000;
        let share_ns = BURST.as_nanos() / u128::from(per_second.max(1));
        self.through_ns = self.through_ns.max(now_ns) + share_ns;
        let wait_ns = self.through_ns.saturating_sub(now_ns + BURST.as_nanos());
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_may_come_at_once_and_then_each_waits_for_its_share() {
        let mut pace = Pace::default();
        for n in 0..100 {
            assert_eq!(pace.wait(Millis(5_000), 100), Duration::ZERO, "{n}");
        }
        for n in 1..=10 {
            let wait = Duration::from_millis(10 * n);
            assert_eq!(pace.wait(Millis(5_000), 100), wait, "{n}");
        }
        assert_eq!(
            pace.wait(Millis(5_110), 100),
            Duration::ZERO,
            "later, {pace:?}"
        );
        assert_eq!(pace.wait(Millis(99_000), 100), Duration::ZERO);
    }

    proptest! {
        /// Whoever comes when: in no span of time more are taken than the rate and one burst.
        #[test]
        fn no_span_takes_more_than_the_rate(
            gaps in prop::collection::vec(0_u64..30, 1..400),
            per_second in 1_u32..5_000,
        ) {
            let (mut pace, mut now, mut taken) = (Pace::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                let wait = pace.wait(Millis(now), per_second);
                // The acceptor takes no other one meanwhile.
                now += u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap();
                taken.push(now);
            }
            for (from, start) in taken.iter().enumerate() {
                for (to, end) in taken.iter().enumerate().skip(from) {
                    let count = (to - from + 1) as u64;
                    let most = (end - start + 1) * u64::from(per_second) / 1_000 + u64::from(per_second) + 2;
                    prop_assert!(count <= most, "{count} in {} ms", end - start);
                }
            }
        }
    }
}
