//! One thing that readers of a channel meet, in order.

use bytes::Bytes;

use super::gap::Gap;
use crate::{clock::Millis, sse::encode::Frame};

/// What an entry costs beyond its bytes: the allocation's header, the entry and its place in the
/// id index.
pub const ENTRY_OVERHEAD: usize = 96;

/// One thing that readers meet, in order.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Position in the channel's life, from 1.
    pub sequence: u64,
    /// When it was appended.
    pub at: Millis,
    /// Bytes accounted in this life before it: the difference of two is the lag between them.
    pub bytes_before: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum EntryKind {
    /// An event of the app.
    Event {
        /// Encoded and framed once.
        frame: Frame,
        /// The app's id, if the event had one.
        app_id: Option<Bytes>,
    },
    /// Events may be missing here; told in the form that a reader's library survives.
    Gap(Box<Gap>),
    /// The app ended its stream here (`on_end: pass` and `final`).
    End,
}

impl Entry {
    /// Bytes that it is accounted with.
    pub(super) fn cost(&self) -> usize {
        ENTRY_OVERHEAD
            + match &self.kind {
                EntryKind::Event { frame, app_id } => {
                    frame.chunked().len() + app_id.as_ref().map_or(0, Bytes::len)
                }
                EntryKind::Gap(gap) => gap.event.chunked().len() + gap.comment.chunked().len(),
                EntryKind::End => 0,
            }
    }
}
