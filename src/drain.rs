//! The drain slope: when to close whom so that all are gone by the end of the window, each second
//! about as many as every other.

use std::time::Duration;

use crate::clock::Millis;

/// A step never makes up for more than this much lost time. Someone who asks late (a stalled
/// thread) closes the rest a little faster instead of all at once.
const STEP_MAX: Duration = Duration::from_secs(1);

/// How many of the members that are left to close, and when. One per shard: it counts connections.
///
/// Members that leave by themselves or still join make the slope flatter or steeper; it always ends
/// at the end of the window.
#[derive(Debug, Clone, PartialEq)]
pub struct Slope {
    /// When all are gone.
    end: Millis,
    /// The same, as first planned.
    planned_end: Millis,
    last: Millis,
    /// The part of a member that is due but not yet closed.
    carry: f64,
}

impl Slope {
    /// A slope from `start` over `window`. `random`, uniform in 0..1, is its phase: without one, all
    /// shards would close their first member at the same moment.
    #[must_use]
    pub fn new(start: Millis, window: Duration, random: f64) -> Self {
        debug_assert!(
            (0.0..1.0).contains(&random),
            "random is uniform in 0..1: {random}"
        );
        let end = start.after(window);
        Self {
            end,
            planned_end: end,
            last: start,
            carry: random,
        }
    }

    /// How many of `left` members to close at `now`. Ask several times a second.
    #[must_use]
    pub fn due(&mut self, now: Millis, left: usize) -> usize {
        if now >= self.end {
            self.last = self.last.max(now);
            return left;
        }
        let passed = now.since(self.last).min(STEP_MAX);
        // What was lost to a stall is lost: the time from here to the end is what remains.
        let remaining = self.end.since(now) + passed;
        self.last = self.last.max(now);
        let share = passed.as_secs_f64() / remaining.as_secs_f64();
        self.carry += as_f64(left) * share;
        let due = whole(self.carry).min(left);
        self.carry -= as_f64(due);
        debug_assert!(due <= left, "no more than there are");
        debug_assert!(self.carry >= 0.0, "nobody is closed before it is due");
        due
    }

    /// Holding on to the members is of no use any more: ends at `now` + `within` at the latest.
    pub fn hasten(&mut self, now: Millis, within: Duration) {
        self.end = self.end.min(now.after(within));
    }

    /// How long until all are gone.
    #[must_use]
    pub fn left(&self, now: Millis) -> Duration {
        self.end.since(now)
    }

    /// How much earlier than planned the slope ends. Members may stay away that much longer, so that
    /// their returns are as even as they would have been.
    #[must_use]
    pub fn hastened(&self) -> Duration {
        self.planned_end.since(self.end)
    }
}

#[expect(clippy::cast_precision_loss, reason = "members are far below 2^52")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "truncation is what is wanted; the cast saturates"
)]
fn whole(x: f64) -> usize {
    x as usize
}

#[cfg(test)]
mod tests;
