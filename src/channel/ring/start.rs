//! Where a joiner starts in the ring, by the id that it brings.

use super::{EntryKind, Hole, Ring};
use crate::{
    channel::id,
    clock::Millis,
    config::model::{Ids, LateJoin},
    error::GapReason,
};

/// Where a joiner starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// It has everything up to here.
    pub cursor: u64,
    /// What it must be told first.
    pub hole: Option<Hole>,
}

impl Ring {
    /// Where a joiner starts that brings `last_event_id`, or none. It came when the head was at
    /// `joined_at`: what was appended since is its own, however long it waited for an answer.
    pub fn start(
        &mut self,
        last_event_id: Option<&[u8]>,
        join: LateJoin,
        joined_at: u64,
        now: Millis,
    ) -> Start {
        debug_assert!(joined_at <= self.head, "nobody joins in the future");
        self.expire(now);
        let late = self.late(join, joined_at);
        let start = match (last_event_id, self.ids) {
            (None, _) => late,
            // Who has waited for its place in vain starts with what comes next: what came meanwhile may
            // be what it has already.
            (Some(id), _) if self.may_pass(id) => {
                let reason = match self.ids {
                    Ids::Local => GapReason::OtherEpoch,
                    Ids::Unique => GapReason::UnknownId,
                };
                unknown(reason, self.late(join, self.head))
            }
            (Some(id), Ids::Local) => self.start_local(id, late, joined_at),
            (Some(id), Ids::Unique) => self.start_by_app_id(id, late, joined_at),
        };
        debug_assert!(start.cursor <= self.head, "nobody starts in the future");
        debug_assert!(
            self.after(start.cursor).is_some(),
            "nobody starts at what is evicted"
        );
        start
    }

    fn start_local(&self, last: &[u8], late: Start, joined_at: u64) -> Start {
        let Some(id) = id::parse(last) else {
            return unknown(GapReason::UnknownId, late);
        };
        if id.epoch == self.epoch {
            return match id.sequence {
                known if known <= self.head => self.held_past_end(known, joined_at),
                _ => unknown(GapReason::UnknownId, late),
            };
        }
        match id.app_id.filter(|_| self.resumes) {
            Some(app_id) => self.start_by_app_id(&app_id, late, joined_at),
            // Never a guess: what stands in the ring may be what the client has already seen by
            // another pod, so it starts like any newcomer.
            None => unknown(GapReason::OtherEpoch, late),
        }
    }

    fn start_by_app_id(&self, app_id: &[u8], late: Start, joined_at: u64) -> Start {
        if self.app_ids.is_broken() {
            return unknown(GapReason::AmbiguousId, late);
        }
        match self.app_ids.find(app_id) {
            Some(sequence) => self.held_past_end(sequence, joined_at),
            None => unknown(GapReason::UnknownId, late),
        }
    }

    /// As [`Ring::held`], but behind an end that comes next.
    fn held_past_end(&self, cursor: u64, joined_at: u64) -> Start {
        let start = self.held(cursor);
        match start.hole {
            Some(_) => start,
            None => self.past_end(start.cursor, joined_at),
        }
    }

    /// A start at `cursor`, or at the oldest entry with word of what is missing before it.
    fn held(&self, cursor: u64) -> Start {
        let oldest = self.oldest_cursor();
        let hole = (cursor < oldest).then_some(Hole {
            reason: GapReason::Evicted,
            missing: Some((cursor + 1, oldest)),
        });
        Start {
            cursor: cursor.max(oldest),
            hole,
        }
    }

    /// Where a reader goes on that has everything up to `cursor`: behind an end that was there at
    /// `joined_at` when nothing before it gives the reader a new id. It would come back with the
    /// same id, meet the same end, and loop. What is left out on the way is announced.
    fn past_end(&self, cursor: u64, joined_at: u64) -> Start {
        let mut start = Start { cursor, hole: None };
        let mut left_out = None;
        for entry in self.after(cursor).into_iter().flatten() {
            match &entry.kind {
                _ if entry.sequence > joined_at => break,
                EntryKind::End => {
                    start = Start {
                        cursor: entry.sequence,
                        hole: left_out,
                    };
                }
                EntryKind::Gap(gap) => left_out = Some(gap.hole),
                EntryKind::Event { app_id: None, .. } if self.ids == Ids::Unique => {
                    let reason = GapReason::AmbiguousId;
                    left_out = Some(Hole {
                        reason,
                        missing: None,
                    });
                }
                EntryKind::Event { .. } => break,
            }
        }
        start
    }

    /// Past the gaps that come next and were there at `joined_at`: a reader whom a gap closes has
    /// been told by that, and would otherwise come back to the same gap for ever. The start names
    /// the last of them.
    #[must_use]
    pub fn past_gaps(&self, start: Start, joined_at: u64) -> Start {
        let after = self.after(start.cursor).into_iter().flatten();
        let gaps = after
            .take_while(|entry| entry.sequence <= joined_at)
            .map_while(|entry| match &entry.kind {
                EntryKind::Gap(gap) => Some((entry.sequence, gap.hole)),
                EntryKind::Event { .. } | EntryKind::End => None,
            });
        gaps.last().map_or(start, |(cursor, hole)| Start {
            cursor,
            hole: start.hole.or(Some(hole)),
        })
    }

    fn late(&self, join: LateJoin, joined_at: u64) -> Start {
        let cursor = match join {
            LateJoin::Whole => return self.held(0),
            LateJoin::Live => joined_at,
            LateJoin::Last(count) => joined_at.saturating_sub(u64::from(count)),
            LateJoin::All => 0,
        };
        // An end is no event to replay: who joins after it starts behind it.
        let last_end = if self.last_end <= joined_at {
            self.last_end
        } else {
            self.last_end_before(joined_at)
        };
        // What was evicted before it joined is no loss to a newcomer, only what was since.
        self.held(
            cursor
                .max(last_end)
                .max(self.oldest_cursor().min(joined_at)),
        )
    }

    /// The last end that was there at `joined_at`, where another has come since. 0: none is held.
    fn last_end_before(&self, joined_at: u64) -> u64 {
        let mut before = self.entries.iter().rev();
        before
            .find(|entry| entry.sequence <= joined_at && matches!(entry.kind, EntryKind::End))
            .map_or(0, |end| end.sequence)
    }
}

/// A start like any newcomer's, since the id that was brought is of no use.
fn unknown(reason: GapReason, late: Start) -> Start {
    Start {
        cursor: late.cursor,
        hole: Some(Hole {
            reason,
            missing: None,
        }),
    }
}

#[cfg(test)]
mod tests;
