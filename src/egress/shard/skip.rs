//! Readers that are too far behind, and what they pass over under `slow.policy: skip`.
//!
//! That is found out when such a reader may be written to again: until then it costs nothing, and
//! then it goes as far as it can.

use super::{Shard, sweep::Step};
use crate::{
    channel::ring::{gap_comment, gap_event},
    clock::Millis,
    config::model::SlowReader,
    egress::{
        batch::{Framing, GapForm},
        handle::Token,
        subscriber::{Delivered, Pace, Reading, Stage},
    },
    error::EndReason,
};

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
        let (slot, seat) = (reading.slot as usize, reading.seat as usize);
        self.unlevel(slot, seat, Pace::Behind(now));
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

    /// Passes over everything up to `until`, which leaves the newest; the reader is told so before
    /// anything else. Under `ids: unique`, and in a comment, the notice has no id: who is cut right
    /// behind it comes back by its last event, to what is still held of what it missed.
    pub(super) fn skip(&mut self, until: u64, delivered: &mut Delivered) -> Step {
        debug_assert!(self.out.is_empty(), "what is owed goes first");
        let skip = self.holds.channel().skip(self.cursor, until);
        let notice = match self.form.gap {
            GapForm::Event => gap_event(skip.hole, skip.gap_id.as_deref()),
            GapForm::Comment => gap_comment(skip.hole),
            GapForm::Close => return Step::Ends(EndReason::Gap),
        };
        self.out = match self.form.framing {
            Framing::Chunked => notice.chunked().clone(),
            Framing::Plain => notice.payload(),
        };
        self.cursor = skip.cursor;
        delivered.events += 1;
        if skip.ends {
            Step::Ends(EndReason::UpstreamEnded)
        } else {
            Step::More
        }
    }
}

#[cfg(test)]
mod tests;
