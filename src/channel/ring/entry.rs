//! One thing that readers of a channel meet, in order.

use bytes::Bytes;

use super::gap::Gap;
pub use crate::config::model::ENTRY_OVERHEAD;
use crate::{clock::Millis, config::model::APP_ID_OVERHEAD, sse::encode::Frame};

/// What `Bytes` allocates to be shared, in the size class of the allocator.
const SHARED: usize = 32;

/// How much larger than asked for an allocation of an event is, more or less.
const ROUNDED_UP: usize = 16;

const _: () = assert!(
    ENTRY_OVERHEAD >= size_of::<Entry>() + SHARED + ROUNDED_UP,
    "an entry costs no more than is accounted"
);

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
        /// The app's id, if the event had one and ids are looked up.
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
                    let app_id = app_id.as_ref().map_or(0, |id| APP_ID_OVERHEAD + id.len());
                    frame.chunked().len() + app_id
                }
                EntryKind::Gap(gap) => gap.event.chunked().len() + gap.comment.chunked().len(),
                EntryKind::End => 0,
            }
    }
}
