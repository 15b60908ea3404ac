//! A reader that is too far behind passes over what it would never catch up with.

use super::Channel;
use crate::{channel::ring::Skip, error::GapReason};

impl Channel {
    /// Where a reader at `cursor` goes on that takes nothing of what comes up to `until`.
    pub fn skip(&self, cursor: u64, until: u64) -> Skip {
        let skip = self.inner.lock().ring.skip(cursor, until);
        self.route_metrics.gaps.inc(GapReason::Skipped);
        self.route_metrics.events_skipped.add(skip.missed());
        skip
    }
}
