//! The pieces of a field line, each able to arrive in parts.

/// Buffers up to this size are kept for the next event.
pub(super) const SCRATCH_BYTES_KEPT: usize = 16 * 1024;

/// Fields that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `event`: the name.
    Event,
    /// `data`: one line of it.
    Data,
    /// `id`: the last event id.
    Id,
    /// `retry`: the reconnect time.
    Retry,
    /// Any other; ignored.
    Unknown,
}

impl Field {
    /// The field of a whole name; names are case-sensitive.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"data" => Self::Data,
            b"event" => Self::Event,
            b"id" => Self::Id,
            b"retry" => Self::Retry,
            _ => Self::Unknown,
        }
    }
}

/// A field name that is being read. Of a long one only the start is kept: it is unknown, however it
/// goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Name {
    bytes: [u8; Self::KEPT],
    len: usize,
}

impl Name {
    /// One more than the longest known name has.
    const KEPT: usize = 6;

    /// Nothing of it was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next part.
    pub(super) fn extend(&mut self, part: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(part) {
            *slot = *byte;
        }
        self.len = self.len.saturating_add(part.len()).min(Self::KEPT);
    }

    /// The field, once the name has ended.
    pub(super) fn field(&self) -> Field {
        Field::of(self.bytes.get(..self.len).unwrap_or_default())
    }
}

/// An `id` value that is being read. It counts only once its line has ended well: a bad one leaves
/// the good one before it in force.
#[derive(Debug, Default)]
pub(super) struct IdDraft {
    bytes: Vec<u8>,
    /// It holds a forbidden byte or is too long: the field will be ignored.
    bad: bool,
}

impl IdDraft {
    /// Begins a new value.
    pub(super) fn start(&mut self) {
        self.bytes.clear();
        self.bad = false;
    }

    /// Takes the next part.
    pub(super) fn extend(&mut self, part: &[u8], limit: usize) {
        let fits = self.bytes.len().saturating_add(part.len()) <= limit;
        if !fits || part.iter().any(|byte| is_forbidden_in_id(*byte)) {
            self.bad = true;
        }
        if !self.bad {
            append(&mut self.bytes, part, limit);
        }
    }

    /// The value, once its line has ended.
    pub(super) fn value(&self) -> Option<&[u8]> {
        (!self.bad).then_some(&self.bytes)
    }

    /// Bytes allocated.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Control bytes cannot stand in the `Last-Event-ID` header that would bring the id back. The
/// standard forbids NUL alone.
fn is_forbidden_in_id(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// A `retry` value that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Digits {
    /// No byte of it was seen; an empty value is no number.
    None,
    /// The number so far; more than a u64 holds is the largest one.
    Number(u64),
    /// Something else than an ASCII digit was in it.
    Bad,
}

impl Digits {
    /// Takes the next part.
    pub(super) fn extend(&mut self, part: &[u8]) {
        for byte in part {
            let number = match *self {
                Self::None => 0,
                Self::Number(number) => number,
                Self::Bad => return,
            };
            *self = match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    Self::Number(number.saturating_mul(10).saturating_add(digit))
                }
                _ => Self::Bad,
            };
        }
    }
}

/// Appends and grows by doubling, but not past `limit` as long as the bytes fit into it.
pub(super) fn append(buffer: &mut Vec<u8>, part: &[u8], limit: usize) {
    let needed = buffer.len().saturating_add(part.len());
    if needed > buffer.capacity() {
        let doubled = buffer.capacity().saturating_mul(2).max(64).min(limit);
        buffer.reserve_exact(needed.max(doubled).saturating_sub(buffer.len()));
    }
    buffer.extend_from_slice(part);
}

/// Empties a buffer, and gives the memory back when it has grown large.
pub(super) fn clear(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > SCRATCH_BYTES_KEPT {
        *buffer = Vec::new();
    }
}
