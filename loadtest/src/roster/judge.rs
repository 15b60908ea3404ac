//! What has been found in the stream of one subscriber, and what it says of the server.

use crate::{
    diary::Diary,
    payload::Stamp,
    rounds::Rounds,
    tally::Counts,
    wire::{
        scanner::{Expect, Found},
        sequence::Sequence,
    },
};

/// The channel, as in [`Stamp::channel`], of a subscriber to which events of any channel may come.
pub(super) const ANY_CHANNEL: u32 = u32::MAX;

/// Everything that is found for one subscriber goes through here.
pub(super) struct Judge<'a> {
    pub(super) place: usize,
    pub(super) expect: Expect,
    pub(super) channel: u32,
    /// When the bytes came.
    pub(super) now_ns: u64,
    pub(super) measuring: bool,
    pub(super) counts: &'a mut Counts,
    pub(super) sequence: &'a mut Sequence,
    pub(super) faulty: &'a mut bool,
    pub(super) highest: &'a mut u64,
    pub(super) rounds: Option<&'a mut Rounds>,
    pub(super) diary: Option<&'a mut Diary>,
}

impl Judge<'_> {
    /// Counts it.
    pub(super) fn take(&mut self, found: Found) {
        let found = match found {
            // Whole, but for somebody else.
            Found::Message {
                stamp: Some(stamp), ..
            } if ![stamp.channel, ANY_CHANNEL].contains(&self.channel) => Found::Torn,
            Found::Message { .. } | Found::Gap { .. } | Found::Torn => found,
        };
        let number = number_of(found, self.expect);
        *self.faulty |= self.counts.count(found, number, self.sequence);
        *self.highest = (*self.highest).max(number.unwrap_or(0));
        let latency = stamp_of(found).filter(|_| self.measuring);
        let latency = latency.map(|stamp| self.now_ns.saturating_sub(stamp.sent_ns));
        if let Some(diary) = &mut self.diary {
            diary.found(self.place, found, self.now_ns, latency);
        }
        if !matches!(found, Found::Message { .. }) {
            return;
        }
        if let (Some(number), Some(rounds)) = (number, &mut self.rounds) {
            rounds.arrive(number);
        }
        if self.measuring {
            self.counts.measured += 1;
            if let Some(latency) = latency {
                self.counts.latency.record_ns(latency);
            }
        }
    }
}

fn stamp_of(found: Found) -> Option<Stamp> {
    match found {
        Found::Message { stamp, .. } => stamp,
        Found::Gap { .. } | Found::Torn => None,
    }
}

/// The number of a finding that takes part in the sequence.
pub(super) fn number_of(found: Found, expect: Expect) -> Option<u64> {
    match (found, expect) {
        (Found::Message { stamp, .. }, Expect::Payload) => stamp.map(|stamp| stamp.seq),
        // Under `ids: local` an announced gap has a sequence number of its own.
        (Found::Message { id, .. } | Found::Gap { id }, Expect::Ids) => id,
        (Found::Torn | Found::Gap { .. }, _) | (_, Expect::Any) => None,
    }
}
