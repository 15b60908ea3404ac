//! Level readers that share an HTTP/2 connection: what all of them get is framed for each stream and
//! written at once, and their own records are not even looked at.

use std::sync::Arc;

use super::{Shard, breathe, slot::number};
use crate::{
    clock::{self, Millis},
    egress::{
        batch::{Batch, Form, Framing, GapForm},
        h2::{Connection, Key},
        subscriber::{GroupSeat, Offered, Pace, Stage},
    },
};

/// Level readers of one connection, to whom gaps look the same.
pub(super) struct Group {
    connection: Arc<Connection>,
    gap: GapForm,
    /// Their streams.
    keys: Vec<Key>,
    /// Their indices, in the same order.
    readers: Vec<usize>,
}

impl Group {
    pub(super) const fn new(connection: Arc<Connection>, gap: GapForm) -> Self {
        Self {
            connection,
            gap,
            keys: Vec::new(),
            readers: Vec::new(),
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

    /// Takes in a reader; returns its place.
    pub(super) fn push(&mut self, key: Key, reader: usize) -> u32 {
        self.keys.push(key);
        self.readers.push(reader);
        number(self.readers.len() - 1)
    }

    /// Gives up a place; returns who has it now.
    pub(super) fn remove(&mut self, at: usize) -> Option<usize> {
        debug_assert!(at < self.readers.len(), "who leaves was there");
        self.keys.swap_remove(at);
        self.readers.swap_remove(at);
        self.readers.get(at).copied()
    }
}

impl Shard {
    /// One batch to the level readers of a slot over HTTP/2.
    pub(super) async fn sweep_groups(&mut self, index: usize, batch: &Batch) {
        let (mut at, mut done) = (0, 0);
        while let Some(slot) = self.slots.get(index)
            && at < slot.groups.capacity()
        {
            if let Some(group) = slot.groups.get(at) {
                let members = group.readers.len();
                self.sweep_group(index, at, batch);
                for _ in 0..members {
                    breathe(done).await;
                    done += 1;
                }
            }
            at += 1;
        }
    }

    fn sweep_group(&mut self, index: usize, at: usize, batch: &Batch) {
        let now = clock::now();
        let Some(group) = self.slots.get(index).and_then(|slot| slot.groups.get(at)) else {
            return;
        };
        let form = Form {
            framing: Framing::Plain,
            gap: group.gap,
        };
        let Some(laid) = batch.laid(form) else {
            return;
        };
        if batch.ends || laid.closes_at_gap {
            return self.sweep_one_by_one(index, at, batch, now);
        }
        let mut lagging = std::mem::take(&mut self.lagging);
        group.connection.sweep(&group.keys, &laid.bytes, |place| {
            lagging.extend(group.readers.get(place));
        });
        let taken = (group.readers.len() - lagging.len()) as u64;
        self.delivered.bytes += taken * laid.bytes.len() as u64;
        self.delivered.events += taken * laid.begun(laid.bytes.len());
        for reader in lagging.drain(..) {
            if let Some(token) = self.token(reader) {
                self.lag_from(token, batch.after, now);
            }
        }
        self.lagging = lagging;
    }

    /// Their streams end, which is each one's own business.
    fn sweep_one_by_one(&mut self, index: usize, at: usize, batch: &Batch, now: Millis) {
        let group = self.slots.get(index).and_then(|slot| slot.groups.get(at));
        let readers = group.map(|group| group.readers.clone()).unwrap_or_default();
        for reader in readers {
            let offered = self.offer_level(reader, batch);
            self.note_offered(index, reader, offered, now);
        }
    }

    /// A reader that is level joins those of its connection. `false`: it has none to share.
    pub(super) fn join_group(&mut self, index: usize, reader: usize) -> bool {
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        let subscriber = self.subscribers.get_mut(reader);
        let Some(Stage::Reading(reading)) = subscriber.map(|subscriber| &mut subscriber.stage)
        else {
            return false;
        };
        let Some((connection, key)) = reading.sink.stream() else {
            return false;
        };
        reading.group = Some(slot.join_group(connection, key, reading.form.gap, reader));
        reading.pace = Pace::Level;
        true
    }

    /// A reader leaves its group.
    pub(super) fn leave_group(&mut self, index: usize, seat: GroupSeat) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if let Some(moved) = slot.leave_group(seat)
            && let Some(reading) = self.reading_mut(moved)
        {
            reading.group = Some(seat);
        }
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
