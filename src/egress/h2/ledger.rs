//! What may be sent to an HTTP/2 client, by whom (RFC 9113, section 5.2). Pure.
//!
//! Two send on one connection: the h2 crate, which keeps books of its own, and the shard. A stream is
//! one's or the other's, so its window is too: of what the shard has taken over, the crate knows
//! nothing any more once it has written the response head, for it was told that this is all. The connection's window is shared, and the crate does
//! not know what the shard sends. So the crate is told of less than the client grants: of what comes,
//! it gets so much that the shard keeps a share. It may still have been promised more than is left,
//! for it begins with 65,535 bytes, and no one can take a window back; then its DATA waits in the wire.

use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
};

use h2::Reason;
use slab::Slab;

/// Windows, and the size of frames, that hold until the client says otherwise (section 6.5.2).
const INITIAL_WINDOW: i64 = 65_535;
const INITIAL_FRAME_BYTES: usize = 16_384;

/// No window grows beyond this (section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// The most of a connection's window that is kept for the shard.
const SHARE_MAX: i64 = 16 << 20;

/// A stream in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Key(u32);

/// What a SETTINGS frame of the client changes for us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub(super) initial_window: Option<u32>,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub(super) frame_bytes_max: Option<u32>,
}

/// What becomes of a WINDOW_UPDATE on its way to the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// The crate gets it with this increment.
    Pass(u32),
    /// It is not for the crate.
    Keep,
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
enum Owner {
    Crate,
    Shard,
    /// The shard has given it up before its end: it is to be reset.
    Nobody,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    state: State,
    owner: Owner,
    /// `waker` is to be woken when more can be sent; in any case it is when the stream is closed.
    wants_room: bool,
    /// What the client takes on this stream; below 0 after it made its windows smaller.
    window: i64,
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

/// The books of one connection.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What the client takes on this connection.
    window: i64,
    /// What the crate thinks of that.
    promised: i64,
    initial_window: i64,
    frame_bytes_max: usize,
    /// In force once the crate has acknowledged them, one by one.
    unacknowledged: VecDeque<Settings>,
    streams: Slab<Entry>,
    by_id: HashMap<u32, u32>,
    /// The highest stream that the client opened.
    last: u32,
    /// Streams that are not closed.
    open: usize,
    /// Those of the shard.
    owned: usize,
    /// Those who want room.
    waiting: usize,
    /// Streams to be reset as soon as their response heads have passed.
    resets: Vec<(u32, Reason)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW,
            promised: INITIAL_WINDOW,
            initial_window: INITIAL_WINDOW,
            frame_bytes_max: INITIAL_FRAME_BYTES,
            unacknowledged: VecDeque::new(),
            streams: Slab::new(),
            by_id: HashMap::new(),
            last: 0,
            open: 0,
            owned: 0,
            waiting: 0,
            resets: Vec::new(),
        }
    }
}

/// What comes from the client.
impl Ledger {
    /// HEADERS: a stream opens, or its trailers come.
    pub(super) fn opened(&mut self, stream: u32) {
        if stream <= self.last {
            return;
        }
        self.last = stream;
        let key = self.streams.insert(Entry {
            id: stream,
            state: State::Headless,
            owner: Owner::Crate,
            wants_room: false,
            window: self.initial_window,
            waker: None,
        });
        self.open += 1;
        self.by_id.insert(stream, number(key));
    }

    /// A whole SETTINGS frame.
    pub(super) fn announced(&mut self, settings: Settings) {
        self.unacknowledged.push_back(settings);
    }

