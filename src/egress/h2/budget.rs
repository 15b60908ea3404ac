//! Counts the frames of an HTTP/2 client that cost it nothing and us something. Pure.
//!
//! The h2 crate bounds what would take memory: open streams, header lists and CONTINUATION frames,
//! empty and tiny DATA frames, streams that are reset before we accept them. It does not bound work:
//! a client may open and reset streams for ever (each one a request for the app), and PING and
//! SETTINGS make an answer, SETTINGS a walk over all streams besides. So frames that ask for nothing
//! have a budget in time. Not among them are DATA and HEADERS, which have bounds of their own, and
//! WINDOW_UPDATE, whose number grows with what the client reads.

use std::time::Duration;

use crate::{clock::Millis, config::model::Limits};

/// Over this time the budget is an average: so much of it may come at once.
const BURST: Duration = Duration::from_secs(10);

/// What one connection may spend on such frames.
#[derive(Debug)]
pub struct Budget {
    per_second: u64,
    /// What may come at once.
    most: u64,
    /// Left, in thousandths of a frame.
    left: u64,
    at: Millis,
}

impl Budget {
    /// The whole budget of a connection that has not sent its preface.
    #[must_use]
    pub fn new(limits: &Limits, now: Millis) -> Self {
        let per_second = u64::from(limits.control_frames_per_second_max);
        // A client that closes all its streams does no wrong.
        let streams = u64::from(limits.streams_per_connection_max);
        let most = per_second * BURST.as_secs() + 2 * streams;
        Self {
            per_second,
            most,
            left: most * 1_000,
            at: now,
        }
    }

    /// So many frames came; false when they are more than the client may send.
    pub fn spend(&mut self, frames: u64, now: impl FnOnce() -> Millis) -> bool {
        if frames == 0 {
            return true;
        }
        let now = now();
        let earned = now
            .0
            .saturating_sub(self.at.0)
            .saturating_mul(self.per_second);
        self.at = now;
        self.left = self.left.saturating_add(earned).min(self.most * 1_000);
        let spent = frames * 1_000;
        let is_enough = spent <= self.left;
        self.left = self.left.saturating_sub(spent);
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_a_steady_rate_pass_and_more_does_not() {
        let mut budget = Budget {
            per_second: 10,
            most: 100,
            left: 100_000,
            at: Millis(0),
        };
        assert!(budget.spend(100, || Millis(0)));
        for second in 1..50 {
            assert!(budget.spend(10, || Millis(second * 1_000)), "{second}");
        }
        assert!(!budget.spend(10, || Millis(49_500)));
        assert!(budget.spend(0, || panic!("nothing needs no clock")));
        // What was not used is not saved for later.
        assert!(!budget.spend(101, || Millis(10_000_000)));
    }
}
