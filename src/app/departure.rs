//! The way out by the clock: when readers are cut, and when the process ends.

use crate::{clock::Millis, config::model::Drain};

/// A drain that began, by order or by signal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    drain: Drain,
    began: Millis,
}

impl Departure {
    pub(super) const fn new(drain: Drain, began: Millis) -> Self {
        Self { drain, began }
    }

    /// When readers that are left are cut.
    pub(super) fn cut_at(&self) -> Millis {
        self.began.after(self.drain.window + self.drain.margin)
    }

    /// Whether the window ended after the one look and not after the other.
    pub(super) fn window_ended(&self, before: Millis, now: Millis) -> bool {
        let ends = self.began.after(self.drain.window);
        before < ends && ends <= now
    }

    /// Whether the drain is over by itself: load balancers send clients for a while after readiness
    /// fails, so nobody being there is not enough.
    pub(super) fn is_over(&self, left: usize, now: Millis) -> bool {
        left == 0 && now >= self.began.after(self.drain.listen_min)
    }

    /// When a process that is to end since `told` does so, whoever is left: there is no window after
    /// the one of the drain, but what is under way then gets the margin.
    pub(super) fn deadline(&self, told: Millis) -> Millis {
        let window_ends = self.began.after(self.drain.window);
        window_ends.max(told).after(self.drain.margin)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DEPARTURE: Departure = Departure::new(
        Drain {
            window: Duration::from_secs(20),
            margin: Duration::from_secs(5),
            listen_min: Duration::from_secs(3),
        },
        Millis(1_000_000),
    );

    #[test]
    fn a_signal_after_the_window_gets_the_margin_and_no_new_window() {
        assert_eq!(DEPARTURE.cut_at(), Millis(1_025_000));
        for (told, ends) in [
            (1_000_000, 1_025_000),
            (1_019_999, 1_025_000),
            (1_024_000, 1_029_000),
            (9_000_000, 9_005_000),
        ] {
            assert_eq!(DEPARTURE.deadline(Millis(told)), Millis(ends));
        }
    }

    #[test]
    fn the_window_ends_once() {
        for (before, now, ended) in [
            (1_019_900, 1_019_999, false),
            (1_019_999, 1_020_000, true),
            (1_020_000, 1_020_050, false),
            (1_000_000, 1_030_000, true),
        ] {
            assert_eq!(DEPARTURE.window_ended(Millis(before), Millis(now)), ended);
        }
    }

    #[test]
    fn it_is_over_when_nobody_is_left_and_nobody_is_sent_any_more() {
        for (left, now, over) in [
            (0, 1_002_999, false),
            (0, 1_003_000, true),
            (1, 1_003_000, false),
        ] {
            assert_eq!(DEPARTURE.is_over(left, Millis(now)), over);
        }
    }
}
