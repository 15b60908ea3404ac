//! Level readers that share an HTTP/2 connection: what all of them get is framed for each stream and
//! written at once, and their own records are not even looked at.
//!
//! When the connection's socket is full, they fall behind together: the group keeps the batch and the
//! place in it, and goes on when the socket does. What concerns one stream (its window, its end) is its
//! reader's own business: that one leaves the group and is driven alone.

use std::sync::Arc;

use super::{Shard, breathe, slot::number, sweep::SWEEP_BYTES_MAX};
use crate::{
    clock::{self, Millis},
    egress::{
        batch::{Batch, Form, Framing, GapForm, Gathered},
        h2::{Connection, Key},
        handle::{GroupToken, GroupWake},
        subscriber::{GroupSeat, Offered, Pace, Stage},
    },
};

/// Batches that one group gets in a row, before the others have their turn.
const BATCHES_IN_TURN: usize = 4;

/// A group whose socket takes nothing for so long is given up: its readers are slow, each by itself.
const PATIENCE_MS: u64 = 500;

/// Level readers of one connection, to whom gaps look the same.
pub(super) struct Group {
    connection: Arc<Connection>,
    gap: GapForm,
    /// Their streams.
    keys: Vec<Key>,
    /// Their indices, in the same order.
    readers: Vec<usize>,
    /// Where they stand when they are not level.
    behind: Option<Behind>,
    wake: Arc<GroupWake>,
}

/// A group in the middle of a batch.
struct Behind {
    batch: Arc<Batch>,
    /// Those before this place have all of it, the others nothing.
    next: usize,
    /// Since when the socket has taken nothing.
    since: Millis,
}

impl Group {
    pub(super) const fn new(
        connection: Arc<Connection>,
        gap: GapForm,
        wake: Arc<GroupWake>,
    ) -> Self {
        Self {
            connection,
            gap,
            keys: Vec::new(),
            readers: Vec::new(),
            behind: None,
            wake,
        }
    }

    /// What tells it from other groups of a slot.
    pub(super) fn name(connection: &Arc<Connection>, gap: GapForm) -> (usize, GapForm) {
        (Arc::as_ptr(connection) as usize, gap)
    }

    pub(super) fn own_name(&self) -> (usize, GapForm) {
        Self::name(&self.connection, self.gap)
    }

    pub(super) fn readers(&self) -> &[usize] {
        &self.readers
    }

    pub(super) const fn is_level(&self) -> bool {
        self.behind.is_none()
    }

    /// Some have the batch, others not.
    #[cfg(test)]
    pub(super) fn is_halfway(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.next > 0)
    }

    /// The form of what its readers get.
    const fn form(&self) -> Form {
        Form {
            framing: Framing::Plain,
            gap: self.gap,
        }
    }

    /// Takes in a level reader; returns its place.
    pub(super) fn push(&mut self, key: Key, reader: usize) -> u32 {
        debug_assert!(self.is_level(), "who joins has what the others have");
        self.keys.push(key);
        self.readers.push(reader);
        number(self.readers.len() - 1)
    }

    /// Gives up a place; `moved` is told who else has another one now.
    pub(super) fn remove(&mut self, at: usize, mut moved: impl FnMut(usize, u32)) {
        debug_assert!(at < self.readers.len(), "who leaves was there");
        let mut at = at;
        // Those who have the batch stay before those who have not.
        if let Some(behind) = &mut self.behind
            && at < behind.next
        {
            behind.next -= 1;
            let last = behind.next;
            if at != last {
                self.keys.swap(at, last);
                self.readers.swap(at, last);
                if let Some(reader) = self.readers.get(at) {
                    moved(*reader, number(at));
                }
            }
            at = last;
        }
        self.keys.swap_remove(at);
        self.readers.swap_remove(at);
        if let Some(reader) = self.readers.get(at) {
            moved(*reader, number(at));
        }
    }
}

