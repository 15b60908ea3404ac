//! What the parser yields and the encoder takes.

use bytes::Bytes;

/// One event as the app sent it. Values are raw bytes: invalid UTF-8 passes as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Value of the last `event` field; empty: the default type `message`.
    pub name: Bytes,
    /// The `data` lines joined by LF, without a final one. Holds neither CR nor, per line, LF.
    pub data: Bytes,
    /// Value of an `id` field of this block (or of an id-only block before it); may be empty, which
    /// resets the client's last event id. `None`: the block has none.
    pub id: Option<Bytes>,
}

/// One thing found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A dispatched event.
    Event(Event),
    /// An event that breaks a limit and is left out. Told when the limit is broken, not at the
    /// event's end: it may have none.
    Skipped(Excess),
    /// A block with an `id` and no data (left to give): sets the last event id, dispatches nothing.
    Id(Bytes),
    /// A `retry` field, in milliseconds.
    Retry(u64),
    /// A comment line (its text is of no use to us).
    Comment,
}

/// The limit that an event breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// `event.bytes_max`.
    Bytes,
    /// `event.fields_max`.
    Fields,
}
