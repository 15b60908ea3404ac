//! A reader that is too far behind passes over what it would never catch up with.

use super::Channel;
use crate::{
    channel::ring::{self, Hole, Skip},
    error::GapReason,
};

impl Channel {
    /// Where a reader at `cursor` goes on that takes nothing of what comes up to `until`.
    pub fn skip(&self, cursor: u64, until: u64) -> Skip {
        let skip = self.inner.lock().ring.skip(cursor, until);
        self.route_metrics.gaps.inc(GapReason::Skipped);
        self.route_metrics.events_skipped.add(skip.missed());
        skip
    }

    /// What a reader at `cursor` is told that gets only the newest of each key up to `until`. It has
    /// no id: what follows is not behind it.
    pub fn conflate(&self, cursor: u64, until: u64) -> Hole {
        self.route_metrics.gaps.inc(GapReason::Conflated);
        Hole {
            reason: GapReason::Conflated,
            missing: Some((cursor + 1, until)),
        }
    }

    /// Up to here something may be lost on a reader that is content with the newest of each key.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.lock().ring.lost()
    }

    /// Hands the newest entry of each key after `cursor` and up to `until` to `visit`, oldest first,
    /// until it returns `false`. `false`: some of them are gone for good, and nothing was visited.
    pub fn visit_newest(
        &self,
        cursor: u64,
        until: u64,
        mut visit: impl FnMut(&ring::Entry) -> bool,
    ) -> bool {
        let inner = self.inner.lock();
        let Some(mut entries) = inner.ring.newest_after(cursor, until) else {
            return false;
        };
        // Ends early when `visit` has enough.
        let _all = entries.all(&mut visit);
        true
    }
}