impl Shard {
    /// One batch to the level readers of a slot over HTTP/2.
    pub(super) async fn sweep_groups(&mut self, index: usize, batch: &Arc<Batch>) {
        let now = clock::now();
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        // All of them before the first is driven: that may have others join, who have this batch
        // already, or make a group of their own.
        let mut due = std::mem::take(&mut self.due_groups);
        for (at, group) in &mut slot.groups {
            if group.is_level() {
                due.push((at, group.readers.len()));
                group.behind = Some(Behind {
                    batch: batch.clone(),
                    next: 0,
                    since: now,
                });
            }
        }
        let mut done = 0;
        for (at, members) in due.drain(..) {
            self.drive_group(index, at, now);
            for _ in 0..members {
                breathe(done).await;
                done += 1;
            }
        }
        self.due_groups = due;
    }

    /// The socket of a group takes more.
    pub(super) fn group_woken(&mut self, token: GroupToken) {
        let (index, at) = (token.slot as usize, token.group as usize);
        let group = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.groups.get_mut(at));
        let Some(group) = group.filter(|group| group.wake.is_of(token)) else {
            return;
        };
        group.wake.seen();
        if !group.is_level() {
            self.drive_group(index, at, clock::now());
        }
    }

    /// Writes on, until the group is level or its socket full.
    fn drive_group(&mut self, index: usize, at: usize, now: Millis) {
        for _ in 0..BATCHES_IN_TURN {
            if !self.push_group(index, at, now) || !self.next_of_group(index, at, now) {
                return;
            }
        }
        let group = self.slots.get(index).and_then(|slot| slot.groups.get(at));
        if let Some(group) = group {
            // It may take more, in its next turn.
            group.wake.call();
        }
    }

    /// The batch of a group, as far as its socket takes it. `true`: all of it.
    fn push_group(&mut self, index: usize, at: usize, now: Millis) -> bool {
        let group = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.groups.get_mut(at));
        let Some(group) = group else {
            return false;
        };
        let form = group.form();
        let Some(behind) = &mut group.behind else {
            return false;
        };
        let Some(laid) = behind.batch.laid(form) else {
            return false;
        };
        let after = behind.batch.after;
        if behind.batch.ends || laid.closes_at_gap {
            // Streams end, or are closed, which is each one's own business.
            for (reader, batch, has_it) in self.disband(index, at) {
                if !has_it {
                    let offered = self.offer_level(reader, &batch);
                    self.note_offered(index, reader, offered, now);
                }
            }
            return false;
        }
        let mut lagging = std::mem::take(&mut self.lagging);
        let (connection, readers) = (&group.connection, &group.readers);
        let reached = connection.sweep(&group.keys, behind.next, &laid.bytes, |place| {
            lagging.extend(readers.get(place));
        });
        let taken = reached.saturating_sub(behind.next + lagging.len()) as u64;
        self.delivered.bytes += taken * laid.bytes.len() as u64;
        self.delivered.events += taken * laid.begun(laid.bytes.len());
        if reached > behind.next {
            behind.since = now;
        }
        behind.next = reached;
        let is_whole = reached == readers.len();
        if !is_whole {
            connection.when_there_is_room(&group.wake);
        }
        for reader in lagging.drain(..) {
            if let Some(token) = self.token(reader) {
                self.lag_from(token, after, now);
            }
        }
        self.lagging = lagging;
        is_whole
    }

    /// Takes a group to its next batch, or has it level. `true`: there is one.
    fn next_of_group(&mut self, index: usize, at: usize, now: Millis) -> bool {
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        let Some(group) = slot.groups.get_mut(at) else {
            return false;
        };
        let Some(behind) = &mut group.behind else {
            return false;
        };
        let cursor = behind.batch.last;
        if cursor >= slot.swept {
            group.behind = None;
            // Who could not join meanwhile can now.
            for token in std::mem::take(&mut slot.ahead) {
                self.drive(token, now);
            }
            return false;
        }
        match Batch::gather(&slot.channel, cursor, slot.swept, SWEEP_BYTES_MAX) {
            Gathered::Batch(batch) => {
                behind.batch = Arc::from(batch);
                behind.next = 0;
                true
            }
            Gathered::Nothing | Gathered::Evicted => {
                self.dissolve(index, at, now);
                false
            }
        }
    }

    /// The readers of a group are driven one by one from now on.
    fn dissolve(&mut self, index: usize, at: usize, now: Millis) {
        for (reader, batch, has_it) in self.disband(index, at) {
            let cursor = if has_it { batch.last } else { batch.after };
            if let Some(token) = self.token(reader) {
                self.lag_from(token, cursor, now);
            }
        }
    }

    /// A group gives up its batch: its readers, with that batch, and whether they have it. They are to
    /// leave the group, or to take the batch.
    fn disband(
        &mut self,
        index: usize,
        at: usize,
    ) -> impl Iterator<Item = (usize, Arc<Batch>, bool)> + use<> {
        let group = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.groups.get_mut(at));
        let disbanded = group.and_then(|group| Some((group.behind.take()?, group.readers.clone())));
        disbanded.into_iter().flat_map(|(behind, readers)| {
            let places = readers.into_iter().enumerate();
            places.map(move |(place, reader)| (reader, behind.batch.clone(), place < behind.next))
        })
    }

    /// Groups that are stuck are given up, and those that fall behind too far. Who waits for such a one,
    /// or for one that its readers have left, is driven.
    pub(super) async fn check_groups(&mut self, now: Millis) {
        let mut done = 0;
        for index in 0..self.slots.capacity() {
            for at in 0..self
                .slots
                .get(index)
                .map_or(0, |slot| slot.groups.capacity())
            {
                if self.is_hopeless(index, at, now) {
                    self.dissolve(index, at, now);
                }
                breathe(done).await;
                done += 1;
            }
            self.catch_up(index).await;
        }
    }

    fn is_hopeless(&self, index: usize, at: usize, now: Millis) -> bool {
        let Some(slot) = self.slots.get(index) else {
            return false;
        };
        let Some(behind) = slot.groups.get(at).and_then(|group| group.behind.as_ref()) else {
            return false;
        };
        let settings = slot.channel.settings();
        let lags = slot.channel.lag(behind.batch.after);
        let is_too_far = lags.is_none_or(|(events, bytes)| {
            events > settings.slow.events_max as u64 || bytes > settings.slow.bytes_max as u64
        });
        is_too_far || now.0.saturating_sub(behind.since.0) >= PATIENCE_MS
    }

    /// A reader that is level joins those of its connection, if they are too. `None`: it has none to
    /// share.
    pub(super) fn join_group(&mut self, index: usize, reader: usize) -> Option<bool> {
        let subscriber = self.subscribers.get_mut(reader)?;
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return None;
        };
        let (connection, key) = reading.sink.stream()?;
        let slot = self.slots.get_mut(index)?;
        self.generation = self.generation.wrapping_add(1);
        let (shared, generation) = (&self.shared, self.generation);
        let wake = |group| {
            let slot = number(index);
            let token = GroupToken {
                slot,
                group,
                generation,
            };
            Arc::new(GroupWake::new(shared.clone(), token))
        };
        let Some(place) = slot.join_group(connection, key, reading.form.gap, reader, wake) else {
            return Some(false);
        };
        reading.group = Some(place);
        reading.pace = Pace::Level;
        Some(true)
    }

    /// A reader leaves its group.
    pub(super) fn leave_group(&mut self, index: usize, seat: GroupSeat) {
        let (slots, subscribers) = (&mut self.slots, &mut self.subscribers);
        let Some(slot) = slots.get_mut(index) else {
            return;
        };
        slot.leave_group(seat, |moved, at| {
            let subscriber = subscribers.get_mut(moved);
            if let Some(Stage::Reading(reading)) = subscriber.map(|moved| &mut moved.stage) {
                let group = seat.group;
                reading.group = Some(GroupSeat { group, at });
            }
        });
    }

    /// What a level reader made of a batch.
    pub(super) fn note_offered(
        &mut self,
        index: usize,
        reader: usize,
        offered: Offered,
        now: Millis,
    ) {
        match offered {
            Offered::Taken => {}
            Offered::Pending => {
                self.unlevel(index, reader, Pace::Behind(now));
                self.note_behind(reader);
            }
            Offered::Ends(reason) => {
                self.unlevel(index, reader, Pace::Ahead);
                if let Some(token) = self.token(reader) {
                    self.end(token, reason, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
