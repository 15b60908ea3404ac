//! The streams of one HTTP/2 connection: who writes to each of them, and who waits for that. Pure.

use std::{collections::HashMap, task::Waker};

use h2::Reason;
use slab::Slab;

/// A stream of the connection, open or closed, until its owner is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Key(u32);

impl Key {
    /// Streams are fewer than their numbers, which have 31 bits.
    fn new(place: usize) -> Self {
        Self(u32::try_from(place).unwrap_or(u32::MAX))
    }

    const fn place(self) -> usize {
        self.0 as usize
    }
}

/// Whether a stream can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its response head has not passed.
    Headless,
    /// Yes.
    Open,
    /// Not any more.
    Closed,
}

/// Who writes the DATA of a stream, and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Crate,
    Shard,
    /// The shard has given it up before its end: it is to be reset.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) state: State,
    pub(super) owner: Owner,
    /// What the client takes on this stream; below 0 after it made its windows smaller.
    pub(super) window: i64,
    /// `waker` is to be woken when more can be sent; in any case it is when the stream is closed.
    wants_room: bool,
    waker: Option<Waker>,
}

impl Entry {
    /// Wakes who waits for room.
    fn wake(&mut self) -> bool {
        let waits = std::mem::take(&mut self.wants_room);
        if waits && let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        waits
    }
}

/// All that are not forgotten.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Slab<Entry>,
    by_id: HashMap<u32, Key>,
    /// The highest that the client opened.
    last: u32,
    /// Those that are not closed.
    open: usize,
    /// Those of the shard.
    owned: usize,
    /// Those who want room.
    waiting: usize,
    /// The place of whose turn it is to be woken when there is room for some only.
    next: usize,
    /// To be reset as soon as their response heads have passed.
    resets: Vec<(u32, Reason)>,
}

impl Streams {
    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.all.get(key.place())
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.all.get_mut(key.place())
    }

    /// The stream with this number.
    pub(super) fn find(&mut self, stream: u32) -> Option<&mut Entry> {
        let key = self.by_id.get(&stream)?;
        self.all.get_mut(key.place())
    }

    /// Whether it is not forgotten: of a stream of the crate's, whether it can be sent more.
    pub(super) fn has(&self, stream: u32) -> bool {
        self.by_id.contains_key(&stream)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.all.iter_mut().map(|(_, entry)| entry)
    }

    /// Whether it can be written to.
    pub(super) fn state(&self, key: Key) -> State {
        self.get(key).map_or(State::Closed, |entry| entry.state)
    }

    /// Its number on the wire.
    pub(super) fn id(&self, key: Key) -> u32 {
        self.get(key).map_or(0, |entry| entry.id)
    }

    /// Whether the client has more than `max` streams open.
    pub(super) const fn is_above(&self, max: usize) -> bool {
        self.open > max
    }
}

/// Their lives.
impl Streams {
    /// HEADERS of the client: a stream opens, or its trailers come.
    pub(super) fn opened(&mut self, stream: u32, window: i64) {
        if stream <= self.last {
            return;
        }
        self.last = stream;
        let key = Key::new(self.all.insert(Entry {
            id: stream,
            state: State::Headless,
            owner: Owner::Crate,
            window,
            wants_room: false,
            waker: None,
        }));
        self.open += 1;
        self.by_id.insert(stream, key);
    }

    /// A response head has passed.
    pub(super) fn headed(&mut self, stream: u32) {
        let Some(key) = self.by_id.get(&stream).copied() else {
            return;
        };
        if let Some(entry) = self.get_mut(key)
            && entry.state == State::Headless
        {
            entry.state = State::Open;
            self.wake(key);
        }
    }