    /// WINDOW_UPDATE.
    pub(super) fn granted(&mut self, stream: u32, increment: u32) -> Grant {
        let by = i64::from(increment);
        if stream == 0 {
            return self.connection_granted(by);
        }
        let Some(entry) = self.entry_of(stream) else {
            return Grant::Pass(increment);
        };
        if by == 0 {
            // An error, which is the crate's to judge (section 6.9).
            return Grant::Pass(0);
        }
        let fits = entry.window + by <= i64::from(WINDOW_MAX);
        if fits {
            entry.window += by;
        }
        match (entry.owner, fits) {
            (Owner::Crate, true) => Grant::Pass(increment),
            // An error as well. It knows of less, so it is told of more.
            (Owner::Crate, false) => Grant::Pass(WINDOW_MAX),
            (Owner::Shard | Owner::Nobody, true) => Grant::Keep,
            (Owner::Shard | Owner::Nobody, false) => {
                self.resets.push((stream, Reason::FLOW_CONTROL_ERROR));
                Grant::Keep
            }
        }
    }

    fn connection_granted(&mut self, by: i64) -> Grant {
        if by == 0 {
            return Grant::Pass(0);
        }
        if self.window + by > i64::from(WINDOW_MAX) {
            return Grant::Pass(WINDOW_MAX);
        }
        self.window += by;
        let share = if self.owned > 0 {
            (self.window / 2).min(SHARE_MAX)
        } else {
            0
        };
        let passed = (self.window - share - self.promised).clamp(0, by);
        self.promised += passed;
        match u32::try_from(passed) {
            Ok(0) | Err(_) => Grant::Keep,
            Ok(passed) => Grant::Pass(passed),
        }
    }

    /// RST_STREAM, from either side, or the end of what we send.
    pub(super) fn closed(&mut self, stream: u32) {
        let Some(key) = self.by_id.get(&stream).copied() else {
            return;
        };
        let Some(entry) = self.streams.get_mut(key as usize) else {
            return;
        };
        if entry.owner != Owner::Shard {
            return self.remove(Key(key));
        }
        // Its owner is to see it, and gives it up.
        self.close(Key(key));
        let entry = self.streams.get_mut(key as usize);
        if let Some(waker) = entry.and_then(|entry| entry.waker.take()) {
            waker.wake();
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(entry) = self.streams.get_mut(key.0 as usize) {
            self.open -= usize::from(entry.state != State::Closed);
            self.waiting -= usize::from(std::mem::take(&mut entry.wants_room));
            entry.state = State::Closed;
        }
    }

    /// Whether the client has more than `max` streams open.
    pub(super) const fn is_above(&self, max: usize) -> bool {
        self.open > max
    }
}

/// What the crate sends.
impl Ledger {
    /// Whether the client takes so much DATA of the crate now.
    pub(super) const fn admits(&self, len: u32) -> bool {
        len == 0 || len as i64 <= self.window
    }

    /// How much DATA the client takes of the crate now.
    pub(super) fn room(&self) -> u32 {
        u32::try_from(self.window).unwrap_or(0)
    }

    /// DATA of the crate has passed.
    pub(super) fn spent(&mut self, stream: u32, len: u32) {
        let by = i64::from(len);
        self.window -= by;
        self.promised -= by;
        if let Some(entry) = self.entry_of(stream) {
            entry.window -= by;
        }
    }

    /// A response head has passed.
    pub(super) fn headed(&mut self, stream: u32) {
        let Some(key) = self.by_id.get(&stream).copied() else {
            return;
        };
        if let Some(entry) = self.streams.get_mut(key as usize)
            && entry.state == State::Headless
        {
            entry.state = State::Open;
            self.wake(Key(key));
        }
    }

    /// A SETTINGS acknowledgement has passed.
    pub(super) fn acknowledged(&mut self) {
        let Some(settings) = self.unacknowledged.pop_front() else {
            return;
        };
        if let Some(bytes) = settings.frame_bytes_max {
            self.frame_bytes_max = (bytes as usize).max(INITIAL_FRAME_BYTES);
        }
        if let Some(window) = settings.initial_window {
            let window = i64::from(window);
            let by = window - self.initial_window;
            self.initial_window = window;
            for (_, entry) in &mut self.streams {
                entry.window += by;
            }
        }
    }
}

/// What the shard sends.
impl Ledger {
    /// The stream, all but its response head, is the shard's from now on. `None`: it is closed already.
    pub(super) fn adopt(&mut self, stream: u32) -> Option<Key> {
        let key = self.by_id.get(&stream).copied()?;
        let entry = self.streams.get_mut(key as usize)?;
        debug_assert!(entry.owner == Owner::Crate, "a stream has one owner");
        entry.owner = Owner::Shard;
        self.owned += 1;
        Some(Key(key))
    }

