//! A channel as one shard knows it, and the seats of its readers.

use std::sync::Arc;

use super::Shard;
use crate::{
    channel::shared::Channel,
    clock::Millis,
    egress::{
        handle::{SlotWake, Token},
        subscriber::{Pace, Reading, Stage},
    },
    error::EndReason,
};

/// A channel as this shard knows it.
pub(super) struct Slot {
    pub(super) shard: u32,
    pub(super) channel: Arc<Channel>,
    pub(super) wake: Arc<SlotWake>,
    /// Level readers have everything up to here.
    pub(super) swept: u64,
    /// When level readers were last written to.
    pub(super) wrote: Millis,
    /// Indices of readers. The level ones stand first, so that the sweep runs over dense memory.
    pub(super) readers: Vec<usize>,
    /// How many of them are level.
    pub(super) level: usize,
    /// Joiners to be answered. Who left meanwhile may still stand here.
    pub(super) waiting: Vec<Token>,
    /// Readers that wait for the sweep; likewise.
    pub(super) ahead: Vec<Token>,
    /// Readers and waiting joiners.
    pub(super) members: usize,
    /// Why its readers are being closed, if they are.
    pub(super) closing: Option<EndReason>,
}

impl Slot {
    /// Level readers are about to have everything up to `sequence`.
    pub(super) fn advance(&mut self, sequence: u64, now: Millis) {
        debug_assert!(sequence >= self.swept, "a sweep never goes back");
        self.swept = sequence;
        self.wrote = now;
        self.wake.set_swept(sequence);
    }

    /// The level reader at `seat`.
    pub(super) fn level_reader(&self, seat: usize) -> Option<usize> {
        self.readers
            .get(seat)
            .copied()
            .filter(|_| seat < self.level)
    }
}

impl Drop for Slot {
    /// Also when the shard panicked: the channel must not wake what is gone.
    fn drop(&mut self) {
        self.channel.detach(self.shard);
    }
}

impl Shard {
    /// The slot of `channel`, made when it is the first client of it here.
    pub(super) fn slot_of(&mut self, channel: &Arc<Channel>, now: Millis) -> usize {
        let address = Arc::as_ptr(channel) as usize;
        if let Some(slot) = self.by_channel.get(&address) {
            return *slot;
        }
        let entry = self.slots.vacant_entry();
        let index = entry.key();
        let wake = Arc::new(SlotWake::new(
            self.shared.clone(),
            number(index),
            channel.head(),
        ));
        channel.attach(self.shared.id, wake.clone());
        // Looked at once the channel knows us: what comes later wakes us.
        let swept = channel.head();
        wake.set_swept(swept);
        entry.insert(Slot {
            shard: self.shared.id,
            channel: channel.clone(),
            wake,
            swept,
            wrote: now,
            readers: Vec::new(),
            level: 0,
            waiting: Vec::new(),
            ahead: Vec::new(),
            members: 0,
            closing: None,
        });
        self.by_channel.insert(address, index);
        index
    }

    /// One member less. A slot without any is given up; the channel no longer wakes this shard.
    pub(super) fn forget_member(&mut self, index: u32) {
        let index = index as usize;
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.members -= 1;
        if slot.members == 0 {
            debug_assert!(slot.readers.is_empty(), "an empty slot has no readers");
            let slot = self.slots.remove(index);
            self.by_channel
                .remove(&(Arc::as_ptr(&slot.channel) as usize));
        }
    }

    /// Gives a reader the last seat, behind the level ones.
    pub(super) fn seat(&mut self, index: usize, reader: usize) -> u32 {
        let Some(slot) = self.slots.get_mut(index) else {
            return u32::MAX;
        };
        slot.readers.push(reader);
        number(slot.readers.len() - 1)
    }

    /// Takes a reader's seat from it.
    pub(super) fn unseat(&mut self, index: u32, seat: u32) {
        let index = index as usize;
        let seat = self.lower(index, seat as usize);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.readers.swap_remove(seat);
        if let Some(moved) = slot.readers.get(seat).copied() {
            self.note_seat(moved, seat);
        }
    }

    /// The reader at `seat` is level from now on.
    pub(super) fn level(&mut self, index: usize, seat: u32) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let last = slot.level;
        slot.level += 1;
        self.swap_seats(index, seat as usize, last);
        self.set_pace(index, last, Pace::Level);
    }

    /// The level reader at `seat` keeps up otherwise from now on.
    pub(super) fn unlevel(&mut self, index: usize, seat: usize, pace: Pace) {
        let seat = self.lower(index, seat);
        self.set_pace(index, seat, pace);
    }

    /// Moves a reader out of the level ones, if it is one; returns its seat.
    fn lower(&mut self, index: usize, seat: usize) -> usize {
        let Some(slot) = self.slots.get_mut(index) else {
            return seat;
        };
        if seat >= slot.level {
            return seat;
        }
        slot.level -= 1;
        let last = slot.level;
        self.swap_seats(index, seat, last);
        last
    }

    fn swap_seats(&mut self, index: usize, one: usize, other: usize) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        debug_assert!(one.max(other) < slot.readers.len(), "both seats exist");
        slot.readers.swap(one, other);
        for seat in [one, other] {
            if let Some(reader) = self.slots.get(index).and_then(|s| s.readers.get(seat)) {
                self.note_seat(*reader, seat);
            }
        }
    }

    fn note_seat(&mut self, reader: usize, seat: usize) {
        if let Some(reading) = self.reading_mut(reader) {
            reading.seat = number(seat);
        }
    }

    fn set_pace(&mut self, index: usize, seat: usize, pace: Pace) {
        if let Some(reader) = self
            .slots
            .get(index)
            .and_then(|s| s.readers.get(seat))
            .copied()
            && let Some(reading) = self.reading_mut(reader)
        {
            reading.pace = pace;
        }
    }

    fn reading_mut(&mut self, reader: usize) -> Option<&mut Reading> {
        match &mut self.subscribers.get_mut(reader)?.stage {
            Stage::Reading(reading) => Some(reading),
            Stage::Waiting(_) | Stage::Ending(_) | Stage::Gone => None,
        }
    }

    /// The readers of a slot.
    pub(super) fn readers_of(&self, index: usize) -> Vec<Token> {
        let readers = self.slots.get(index).map(|slot| &slot.readers);
        readers
            .into_iter()
            .flatten()
            .filter_map(|reader| self.token(*reader))
            .collect()
    }
}

/// Slots and seats are fewer than subscribers, which descriptors bound.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
