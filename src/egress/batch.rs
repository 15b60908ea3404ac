//! The pending entries of a channel, laid out once for all readers of a sweep.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};

use crate::{
    channel::{
        ring::{Entry, EntryKind},
        shared::Channel,
    },
    clock::Millis,
    sse::encode::Frame,
};

/// How bytes are framed for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1 chunks.
    Chunked,
    /// As they are: HTTP/2 (the sink frames), HTTP/1.0.
    Plain,
}

/// How a gap looks to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapForm {
    /// A named event.
    Event,
    /// A comment line.
    Comment,
    /// Not at all: the stream is closed before it.
    Close,
}

/// A reader's form of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Framing.
    pub framing: Framing,
    /// Gaps.
    pub gap: GapForm,
}

impl Form {
    const COUNT: usize = 6;

    const fn index(self) -> usize {
        let gap = match self.gap {
            GapForm::Event => 0,
            GapForm::Comment => 1,
            GapForm::Close => 2,
        };
        match self.framing {
            Framing::Chunked => gap,
            Framing::Plain => gap + 3,
        }
    }
}

/// What a batch comes to for readers of one form.
#[derive(Debug, Clone)]
pub struct Laid {
    /// All bytes.
    pub bytes: Bytes,
    /// Where each entry ends in `bytes`, in order.
    ends: Vec<usize>,
    /// More than one entry: `bytes` is an allocation of this batch, not the ring's.
    gathered: bool,
    /// The stream is closed after `bytes`, in place of the gap that stands there.
    pub closes_at_gap: bool,
}

impl Laid {
    /// How many entries are begun when `written` bytes are.
    #[must_use]
    pub fn begun(&self, written: usize) -> u64 {
        let whole = self.ends.partition_point(|end| *end <= written);
        let begin = whole.checked_sub(1).and_then(|last| self.ends.get(last));
        let torn = written > begin.copied().unwrap_or(0);
        whole as u64 + u64::from(torn)
    }
}

/// Entries of one channel, in order: all of them, or those whose key no newer one has.
#[derive(Debug)]
pub struct Batch {
    entries: Vec<Piece>,
    /// Who takes it has everything up to here.
    pub after: u64,
    /// Who has taken it has everything up to here.
    pub last: u64,
    /// When the oldest entry was received.
    pub received: Millis,
    /// The last entry is the app's end.
    pub ends: bool,
    forms: [OnceLock<Laid>; Form::COUNT],
}

#[derive(Debug)]
struct Piece {
    sequence: u64,
    kind: PieceKind,
}

#[derive(Debug)]
enum PieceKind {
    Event(Frame),
    Gap { event: Frame, comment: Frame },
    End,
}

impl Piece {
    fn of(entry: &Entry) -> Self {
        Self {
            sequence: entry.sequence,
            kind: match &entry.kind {
                EntryKind::Event { frame, .. } => PieceKind::Event(frame.clone()),
                EntryKind::Gap(gap) => PieceKind::Gap {
                    event: gap.event.clone(),
                    comment: gap.comment.clone(),
                },
                EntryKind::End => PieceKind::End,
            },
        }
    }

    fn size(&self) -> usize {
        match &self.kind {
            PieceKind::Event(frame) | PieceKind::Gap { event: frame, .. } => frame.chunked().len(),
            PieceKind::End => 0,
        }
    }
}

/// A place within a batch after some bytes of it were written.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Everything up to here is written, or is in `rest`.
    pub cursor: u64,
    /// What is left of the entry that was being written.
    pub rest: Bytes,
}

impl Batch {
    /// The entries of `channel` after `after` and up to `until`. It is full with the entry that
    /// reaches `bytes_max`, and ends early at the app's end.
    #[must_use]
    pub fn gather(channel: &Channel, after: u64, until: u64, bytes_max: usize) -> Gathered {
        let mut gathering = Gathering::new(after, until, bytes_max);
        let held = channel.visit_after(after, |entry| gathering.take(entry));
        gathering.batch(held)
    }

    /// The same, of the newest entries of each key.
    #[must_use]
    pub fn gather_newest(channel: &Channel, after: u64, until: u64, bytes_max: usize) -> Gathered {
        let mut gathering = Gathering::new(after, until, bytes_max);
        let held = channel.visit_newest(after, until, |entry| gathering.take(entry));
        if !gathering.is_full {
            // What comes behind the last of them has newer ones, beyond `until`.
            gathering.last = until;
        }
        gathering.batch(held)
    }

