//! When a reader is too slow, and what then.

use std::{sync::Arc, time::Duration};

use super::KeyBy;

/// When a reader is too slow, and what then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowReader {
    /// What happens to a reader that is too far behind. Default: it is disconnected.
    pub policy: SlowPolicy,
    /// Events behind the newest. Default: the ring's `events_max`.
    pub events_max: usize,
    /// Bytes behind the newest. Default: the ring's `bytes_max`.
    pub bytes_max: usize,
    /// Time without taking a byte while there is something to take: under every policy it is
    /// disconnected then. Default 10 s.
    pub stall_max: Duration,
}

/// What happens to a reader that is too far behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlowPolicy {
    /// It is disconnected, and resumes by id (default).
    Disconnect,
    /// It goes on with the newest event, after word of how many it missed.
    Skip,
    /// Of what it missed it gets the newest event of each key, after word of that.
    Conflate(Arc<KeyBy>),
}

impl SlowPolicy {
    /// What makes two events the same thing at two moments, where that counts.
    #[must_use]
    pub const fn key(&self) -> Option<&Arc<KeyBy>> {
        match self {
            Self::Conflate(by) => Some(by),
            Self::Disconnect | Self::Skip => None,
        }
    }
}
