//! The memory of all rings together.
//!
//! Rings of channels that are over go first: nobody will join them, and who still reads there is about
//! to leave. Then those without subscribers. Then the largest shrink, all to the same size; but each
//! keeps its newest entries, and what shards have not yet taken. When that is not enough, no new
//! channels are made.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{shared::Channel, state::Phase};
use crate::metrics::Metrics;

/// Entries that the ring of a channel with subscribers keeps whatever the budget says.
const FLOOR_EVENTS: usize = 16;

/// Whose ring shrinks before whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Nobody will join it.
    Over,
    /// Nobody reads it now.
    Unused,
    /// Somebody does.
    Used,
}

/// The bound, and whether it can be kept.
pub(super) struct Budget {
    metrics: Arc<Metrics>,
    bytes_max: AtomicUsize,
    exhausted: AtomicBool,
}

impl Budget {
    pub(super) fn new(metrics: Arc<Metrics>, bytes_max: usize) -> Self {
        let budget = Self {
            metrics,
            bytes_max: AtomicUsize::default(),
            exhausted: AtomicBool::new(false),
        };
        budget.set_max(bytes_max);
        budget
    }

    pub(super) fn set_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.metrics.ring_bytes_max.set(bytes_max);
    }

    /// Every live channel keeps no more than its least, and that is too much already.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Bytes over the bound.
    fn excess(&self) -> usize {
        let held = usize::try_from(self.metrics.ring_bytes.get()).unwrap_or(0);
        held.saturating_sub(self.bytes_max.load(Ordering::Relaxed))
    }

    /// Brings the rings of `channels`, which are all there are, within the bound.
    pub(super) fn keep(&self, channels: impl FnOnce() -> Vec<Arc<Channel>>) {
        if self.excess() > 0 {
            self.shrink(channels());
        }
        self.exhausted.store(self.excess() > 0, Ordering::Relaxed);
    }

    fn shrink(&self, channels: Vec<Arc<Channel>>) {
        let rings = channels.into_iter().map(|channel| {
            let row = channel.row();
            let rank = match row.phase {
                Phase::Over(_) => Rank::Over,
                Phase::Opening | Phase::Live | Phase::Idle | Phase::Complete
                    if row.subscribers == 0 =>
                {
                    Rank::Unused
                }
                Phase::Opening | Phase::Live | Phase::Idle | Phase::Complete => Rank::Used,
            };
            (rank, row.ring_bytes, channel)
        });
        let (used, mut unused): (Vec<_>, Vec<_>) =
            rings.partition(|(rank, ..)| *rank == Rank::Used);
        unused.sort_unstable_by_key(|(rank, bytes, _)| (*rank, Reverse(*bytes)));
        for (.., channel) in unused {
            if self.excess() == 0 {
                return;
            }
            channel.trim(self.excess(), 0);
        }
        let above_floor = used
            .into_iter()
            .filter(|(.., channel)| channel.has_spare(FLOOR_EVENTS));
        let mut rings: Vec<_> = above_floor
            .map(|(_, bytes, channel)| (bytes, channel))
            .collect();
        // A ring at its floor gives less than its share, and the others make up for it in the next
        // round: there is one ring less in each.
        while self.excess() > 0 && !rings.is_empty() {
            rings.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
            let level = level(rings.iter().map(|(bytes, _)| *bytes), self.excess());
            rings.retain_mut(|(bytes, channel)| {
                let wanted = bytes.saturating_sub(level);
                let freed = channel.trim(wanted, FLOOR_EVENTS);
                *bytes = bytes.saturating_sub(freed);
                freed >= wanted
            });
        }
    }
}

/// The size to which the largest of `sizes`, which fall, are to shrink so that `excess` is gone.
fn level(sizes: impl Iterator<Item = usize> + Clone, excess: usize) -> usize {
    let smaller = sizes.clone().skip(1).chain([0]);
    let mut sum = 0;
    for (count, (size, next)) in (1..).zip(sizes.zip(smaller)) {
        sum += size;
        if sum >= excess + count * next {
            return (sum - excess) / count;
        }
    }
    0
}

#[cfg(test)]
mod tests;
