//! Where in an event stream a line of ours may stand. Pure.
//!
//! The app's bytes are passed on as they come, in whatever pieces. A comment between two lines
//! changes no event (HTML standard, section 9.2.6), in the middle of a line it would. So this
//! follows line ends and nothing else.

use bytes::{Buf, Bytes};

/// The heartbeat: one comment line with one line feed, the form that every library survives.
pub const HEARTBEAT: &[u8] = b":hb\n";

const BYTE_ORDER_MARK: [u8; 3] = *b"\xEF\xBB\xBF";

/// Follows the bytes that were passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// The app's last three bytes. A stream starts as if after an empty line.
    tail: [u8; 3],
    opening: Opening,
}

/// A byte order mark is one only as the first thing of a stream. After a heartbeat it would be
/// part of the first line's field name, so it is left out then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Nothing was passed on.
    Untouched,
    /// A heartbeat came first, and then so many bytes of what may be a mark; they are held back.
    Beaten(usize),
    /// What comes now is no mark.
    Over,
}

impl Boundary {
    /// At the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tail: [b'\n'; 3],
            opening: Opening::Untouched,
        }
    }

    /// Notes the app's next bytes and says what to pass on: all of them, but for a byte order mark
    /// that a heartbeat came before.
    pub fn pass(&mut self, bytes: Bytes) -> Bytes {
        let bytes = match self.opening {
            Opening::Beaten(seen) => self.without_mark(seen, bytes),
            Opening::Untouched | Opening::Over => bytes,
        };
        let [_, b, c] = self.tail;
        self.tail = match bytes.as_ref() {
            [] => return bytes,
            [z] => [b, c, *z],
            [y, z] => [c, *y, *z],
            [.., x, y, z] => [*x, *y, *z],
        };
        self.opening = Opening::Over;
        bytes
    }

    /// `bytes` as they follow on the first `seen` bytes of a mark, which are held back.
    fn without_mark(&mut self, seen: usize, mut bytes: Bytes) -> Bytes {
        let rest = BYTE_ORDER_MARK.get(seen..).unwrap_or_default();
        let alike = rest.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
        if alike == rest.len() {
            self.opening = Opening::Over;
            bytes.advance(alike);
            bytes
        } else if alike == bytes.len() {
            self.opening = Opening::Beaten(seen + alike);
            Bytes::new()
        } else {
            let held = BYTE_ORDER_MARK.get(..seen).unwrap_or_default();
            [held, &bytes].concat().into()
        }
    }

    /// A line of ours may stand here: the app's last byte ended a line. After a carriage return
    /// nobody knows: the line feed that belongs to it may still come.
    #[must_use]
    pub const fn is_line_start(&self) -> bool {
        let [.., last] = self.tail;
        last == b'\n'
    }

    /// The app's last line was empty: no event is begun.
    #[must_use]
    pub const fn is_event_end(&self) -> bool {
        matches!(self.tail, [_, b'\n', b'\n'] | [b'\n' | b'\r', b'\r', b'\n'])
    }

    /// Notes that a line of ours is written; only at a line's start.
    pub fn interject(&mut self) {
        debug_assert!(self.is_line_start(), "a line of ours starts a line");
        if self.opening == Opening::Untouched {
            self.opening = Opening::Beaten(0);
        }
    }
}

impl Default for Boundary {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