    /// RST_STREAM, from either side, or the end of what we send.
    pub(super) fn closed(&mut self, stream: u32) {
        let Some(key) = self.by_id.get(&stream).copied() else {
            return;
        };
        if self.get(key).is_some_and(|one| one.owner != Owner::Shard) {
            return self.remove(key);
        }
        // Its owner is to see it, and gives it up.
        self.close(key);
        if let Some(waker) = self.get_mut(key).and_then(|entry| entry.waker.take()) {
            waker.wake();
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(entry) = self.all.get_mut(key.place()) {
            self.open -= usize::from(entry.state != State::Closed);
            self.waiting -= usize::from(std::mem::take(&mut entry.wants_room));
            entry.state = State::Closed;
        }
    }

    fn remove(&mut self, key: Key) {
        self.close(key);
        if let Some(entry) = self.all.try_remove(key.place()) {
            self.by_id.remove(&entry.id);
        }
    }

    /// Resets a stream as soon as it can be.
    pub(super) fn reset(&mut self, stream: u32, reason: Reason) {
        self.resets.push((stream, reason));
    }

    /// Resets the streams that are to be, and can: `reset` writes that. They are closed.
    pub(super) fn reset_due(&mut self, mut reset: impl FnMut(u32, Reason)) {
        let mut resets = std::mem::take(&mut self.resets);
        resets.retain(|(stream, reason)| {
            let state = self.find(*stream).map(|entry| entry.state);
            if state == Some(State::Open) {
                reset(*stream, *reason);
                self.closed(*stream);
            }
            state == Some(State::Headless)
        });
        self.resets = resets;
    }

    /// Whether some are to be reset, now or later.
    pub(super) const fn has_resets(&self) -> bool {
        !self.resets.is_empty()
    }
}

/// Those of the shard.
impl Streams {
    /// The stream, all but its response head, is the shard's from now on. `None`: it is closed already.
    pub(super) fn adopt(&mut self, stream: u32) -> Option<Key> {
        let key = self.by_id.get(&stream).copied()?;
        let entry = self.get_mut(key)?;
        debug_assert!(entry.owner == Owner::Crate, "a stream has one owner");
        entry.owner = Owner::Shard;
        self.owned += 1;
        Some(key)
    }

    /// Whether a stream is the crate's no more, once it has written the response head.
    pub(super) fn is_taken_over(&self, stream: u32) -> bool {
        let key = self.by_id.get(&stream);
        key.and_then(|key| self.get(*key))
            .is_some_and(|entry| entry.owner != Owner::Crate)
    }

    /// Whether the shard has any.
    pub(super) const fn is_shared(&self) -> bool {
        self.owned > 0
    }

    /// Says the end of a stream. Its number, if it was open.
    pub(super) fn end(&mut self, key: Key) -> Option<u32> {
        let entry = self.get(key)?;
        let id = (entry.state == State::Open).then_some(entry.id)?;
        self.close(key);
        Some(id)
    }

    /// The shard is done with its stream. What has not ended is reset.
    pub(super) fn release(&mut self, key: Key) {
        let Some(entry) = self.all.get_mut(key.place()) else {
            return;
        };
        debug_assert!(entry.owner == Owner::Shard, "only an owner gives up");
        self.owned -= 1;
        if entry.state == State::Closed {
            return self.remove(key);
        }
        entry.owner = Owner::Nobody;
        self.resets.push((entry.id, Reason::CANCEL));
    }
}

/// Who waits.
impl Streams {
    /// Whom to wake when this stream may be written to again, or is closed. There is one for each
    /// stream, whatever it waits for.
    pub(super) fn wait_for_room(&mut self, key: Key, waker: &Waker) {
        self.wait_for_end(key, waker);
        if let Some(entry) = self.all.get_mut(key.place())
            && !std::mem::replace(&mut entry.wants_room, true)
        {
            self.waiting += 1;
        }
    }

