//! What a reader passes over that is too far behind.

use super::{Hole, Ring};
use crate::error::GapReason;

/// Where such a reader goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// It counts as having everything up to here.
    pub cursor: u64,
    /// What it is told.
    pub hole: Hole,
    /// The id of the notice: who resumes by it goes on right behind.
    pub gap_id: Option<String>,
    /// The app's end was on the way: the stream ends here.
    pub ends: bool,
}

impl Skip {
    /// Entries passed over.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.hole.missing.map_or(0, |(from, to)| to + 1 - from)
    }
}

impl Ring {
    /// From `cursor` to `until`, whether or not that is still held. An end of the app is not passed
    /// over: who joined before it is not to find itself in the app's next stream.
    #[must_use]
    pub fn skip(&self, cursor: u64, until: u64) -> Skip {
        debug_assert!(cursor < until && until <= self.head, "there is something");
        let ends = cursor < self.last_end && self.last_end <= until;
        let to = if ends { self.last_end } else { until };
        let last = to - u64::from(ends);
        Skip {
            cursor: to,
            hole: Hole {
                reason: GapReason::Skipped,
                missing: (cursor < last).then_some((cursor + 1, last)),
            },
            gap_id: self.gap_id(to),
            ends,
        }
    }
}
