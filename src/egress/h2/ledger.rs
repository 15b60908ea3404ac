//! What may be sent to an HTTP/2 client, by whom (RFC 9113, section 5.2). Pure.
//!
//! Two send on one connection: the h2 crate, which keeps books of its own, and the shard. A stream is
//! one's or the other's, so its window is too. The connection's window is shared, and the crate does
//! not know what the shard sends. So the crate is told of less than the client grants: of what comes,
//! it gets so much that the shard keeps a share. It may still have been promised more than is left,
//! for it begins with 65,535 bytes, and no one can take a window back; then its DATA waits in the wire.

use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
};

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

#[derive(Debug)]
struct Entry {
    id: u32,
    /// What the client takes on this stream; below 0 after it made its windows smaller.
    window: i64,
    state: State,
    /// The shard writes to it.
    owned: bool,
    /// Whom to wake when more can be sent.
    waker: Option<Waker>,
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
    owned: usize,
    waiting: usize,
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
            owned: 0,
            waiting: 0,
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
            window: self.initial_window,
            state: State::Headless,
            owned: false,
            waker: None,
        });
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
        if entry.window + by > i64::from(WINDOW_MAX) {
            // Likewise. It knows of less, so it is told of more.
            return Grant::Pass(WINDOW_MAX);
        }
        entry.window += by;
        if entry.owned {
            Grant::Keep
        } else {
            Grant::Pass(increment)
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
        entry.state = State::Closed;
        // An owner is to see it, and gives it up.
        if !entry.owned {
            self.remove(Key(key));
        }
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
    /// The shard writes to this stream from now on. `None`: it is closed already.
    pub(super) fn adopt(&mut self, stream: u32) -> Option<Key> {
        let key = self.by_id.get(&stream).copied()?;
        let entry = self.streams.get_mut(key as usize)?;
        debug_assert!(!entry.owned, "a stream has one owner");
        entry.owned = true;
        self.owned += 1;
        Some(Key(key))
    }

    /// The owner is done with its stream.
    pub(super) fn release(&mut self, key: Key) {
        debug_assert!(self.is_owned(key), "only an owner gives up");
        self.owned -= 1;
        self.remove(key);
    }

    fn is_owned(&self, key: Key) -> bool {
        self.streams.get(key.0 as usize).is_some_and(|e| e.owned)
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

    /// Whom to wake when this stream may be written to again.
    pub(super) fn wait(&mut self, key: Key, waker: &Waker) {
        let Some(entry) = self.streams.get_mut(key.0 as usize) else {
            return;
        };
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            none => {
                *none = Some(waker.clone());
                self.waiting += 1;
            }
        }
    }

    /// Wakes those who wait and may send, or can no more. For whenever windows, or the room for what
    /// waits for the socket, may have changed.
    pub(super) fn wake_ready(&mut self) {
        if self.waiting == 0 {
            return;
        }
        let is_open = self.window > 0;
        for (_, entry) in &mut self.streams {
            let ready = entry.state == State::Closed
                || (is_open && entry.window > 0 && entry.state == State::Open);
            if ready && let Some(waker) = entry.waker.take() {
                self.waiting -= 1;
                waker.wake();
            }
        }
    }

    /// Wakes everybody: the connection is gone.
    pub(super) fn wake_all(&mut self) {
        for (_, entry) in &mut self.streams {
            if let Some(waker) = entry.waker.take() {
                self.waiting -= 1;
                waker.wake();
            }
        }
    }

    /// Wakes who waits for this stream.
    pub(super) fn wake(&mut self, key: Key) {
        let entry = self.streams.get_mut(key.0 as usize);
        if let Some(waker) = entry.and_then(|entry| entry.waker.take()) {
            self.waiting -= 1;
            waker.wake();
        }
    }

    fn entry_of(&mut self, stream: u32) -> Option<&mut Entry> {
        let key = self.by_id.get(&stream)?;
        self.streams.get_mut(*key as usize)
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.streams.try_remove(key.0 as usize) {
            self.by_id.remove(&entry.id);
            self.waiting -= usize::from(entry.waker.is_some());
        }
    }
}

/// Streams are fewer than their numbers, which have 31 bits.
fn number(key: usize) -> u32 {
    u32::try_from(key).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
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
        owned(&mut ledger, 1);
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
}
