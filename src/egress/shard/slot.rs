//! A channel as one shard knows it, and the seats of its readers.

use std::{collections::HashMap, sync::Arc};

use slab::Slab;

use super::{Shard, group::Group};
use crate::{
    channel::shared::Channel,
    clock::Millis,
    egress::{
        batch::GapForm,
        h2::{Connection, Key},
        handle::{GroupWake, SlotWake, Token},
        subscriber::{GroupSeat, Pace, Reading, Stage, Subscriber},
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
    /// Indices of readers. The level ones over HTTP/1 stand first, so that the sweep runs over dense
    /// memory.
    pub(super) readers: Vec<usize>,
    /// How many those are.
    pub(super) level: usize,
    /// The level ones over HTTP/2, by connection.
    pub(super) groups: Slab<Group>,
    by_connection: HashMap<(usize, GapForm), u32>,
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

    /// Somebody is level.
    pub(super) fn has_level(&self) -> bool {
        self.level > 0 || !self.groups.is_empty()
    }

    /// Whether a level reader with this place in a group has everything that was swept.
    pub(super) fn is_up_to_date(&self, place: Option<GroupSeat>) -> bool {
        let group = place.map(|place| self.groups.get(place.group as usize));
        group.is_none_or(|group| group.is_some_and(Group::is_level))
    }

    /// Takes a level reader in among those of its connection, if they are level as well; returns its
    /// place. `wake` is for a group that is new.
    pub(super) fn join_group(
        &mut self,
        connection: &Arc<Connection>,
        key: Key,
        gap: GapForm,
        reader: usize,
        wake: impl FnOnce(u32) -> Arc<GroupWake>,
    ) -> Option<GroupSeat> {
        let name = Group::name(connection, gap);
        let group = *self.by_connection.entry(name).or_insert_with(|| {
            let place = self.groups.vacant_entry();
            let group = number(place.key());
            place.insert(Group::new(connection.clone(), gap, wake(group)));
            group
        });
        let members = self.groups.get_mut(group as usize);
        let members = members.filter(|members| members.is_level())?;
        let at = members.push(key, reader);
        Some(GroupSeat { group, at })
    }

    /// Gives up a place in a group, and the group with the last one. `moved` is told who has another
    /// place now.
    pub(super) fn leave_group(&mut self, seat: GroupSeat, moved: impl FnMut(usize, u32)) {
        let Some(group) = self.groups.get_mut(seat.group as usize) else {
            return;
        };
        group.remove(seat.at as usize, moved);
        if group.readers().is_empty() {
            self.by_connection.remove(&group.own_name());
            self.groups.remove(seat.group as usize);
        }
    }

    /// The level reader over HTTP/1 at `seat`.
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
            groups: Slab::new(),
            by_connection: HashMap::new(),
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

    /// Takes a reader's seat from it, which was taken out already.
    pub(super) fn unseat(&mut self, reading: &Reading) {
        let index = reading.slot as usize;
        if let Some(seat) = reading.group {
            self.leave_group(index, seat);
        }
        let seat = self.lower(index, reading.seat as usize);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.readers.swap_remove(seat);
        if let Some(moved) = slot.readers.get(seat).copied() {
            self.note_seat(moved, seat);
        }
    }

    /// A reader is level from now on.
    pub(super) fn level(&mut self, index: usize, reader: usize) {
        match self.join_group(index, reader) {
            Some(true) => return,
            Some(false) => return self.wait_ahead(index, reader),
            None => {}
        }
        let (Some(reading), Some(slot)) = (
            reading_of(&mut self.subscribers, reader),
            self.slots.get_mut(index),
        ) else {
            return;
        };
        reading.pace = Pace::Level;
        let (seat, last) = (reading.seat as usize, slot.level);
        slot.level += 1;
        self.swap_seats(index, seat, last);
    }

    /// A reader that could be level waits for the next sweep.
    pub(super) fn wait_ahead(&mut self, index: usize, reader: usize) {
        let token = self.token(reader);
        if let Some(reading) = self.reading_mut(reader) {
            reading.pace = Pace::Ahead;
        }
        if let (Some(token), Some(slot)) = (token, self.slots.get_mut(index)) {
            slot.ahead.push(token);
        }
    }

    /// A level reader keeps up otherwise from now on.
    pub(super) fn unlevel(&mut self, index: usize, reader: usize, pace: Pace) {
        let Some(reading) = self.reading_mut(reader) else {
            return;
        };
        reading.pace = pace;
        let seat = reading.seat as usize;
        match reading.group.take() {
            Some(place) => self.leave_group(index, place),
            None => {
                self.lower(index, seat);
            }
        }
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

    pub(super) fn reading_mut(&mut self, reader: usize) -> Option<&mut Reading> {
        reading_of(&mut self.subscribers, reader)
    }

    /// The level readers of a slot.
    pub(super) fn level_readers_of(&self, index: usize) -> Vec<Token> {
        let Some(slot) = self.slots.get(index) else {
            return Vec::new();
        };
        let groups = slot.groups.iter().filter(|(_, group)| group.is_level());
        let grouped = groups.flat_map(|(_, group)| group.readers());
        let level = slot.readers.iter().take(slot.level).chain(grouped);
        level.filter_map(|reader| self.token(*reader)).collect()
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

/// A reader, by its index.
fn reading_of(subscribers: &mut Slab<Subscriber>, reader: usize) -> Option<&mut Reading> {
    match &mut subscribers.get_mut(reader)?.stage {
        Stage::Reading(reading) => Some(reading),
        Stage::Waiting(_) | Stage::Ending(_) | Stage::Gone => None,
    }
}

/// Slots and seats are fewer than subscribers, which descriptors bound.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