    /// Whom to wake when this stream is closed.
    pub(super) fn wait_for_end(&mut self, key: Key, waker: &Waker) {
        if let Some(entry) = self.get_mut(key) {
            match &mut entry.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Wakes who wants room on this stream.
    pub(super) fn wake(&mut self, key: Key) {
        if let Some(entry) = self.all.get_mut(key.place()) {
            self.waiting -= usize::from(entry.wake());
        }
    }

    /// Wakes those who want room and have some on their streams: `most` of them, in turns. Whether more
    /// are left.
    pub(super) fn wake_ready(&mut self, most: usize) -> bool {
        if self.waiting == 0 {
            return false;
        }
        let (mut woken, first) = (0, self.next);
        for place in (first..self.all.capacity()).chain(0..first) {
            let Some(entry) = self.all.get_mut(place) else {
                continue;
            };
            if !entry.wants_room || entry.window <= 0 || entry.state != State::Open {
                continue;
            }
            if woken == most {
                self.next = place;
                return true;
            }
            entry.wake();
            woken += 1;
            self.waiting -= 1;
        }
        false
    }

    /// Wakes everybody: the connection is gone.
    pub(super) fn wake_all(&mut self) {
        self.waiting = 0;
        for (_, entry) in &mut self.all {
            entry.wants_room = false;
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::testing::Flag;

    fn owned(streams: &mut Streams, stream: u32) -> Key {
        streams.opened(stream, 1);
        let key = streams.adopt(stream).unwrap();
        streams.headed(stream);
        key
    }

    #[test]
    fn a_closed_stream_is_forgotten_when_its_owner_has_seen_it() {
        let mut streams = Streams::default();
        let key = owned(&mut streams, 1);
        streams.opened(3, 1);
        streams.closed(3);
        streams.closed(1);
        assert_eq!(streams.state(key), State::Closed);
        assert_eq!(streams.all.len(), 1);
        streams.release(key);
        assert!(streams.all.is_empty() && streams.by_id.is_empty());
        streams.opened(1, 1);
        assert_eq!(streams.adopt(1), None, "trailers open nothing");
    }

    #[test]
    fn what_is_given_up_before_its_end_is_reset_once_its_head_has_passed() {
        fn resets(streams: &mut Streams) -> Vec<(u32, Reason)> {
            let mut resets = Vec::new();
            streams.reset_due(|stream, reason| resets.push((stream, reason)));
            resets
        }
        let mut streams = Streams::default();
        for (stream, headed) in [(1, true), (3, false), (5, false), (7, true)] {
            streams.opened(stream, 1);
            let key = streams.adopt(stream).unwrap();
            if headed {
                streams.headed(stream);
            }
            if stream == 7 {
                assert_eq!(streams.end(key), Some(7));
                assert_eq!(streams.end(key), None, "it has ended");
            }
            streams.release(key);
        }
        assert_eq!(resets(&mut streams), [(1, Reason::CANCEL)]);
        assert!(streams.is_taken_over(3), "its head is still not its end");
        streams.headed(3);
        streams.closed(5);
        assert_eq!(resets(&mut streams), [(3, Reason::CANCEL)]);
        assert!(!streams.has_resets() && !streams.is_shared());
        assert!(streams.all.is_empty() && !streams.is_above(0));
    }

    #[test]
    fn who_waits_for_an_end_is_not_woken_by_room() {
        let mut streams = Streams::default();
        let key = owned(&mut streams, 1);
        let woken = Flag::woken();
        streams.wait_for_end(key, &woken.take());
        streams.wake_ready(1);
        streams.wake(key);
        assert_eq!((woken.is_woken(), streams.waiting), (false, 0));
        let waker = woken.take();
        streams.wait_for_room(key, &waker);
        streams.wait_for_end(key, &waker);
        streams.wake_ready(1);
        assert_eq!((woken.is_woken(), streams.waiting), (true, 0));
        woken.take();
        streams.wake_ready(1);
        assert!(!woken.is_woken(), "once");
        streams.closed(1);
        assert!(woken.is_woken());
    }

    #[test]
    fn who_wants_room_is_woken_in_turns() {
        let mut streams = Streams::default();
        let flags: [_; 5] = std::array::from_fn(|_| Flag::woken());
        let keys = [1, 3, 5, 7, 9].map(|stream| owned(&mut streams, stream));
        streams.get_mut(keys[3]).unwrap().window = 0;
        let wake = |streams: &mut Streams, most| {
            for (key, flag) in keys.into_iter().zip(&flags) {
                streams.wait_for_room(key, &flag.take());
            }
            let more = streams.wake_ready(most);
            (flags.each_ref().map(|flag| flag.is_woken()), more)
        };
        let rounds = [
            (2, [true, true, false, false, false], true),
            (2, [false, false, true, false, true], true),
            (1, [true, false, false, false, false], true),
            (4, [true, true, true, false, true], false),
        ];
        for (most, woken, more) in rounds {
            assert_eq!(wake(&mut streams, most), (woken, more));
        }
    }
}
