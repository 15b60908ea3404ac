//! Readers that are too far behind, and what they pass over under `slow.policy: skip` and `conflate`.
//!
//! That is found out when such a reader may be written to again: until then it costs nothing, and
//! then it goes as far as it can.

use super::{Shard, sweep::Step};
use crate::{
    channel::ring::{Hole, gap_comment, gap_event},
    clock::Millis,
    config::model::{SlowPolicy, SlowReader},
    egress::{
        batch::{Batch, Framing, GapForm, Gathered},
        handle::Token,
        subscriber::{Delivered, Pace, Reading, Stage},
    },
    error::EndReason,
};

/// Bytes of one batch for a single reader that catches up: about what its socket takes at once, for
/// what it does not take was laid out in vain.
const CATCH_UP_BYTES_MAX: usize = 32 * 1024;

impl Shard {
    /// A level reader that has everything up to `cursor`, and is no longer level.
    pub(super) fn lag_from(&mut self, token: Token, cursor: u64, now: Millis) {
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return;
        };
        reading.cursor = cursor;
        let slot = reading.slot as usize;
        self.unlevel(slot, token.index as usize, Pace::Behind(now));
        self.drive(token, now);
    }
}

impl Reading {
    /// Further behind than `slow` lets it, or than the ring goes back.
    pub(super) fn is_too_far(&self, slow: &SlowReader) -> bool {
        let channel = self.holds.channel();
        match channel.lag(self.cursor) {
            Some((events, bytes)) => {
                let lags = events > slow.events_max as u64 || bytes > slow.bytes_max as u64;
                lags && self.cursor >= self.replay
            }
            // A channel that is over may have dropped its ring, which is not the reader's fault.
            None => !channel.is_over(),
        }
    }

    /// What a reader that is behind gets next of what is `swept`, or what is to be done with it.
    pub(super) fn next_batch(
        &mut self,
        swept: u64,
        delivered: &mut Delivered,
    ) -> Result<Box<Batch>, Step> {
        let settings = self.holds.settings();
        let slow = &settings.slow;
        match slow.policy {
            SlowPolicy::Conflate(_) if self.cursor < self.conflated || self.is_too_far(slow) => {
                return self.next_newest(swept, delivered);
            }
            SlowPolicy::Skip if self.is_too_far(slow) => {
                // The newest is what it is to have; only if that was evicted as well, it waits for the
                // next.
                let until = if self.cursor + 1 < swept {
                    swept - 1
                } else {
                    swept
                };
                return Err(self.skip(until, delivered));
            }
            SlowPolicy::Disconnect | SlowPolicy::Skip | SlowPolicy::Conflate(_) => {}
        }
        let channel = self.holds.channel();
        match Batch::gather(channel, self.cursor, swept, CATCH_UP_BYTES_MAX) {
            Gathered::Batch(batch) => Ok(batch),
            // The channel took its ring with it. The reader is told so in its turn.
            Gathered::Evicted if channel.is_over() => Err(Step::Waits),
            // Evicted since we looked.
            Gathered::Evicted if slow.policy != SlowPolicy::Disconnect => Err(Step::More),
            Gathered::Nothing | Gathered::Evicted => Err(Step::Ends(EndReason::Slow)),
        }
    }

    /// The same for a reader that gets only the newest event of each key up to where it was too far
    /// behind. What is lost even of those it is told first.
    fn next_newest(&mut self, swept: u64, delivered: &mut Delivered) -> Result<Box<Batch>, Step> {
        let channel = self.holds.channel();
        let lost = channel.lost().min(swept);
        if self.cursor < lost {
            // The channel took its ring with it. The reader is told so in its turn.
            let is_over = channel.is_over();
            return Err(if is_over {
                Step::Waits
            } else {
                self.skip(lost, delivered)
            });
        }
        if self.cursor >= self.conflated {
            let hole = channel.conflate(self.cursor, swept);
            self.conflated = swept;
            return Err(self.tell(hole, None, delivered).unwrap_or(Step::More));
        }
        match Batch::gather_newest(channel, self.cursor, self.conflated, CATCH_UP_BYTES_MAX) {
            Gathered::Batch(batch) => Ok(batch),
            // All of it has newer ones that come in their turn.
            Gathered::Nothing => {
                let passed = self.conflated - self.cursor;
                channel.route_metrics.events_skipped.add(passed);
                self.cursor = self.conflated;
                Err(Step::More)
            }
            // Lost since we looked.
            Gathered::Evicted => Err(Step::More),
        }
    }

    /// Passes over everything up to `until`, which leaves what is newer; the reader is told so first. Under
    /// `ids: unique`, and in a comment, the notice has no id: who is cut right behind it comes back
    /// by its last event, to what is still held of what it missed.
    fn skip(&mut self, until: u64, delivered: &mut Delivered) -> Step {
        let skip = self.holds.channel().skip(self.cursor, until);
        if let Some(end) = self.tell(skip.hole, skip.gap_id.as_deref(), delivered) {
            return end;
        }
        self.cursor = skip.cursor;
        if skip.ends {
            Step::Ends(EndReason::UpstreamEnded)
        } else {
            Step::More
        }
    }

    /// Tells of a hole before anything else; or that ends the stream, where gaps do.
    fn tell(&mut self, hole: Hole, id: Option<&str>, delivered: &mut Delivered) -> Option<Step> {
        debug_assert!(self.out.is_empty(), "what is owed goes first");
        let notice = match self.form.gap {
            GapForm::Event => gap_event(hole, id),
            GapForm::Comment => gap_comment(hole),
            GapForm::Close => return Some(Step::Ends(EndReason::Gap)),
        };
        self.out = match self.form.framing {
            Framing::Chunked => notice.chunked().clone(),
            Framing::Plain => notice.payload(),
        };
        delivered.events += 1;
        None
    }
}

#[cfg(test)]
mod tests;
