//! A limit on how often one kind of line is written.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::clock::Millis;

/// Lets one line of its kind through now and then, and counts what it held back.
///
/// ```
/// use sidestream::{clock::Millis, logging::Seldom};
/// static FULL: Seldom = Seldom::new(10);
/// let now = Millis(5_000); // clock::now()
/// if let Some(held_back) = FULL.pass(now) {
///     tracing::warn!(held_back, "clients are turned away");
/// }
/// assert_eq!(FULL.pass(now), None);
/// ```
#[derive(Debug)]
pub struct Seldom {
    interval: Duration,
    /// When the next line may go, in milliseconds.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Seldom {
    /// At most one line in `seconds`.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self {
            interval: Duration::from_secs(seconds),
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// `Some`: write the line; it says how many were held back since the last one.
    #[must_use]
    pub fn pass(&self, now: Millis) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(self.interval).0;
        // Of threads that come at the same time, one wins.
        let wins = now.0 >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if wins {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_one_line_in_an_interval_and_none_is_lost_from_the_count() {
        let seldom = Seldom::new(10);
        let lines: Vec<u64> = (0..100_000)
            .filter_map(|n| seldom.pass(Millis(n)))
            .collect();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines.first(), Some(&0));
        assert!(
            lines.iter().skip(1).all(|held_back| *held_back == 9_999),
            "{lines:?}"
        );
    }
}