    /// Nothing.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self {
            entries: Vec::new(),
            after: 0,
            last: 0,
            received: Millis(0),
            ends: false,
            forms: Default::default(),
        }
    }

    /// How many entries a reader passes over that gets as far as `cursor`.
    #[must_use]
    pub fn passed(&self, cursor: u64) -> u64 {
        let taken = self
            .entries
            .partition_point(|piece| piece.sequence <= cursor);
        cursor - self.after - taken as u64
    }

    /// The bytes in `form`; laid out on first use, shared by all readers of that form.
    pub fn laid(&self, form: Form) -> Option<&Laid> {
        Some(self.forms.get(form.index())?.get_or_init(|| self.lay(form)))
    }

    fn lay(&self, form: Form) -> Laid {
        let mut frames = Vec::with_capacity(self.entries.len());
        let mut closes_at_gap = false;
        for piece in &self.entries {
            let frame = match (&piece.kind, form.gap) {
                (PieceKind::Event(frame), _)
                | (PieceKind::Gap { event: frame, .. }, GapForm::Event)
                | (PieceKind::Gap { comment: frame, .. }, GapForm::Comment) => frame,
                (PieceKind::Gap { .. }, GapForm::Close) => {
                    closes_at_gap = true;
                    break;
                }
                (PieceKind::End, _) => continue,
            };
            frames.push(match form.framing {
                Framing::Chunked => frame.chunked().clone(),
                Framing::Plain => frame.payload(),
            });
        }
        let mut ends: Vec<usize> = Vec::with_capacity(frames.len());
        for frame in &frames {
            ends.push(ends.last().copied().unwrap_or(0) + frame.len());
        }
        let gathered = frames.len() > 1;
        let bytes = if gathered {
            let mut all = BytesMut::with_capacity(ends.last().copied().unwrap_or(0));
            for frame in &frames {
                all.extend_from_slice(frame);
            }
            all.freeze()
        } else {
            frames.pop().unwrap_or_default()
        };
        Laid {
            bytes,
            ends,
            gathered,
            closes_at_gap,
        }
    }

    /// Where a reader stands of whose bytes `written` were taken.
    #[must_use]
    pub fn place(&self, laid: &Laid, written: usize) -> Place {
        debug_assert!(
            written <= laid.bytes.len(),
            "no more is written than there is"
        );
        let done = laid.ends.partition_point(|end| *end <= written);
        let begin = done.checked_sub(1);
        let begin = begin.and_then(|i| laid.ends.get(i)).copied().unwrap_or(0);
        match laid.ends.get(done) {
            Some(end) if written > begin => {
                let rest = laid.bytes.slice(written..*end);
                Place {
                    cursor: self.sequence_of(done + 1),
                    // A reader in mid-event pins that one event, never a whole batch.
                    rest: if laid.gathered {
                        Bytes::copy_from_slice(&rest)
                    } else {
                        rest
                    },
                }
            }
            Some(_) | None => Place {
                cursor: self.sequence_of(done),
                rest: Bytes::new(),
            },
        }
    }

    /// Where a reader stands that has the first `count` entries.
    fn sequence_of(&self, count: usize) -> u64 {
        let piece = count.checked_sub(1).and_then(|i| self.entries.get(i));
        piece.map_or(self.after, |piece| piece.sequence)
    }
}

/// A batch in the making.
struct Gathering {
    entries: Vec<Piece>,
    after: u64,
    until: u64,
    bytes_max: usize,
    bytes: usize,
    last: u64,
    received: Option<Millis>,
    ends: bool,
    is_full: bool,
}

impl Gathering {
    const fn new(after: u64, until: u64, bytes_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            after,
            until,
            bytes_max,
            bytes: 0,
            last: after,
            received: None,
            ends: false,
            is_full: false,
        }
    }

    /// `false`: no more of them.
    fn take(&mut self, entry: &Entry) -> bool {
        if entry.sequence > self.until {
            return false;
        }
        let piece = Piece::of(entry);
        self.received.get_or_insert(entry.at);
        self.last = entry.sequence;
        self.bytes += piece.size();
        self.ends = matches!(piece.kind, PieceKind::End);
        self.entries.push(piece);
        self.is_full = self.ends || self.bytes >= self.bytes_max;
        !self.is_full
    }

    fn batch(self, held: bool) -> Gathered {
        match (held, self.received) {
            (false, _) => Gathered::Evicted,
            (true, None) => Gathered::Nothing,
            (true, Some(received)) => Gathered::Batch(Box::new(Batch {
                entries: self.entries,
                after: self.after,
                last: self.last,
                received,
                ends: self.ends,
                forms: Default::default(),
            })),
        }
    }
}

/// What gathering found.
#[derive(Debug)]
pub enum Gathered {
    /// Something to write.
    Batch(Box<Batch>),
    /// The reader has everything.
    Nothing,
    /// What comes next for this reader is no longer held.
    Evicted,
}

#[cfg(test)]
mod tests;
