//! The pending entries of a channel, laid out once for all readers of a sweep.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};

use crate::{
    channel::{ring::EntryKind, shared::Channel},
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

/// Consecutive entries of one channel.
#[derive(Debug)]
pub struct Batch {
    entries: Vec<Piece>,
    /// Sequence before the first entry.
    pub after: u64,
    /// Sequence of the last entry.
    pub last: u64,
    /// When the oldest entry was received.
    pub received: Millis,
    /// The last entry is the app's end.
    pub ends: bool,
    forms: [OnceLock<Laid>; Form::COUNT],
}

#[derive(Debug)]
enum Piece {
    Event(Frame),
    Gap { event: Frame, comment: Frame },
    End,
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
        let mut entries = Vec::new();
        let (mut size, mut last, mut received, mut ends) = (0, after, None, false);
        let held = channel.visit_after(after, |entry| {
            if entry.sequence > until || size >= bytes_max {
                return false;
            }
            received.get_or_insert(entry.at);
            last = entry.sequence;
            let piece = match &entry.kind {
                EntryKind::Event { frame, .. } => Piece::Event(frame.clone()),
                EntryKind::Gap { event, comment, .. } => Piece::Gap {
                    event: event.clone(),
                    comment: comment.clone(),
                },
                EntryKind::End => {
                    ends = true;
                    Piece::End
                }
            };
            size += match &piece {
                Piece::Event(frame) | Piece::Gap { event: frame, .. } => frame.chunked().len(),
                Piece::End => 0,
            };
            entries.push(piece);
            !ends
        });
        match (held, received) {
            (false, _) => Gathered::Evicted,
            (true, None) => Gathered::Nothing,
            (true, Some(received)) => Gathered::Batch(Box::new(Self {
                entries,
                after,
                last,
                received,
                ends,
                forms: Default::default(),
            })),
        }
    }

    /// The bytes in `form`; laid out on first use, shared by all readers of that form.
    pub fn laid(&self, form: Form) -> Option<&Laid> {
        Some(self.forms.get(form.index())?.get_or_init(|| self.lay(form)))
    }

    fn lay(&self, form: Form) -> Laid {
        let mut frames = Vec::with_capacity(self.entries.len());
        let mut closes_at_gap = false;
        for piece in &self.entries {
            let frame = match (piece, form.gap) {
                (Piece::Event(frame), _)
                | (Piece::Gap { event: frame, .. }, GapForm::Event)
                | (Piece::Gap { comment: frame, .. }, GapForm::Comment) => frame,
                (Piece::Gap { .. }, GapForm::Close) => {
                    closes_at_gap = true;
                    break;
                }
                (Piece::End, _) => continue,
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
        let Some(end) = laid.ends.get(done).copied() else {
            return Place {
                cursor: self.after + done as u64,
                rest: Bytes::new(),
            };
        };
        let begin = done
            .checked_sub(1)
            .and_then(|i| laid.ends.get(i))
            .copied()
            .unwrap_or(0);
        if written == begin {
            return Place {
                cursor: self.after + done as u64,
                rest: Bytes::new(),
            };
        }
        let rest = laid.bytes.slice(written..end);
        // A reader in mid-event pins that one event, never a whole batch.
        let rest = if laid.gathered {
            Bytes::copy_from_slice(&rest)
        } else {
            rest
        };
        Place {
            cursor: self.after + done as u64 + 1,
            rest,
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
