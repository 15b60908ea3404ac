//! Events that wait for others to be written with them (`batch_delay`).
//!
//! A channel that changes in any other way is swept at once, and what waited goes along. So its turn
//! may come when nothing waits, or events that have not waited long: they go out early, never late.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Shard, breathe};
use crate::clock::Millis;

/// The slots of channels with events that wait, by the time until when.
#[derive(Debug, Default)]
pub(super) struct Delayed(BinaryHeap<Reverse<(Millis, u32)>>);

impl Delayed {
    /// More of them.
    pub(super) fn extend(&mut self, slots: Vec<(Millis, u32)>) {
        self.0.extend(slots.into_iter().map(Reverse));
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Millis> {
        self.0.peek().map(|Reverse((due, _))| *due)
    }

    fn pop(&mut self, now: Millis) -> Option<u32> {
        self.next().filter(|due| *due <= now)?;
        self.0.pop().map(|Reverse((_, slot))| slot)
    }
}

impl Shard {
    /// Writes the events that have waited long enough.
    pub(super) async fn sweep_due(&mut self, now: Millis) {
        let mut done = 0;
        while let Some(slot) = self.delayed.pop(now) {
            self.channel_changed(slot as usize).await;
            breathe(done).await;
            done += 1;
        }
    }
}

#[cfg(test)]
mod tests;
