//! The shards that have members of a channel, and how they are woken.

use std::sync::Arc;

use parking_lot::RwLock;

use super::Channel;
use crate::clock::Millis;

/// How a channel tells a shard that something changed. Called by the reader: must be cheap.
pub trait ShardWake: Send + Sync {
    /// The channel has something new for this shard.
    fn channel_changed(&self);

    /// The channel has events for this shard, which may wait for others until `due`. Who cannot wait
    /// takes them at once.
    fn events_due(&self, due: Millis) {
        let _at_once = due;
        self.channel_changed();
    }

    /// Sequence up to which this shard has taken everything for its level readers.
    fn swept(&self) -> u64;
}

/// A shard that has members of a channel.
struct ShardLink {
    shard: u32,
    wake: Arc<dyn ShardWake>,
}

/// Those of one channel.
#[derive(Default)]
pub(super) struct Links(RwLock<Vec<ShardLink>>);

impl Links {
    /// Sequence up to which all shards have taken everything; `u64::MAX` without any.
    pub(super) fn swept(&self) -> u64 {
        let links = self.0.read();
        let swept = links.iter().map(|link| link.wake.swept()).min();
        swept.unwrap_or(u64::MAX)
    }

    /// Something changed.
    pub(super) fn wake(&self) {
        for link in self.0.read().iter() {
            link.wake.channel_changed();
        }
    }

    /// Events came that may wait until `due`.
    pub(super) fn wake_by(&self, due: Millis) {
        for link in self.0.read().iter() {
            link.wake.events_due(due);
        }
    }
}

impl Channel {
    /// A shard takes its first member.
    pub fn attach(&self, shard: u32, wake: Arc<dyn ShardWake>) {
        let mut links = self.links.0.write();
        debug_assert!(
            links.iter().all(|link| link.shard != shard),
            "one slot per shard"
        );
        links.push(ShardLink { shard, wake });
    }

    /// A shard has no member left.
    pub fn detach(&self, shard: u32) {
        self.links.0.write().retain(|link| link.shard != shard);
    }

    /// What some shard has not yet taken for its level readers is more than the ring holds: if much
    /// more came, it would cost them their places.
    #[must_use]
    pub fn is_ahead_of_shards(&self) -> bool {
        let swept = self.links.swept();
        self.head() > swept && !self.inner.lock().ring.is_within_bounds_after(swept)
    }
}