    /// Whether a stream is the crate's no more, once it has written the response head.
    pub(super) fn is_taken_over(&self, stream: u32) -> bool {
        let key = self.by_id.get(&stream);
        key.and_then(|key| self.streams.get(*key as usize))
            .is_some_and(|entry| entry.owner != Owner::Crate)
    }

    /// The shard is done with its stream. What has not ended is reset.
    pub(super) fn release(&mut self, key: Key) {
        let Some(entry) = self.streams.get_mut(key.0 as usize) else {
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

    /// Whether the shard has streams.
    pub(super) const fn is_shared(&self) -> bool {
        self.owned > 0
    }

    /// Resets the streams that are to be, and can: `reset` writes that. They are closed.
    pub(super) fn reset_due(&mut self, mut reset: impl FnMut(u32, Reason)) {
        let mut resets = std::mem::take(&mut self.resets);
        resets.retain(|(stream, reason)| {
            let state = self.entry_of(*stream).map(|entry| entry.state);
            if state == Some(State::Open) {
                reset(*stream, *reason);
                self.closed(*stream);
            }
            state == Some(State::Headless)
        });
        self.resets = resets;
    }

    /// Whether streams are to be reset, now or later.
    pub(super) const fn has_resets(&self) -> bool {
        !self.resets.is_empty()
    }

    /// Says the end of a stream. Its number, if it was open.
    pub(super) fn end(&mut self, key: Key) -> Option<u32> {
        let entry = self.streams.get(key.0 as usize)?;
        let id = (entry.state == State::Open).then_some(entry.id)?;
        self.close(key);
        Some(id)
    }

    /// Whether it can be written to.
    pub(super) fn state(&self, key: Key) -> State {
        self.streams
            .get(key.0 as usize)
            .map_or(State::Closed, |entry| entry.state)
    }

    /// Its number on the wire.
    pub(super) fn id(&self, key: Key) -> u32 {
        self.streams.get(key.0 as usize).map_or(0, |entry| entry.id)
    }

    /// How much of `wanted` one frame may have now. It counts as sent.
    pub(super) fn take(&mut self, key: Key, wanted: usize) -> u32 {
        let Some(entry) = self.streams.get_mut(key.0 as usize) else {
            return 0;
        };
        let wanted = i64::try_from(wanted.min(self.frame_bytes_max)).unwrap_or(0);
        let taken = wanted.min(entry.window).min(self.window).max(0);
        entry.window -= taken;
        self.window -= taken;
        u32::try_from(taken).unwrap_or(0)
    }

    /// All of `len` counts as sent, if the windows have room for it. The stream's number, and how long
    /// its frames may be.
    pub(super) fn take_whole(&mut self, key: Key, len: usize) -> Option<(u32, usize)> {
        let entry = self.streams.get_mut(key.0 as usize)?;
        let len = i64::try_from(len).ok()?;
        if entry.state != State::Open || len > entry.window || len > self.window {
            return None;
        }
        entry.window -= len;
        self.window -= len;
        Some((entry.id, self.frame_bytes_max))
    }

    /// Whom to wake when this stream may be written to again, or is closed. There is one for each
    /// stream, whatever it waits for.
    pub(super) fn wait_for_room(&mut self, key: Key, waker: &Waker) {
        self.wait_for_end(key, waker);
        if let Some(entry) = self.streams.get_mut(key.0 as usize)
            && !std::mem::replace(&mut entry.wants_room, true)
        {
            self.waiting += 1;
        }
    }

    /// Whom to wake when this stream is closed.
    pub(super) fn wait_for_end(&mut self, key: Key, waker: &Waker) {
        if let Some(entry) = self.streams.get_mut(key.0 as usize) {
            match &mut entry.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Wakes those who want room and may send. For whenever windows, or the room for what waits for
    /// the socket, may have changed.
    pub(super) fn wake_ready(&mut self) {
        if self.waiting == 0 {
            return;
        }
        let is_open = self.window > 0;
        for (_, entry) in &mut self.streams {
            if is_open && entry.window > 0 && entry.state == State::Open {
                self.waiting -= usize::from(entry.wake());
            }
        }
    }

    /// Wakes everybody: the connection is gone.
    pub(super) fn wake_all(&mut self) {
        self.waiting = 0;
        for (_, entry) in &mut self.streams {
            entry.wants_room = false;
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }

    /// Wakes who wants room on this stream.
    pub(super) fn wake(&mut self, key: Key) {
        if let Some(entry) = self.streams.get_mut(key.0 as usize) {
            self.waiting -= usize::from(entry.wake());
        }
    }

    fn entry_of(&mut self, stream: u32) -> Option<&mut Entry> {
        let key = self.by_id.get(&stream)?;
        self.streams.get_mut(*key as usize)
    }

    fn remove(&mut self, key: Key) {
        self.close(key);
        if let Some(entry) = self.streams.try_remove(key.0 as usize) {
            self.by_id.remove(&entry.id);
        }
    }
}

/// Streams are fewer than their numbers, which have 31 bits.
fn number(key: usize) -> u32 {
    u32::try_from(key).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    fn owned(ledger: &mut Ledger, stream: u32) -> Key {
        ledger.opened(stream);
        let key = ledger.adopt(stream).unwrap();
        ledger.headed(stream);
        key
    }

    #[test]
    fn a_stream_takes_no_more_than_both_windows_and_a_frame() {
        let mut ledger = Ledger::default();
        let key = owned(&mut ledger, 1);
        assert_eq!(ledger.take(key, 100), 100);
        assert_eq!(ledger.take(key, 100_000), 16_384);
        let rest: u32 = std::iter::repeat_with(|| ledger.take(key, 100_000))
            .take_while(|taken| *taken > 0)
            .sum();
        assert_eq!(rest, 65_535 - 16_484);
        assert_eq!(ledger.granted(1, 500), Grant::Keep);
        assert_eq!(ledger.take(key, 1_000), 0, "the connection's is used up");
        assert_eq!(
            ledger.granted(0, 7),
            Grant::Keep,
            "the crate was promised more"
        );
        assert_eq!(ledger.take(key, 1_000), 7);
        assert!(!ledger.admits(1));
        assert!(ledger.admits(0));
    }

    #[test]
    fn the_crate_gets_all_as_long_as_it_is_alone_and_a_share_after() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.granted(0, 1_000_000), Grant::Pass(1_000_000));
        let key = owned(&mut ledger, 1);
        ledger.opened(3);
        ledger.spent(3, 800_000);
        // 265,535 are left, and as much is promised.
        assert_eq!(ledger.granted(0, 400_000), Grant::Pass(67_233));
        assert_eq!(ledger.take(key, 16_000), 16_000);
        ledger.release(key);
        assert_eq!(ledger.granted(0, 1), Grant::Pass(1));
    }

    #[test]
    fn settings_count_from_their_acknowledgement_on_and_may_make_windows_negative() {
        let mut ledger = Ledger::default();
        let key = owned(&mut ledger, 1);
        assert_eq!(ledger.take(key, 1_000), 1_000);
        ledger.announced(Settings {
            initial_window: Some(500),
            frame_bytes_max: Some(20_000),
        });
        ledger.announced(Settings::default());
        assert_eq!(ledger.take(key, 17_000), 16_384);
        ledger.acknowledged();
        assert_eq!(ledger.take(key, 1), 0);
        assert_eq!(ledger.granted(1, 16_884), Grant::Keep);
        assert_eq!(ledger.take(key, 1), 0, "exactly none");
        assert_eq!(ledger.granted(1, 30_000), Grant::Keep);
        assert_eq!(ledger.take(key, 30_000), 20_000);
        ledger.acknowledged();
        let other = owned(&mut ledger, 3);
        assert_eq!(ledger.take(other, 1_000), 500);
    }

    #[test]
    fn what_is_wrong_is_left_to_the_crate() {
        let mut ledger = Ledger::default();
        ledger.opened(1);
        let too_much = Grant::Pass(0x7fff_ffff);
        assert_eq!(ledger.granted(1, 0), Grant::Pass(0));
        assert_eq!(ledger.granted(1, 0x7fff_ffff), too_much);
        assert_eq!(ledger.granted(0, 0), Grant::Pass(0));
        assert_eq!(ledger.granted(0, 0x7fff_ffff), too_much);
        assert_eq!(ledger.granted(9, 5), Grant::Pass(5), "never opened");
    }

    #[test]
    fn a_closed_stream_is_forgotten_when_its_owner_has_seen_it() {
        let mut ledger = Ledger::default();
        let key = owned(&mut ledger, 1);
        ledger.opened(3);
        ledger.closed(3);
        ledger.closed(1);
        assert_eq!(ledger.state(key), State::Closed);
        assert_eq!(ledger.streams.len(), 1);
        ledger.release(key);
        assert!(ledger.streams.is_empty() && ledger.by_id.is_empty());
        ledger.opened(1);
        assert_eq!(ledger.adopt(1), None, "trailers open nothing");
    }

    fn resets(ledger: &mut Ledger) -> Vec<(u32, Reason)> {
        let mut resets = Vec::new();
        ledger.reset_due(|stream, reason| resets.push((stream, reason)));
        resets
    }

    #[test]
    fn what_is_given_up_before_its_end_is_reset_once_its_head_has_passed() {
        let mut ledger = Ledger::default();
        for (stream, headed) in [(1, true), (3, false), (5, false), (7, true)] {
            ledger.opened(stream);
            let key = ledger.adopt(stream).unwrap();
            if headed {
                ledger.headed(stream);
            }
            if stream == 7 {
                assert_eq!(ledger.end(key), Some(7));
                assert_eq!(ledger.end(key), None, "it has ended");
            }
            ledger.release(key);
        }
        assert_eq!(resets(&mut ledger), [(1, Reason::CANCEL)]);
        assert!(ledger.is_taken_over(3), "its head is still not its end");
        ledger.headed(3);
        ledger.closed(5);
        assert_eq!(resets(&mut ledger), [(3, Reason::CANCEL)]);
        assert!(!ledger.has_resets() && !ledger.is_shared());
        assert!(ledger.streams.is_empty() && !ledger.is_above(0));
    }

    #[test]
    fn a_window_that_a_client_lets_overflow_is_the_end_of_its_stream() {
        let mut ledger = Ledger::default();
        let key = owned(&mut ledger, 1);
        assert_eq!(ledger.granted(1, 0), Grant::Pass(0), "the crate resets it");
        assert_eq!(ledger.granted(1, 0x7fff_ffff), Grant::Keep);
        assert_eq!(resets(&mut ledger), [(1, Reason::FLOW_CONTROL_ERROR)]);
        assert_eq!(ledger.state(key), State::Closed);
        ledger.release(key);
        assert_eq!(resets(&mut ledger), []);
    }

    #[test]
    fn who_waits_for_an_end_is_not_woken_by_room() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut ledger = Ledger::default();
        let key = owned(&mut ledger, 1);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let woken = || count.0.load(Ordering::Relaxed);
        ledger.wait_for_end(key, &waker);
        ledger.wake_ready();
        ledger.wake(key);
        assert_eq!((woken(), ledger.waiting), (0, 0));
        ledger.wait_for_room(key, &waker);
        ledger.wait_for_end(key, &waker);
        ledger.wake_ready();
        ledger.wake_ready();
        assert_eq!((woken(), ledger.waiting), (1, 0), "once");
        ledger.closed(1);
        assert_eq!(woken(), 2);
    }
}
