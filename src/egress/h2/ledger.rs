//! What may be sent to an HTTP/2 client, by whom (RFC 9113, section 5.2). Pure.
//!
//! Two send on one connection: the h2 crate, which keeps books of its own, and the shard. A stream is
//! one's or the other's, so its window is too: of what the shard has taken over, the crate knows
//! nothing any more once it has written the response head, for it was told that this is all. The
//! connection's window is shared, and the crate does not know what the shard sends. So the crate is
//! told of less than the client grants: of what comes, it gets so much that the shard keeps a share, of
//! which it is lent a frame at a time when it has used its own. It may still have been promised more
//! than is left, for it begins with 65,535 bytes, and no one can take a window back; then its DATA waits
//! in the wire.

use std::collections::VecDeque;

use bytes::Bytes;
use h2::Reason;

use super::streams::{Key, Owner, State, Streams};

/// Windows, and the size of frames, that hold until the client says otherwise (section 6.5.2).
const INITIAL_WINDOW: i64 = 65_535;
const INITIAL_FRAME_BYTES: usize = 16_384;

/// No window grows beyond this (section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// The most of a connection's window that is kept for the shard.
const SHARE_MAX: i64 = 16 << 20;

/// The crate is lent so much of the shard's share at once: a frame.
const LOAN: i64 = INITIAL_FRAME_BYTES as i64;

/// What somebody who is woken takes at least, mostly: an event, or more that has gathered.
const TURN_BYTES: usize = 1024;

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
    pub(super) streams: Streams,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW,
            promised: INITIAL_WINDOW,
            initial_window: INITIAL_WINDOW,
            frame_bytes_max: INITIAL_FRAME_BYTES,
            unacknowledged: VecDeque::new(),
            streams: Streams::default(),
        }
    }
}

/// What comes from the client.
impl Ledger {
    /// HEADERS: a stream opens, or its trailers come.
    pub(super) fn opened(&mut self, stream: u32) {
        self.streams.opened(stream, self.initial_window);
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
        let Some(entry) = self.streams.find(stream) else {
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
                self.streams.reset(stream, Reason::FLOW_CONTROL_ERROR);
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
        match self.promise(by) {
            0 => Grant::Keep,
            passed => Grant::Pass(passed),
        }
    }

    /// Promises the crate up to `most` more of the connection's window, as far as the shard keeps its
    /// share; how much.
    fn promise(&mut self, most: i64) -> u32 {
        let share = if self.streams.is_shared() {
            (self.window / 2).min(SHARE_MAX)
        } else {
            0
        };
        let more = (self.window - share - self.promised).clamp(0, most);
        self.promised += more;
        u32::try_from(more).unwrap_or(0)
    }

    /// Lends the crate of the shard's share when it has used its own; how much. Room must not lie idle
    /// while there is something to send: a client may hold back what it has not read, and grant no more
    /// before half of its window was used. A frame at a time, so that the shard gets at it in between.
    pub(super) fn lend(&mut self) -> u32 {
        let short = (LOAN - self.promised).max(0);
        let more = (self.window - self.promised).clamp(0, short);
        self.promised += more;
        u32::try_from(more).unwrap_or(0)
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
        if let Some(entry) = self.streams.find(stream) {
            entry.window -= by;
        }
    }

    /// DATA that the crate has written will not pass. How much it may send instead, at once: the client
    /// may have granted that before, and will not do so again.
    pub(super) fn dropped(&mut self, len: u32) -> u32 {
        let by = i64::from(len);
        self.promised -= by;
        self.promise(by)
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
            for entry in self.streams.iter_mut() {
                entry.window += by;
            }
        }
    }
}

/// What the shard sends.
impl Ledger {
    /// How much of `wanted` one frame may have now. It counts as sent.
    pub(super) fn take(&mut self, key: Key, wanted: usize) -> u32 {
        let Some(entry) = self.streams.get_mut(key) else {
            return 0;
        };
        let wanted = i64::try_from(wanted.min(self.frame_bytes_max)).unwrap_or(0);
        let taken = wanted.min(entry.window).min(self.window).max(0);
        entry.window -= taken;
        self.window -= taken;
        u32::try_from(taken).unwrap_or(0)
    }

    /// Splits off what one frame may have now; the stream's number. `None`: nothing.
    pub(super) fn split(&mut self, key: Key, bytes: &mut Bytes) -> Option<(u32, Bytes)> {
        let len = self.take(key, bytes.len());
        (len > 0).then(|| (self.streams.id(key), bytes.split_to(len as usize)))
    }

    /// All of `len` counts as sent, if the windows have room for it. The stream's number, and how long
    /// its frames may be.
    pub(super) fn take_whole(&mut self, key: Key, len: usize) -> Option<(u32, usize)> {
        let entry = self.streams.get_mut(key)?;
        let len = i64::try_from(len).ok()?;
        if entry.state != State::Open || len > entry.window || len > self.window {
            return None;
        }
        entry.window -= len;
        self.window -= len;
        Some((entry.id, self.frame_bytes_max))
    }

    /// Wakes of those who want room and may send as many as `room` bytes, and the window, may be enough
    /// for: a client that grants a byte at a time is not to cost a turn of each. Whether more are left,
    /// whose turn comes when these have had theirs. For whenever windows, or the room for what waits for
    /// the socket, may have changed.
    pub(super) fn wake_ready(&mut self, room: usize) -> bool {
        let room = usize::try_from(self.window).unwrap_or(0).min(room);
        room > 0 && self.streams.wake_ready(room.div_ceil(TURN_BYTES))
    }
}

#[cfg(test)]
mod tests;
