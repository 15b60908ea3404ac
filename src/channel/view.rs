//! What others see of a channel: copies, taken under its lock and read without it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    head::JoinersHead,
    proof::Proof,
    ring::{Begun, Hole},
    state::{Joined, Phase},
};
use crate::{answer::Answer, clock::Millis};

/// What the app answered instead of a stream.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The same for all who waited.
    Whole(Arc<Answer>),
    /// Too long to keep: each client that waited asks for itself.
    TooLong,
}

/// What a shard sees of a channel at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Where the channel stands.
    pub phase: Phase,
    /// When the current series of tries began.
    pub opening_since: Millis,
    /// Since when a request is with the app that it has not answered.
    pub asked_since: Option<Millis>,
    /// The joiners' head, once the app has sent one in this life.
    pub joiners_head: Option<Arc<JoinersHead>>,
    /// What to answer when the app refused.
    pub refusal: Option<Refusal>,
    /// What is known of its credentials.
    pub proof: Proof,
}

impl View {
    /// The stream that readers were on is lost, and another is asked for.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Opening) && self.joiners_head.is_some()
    }
}

/// Where a joiner starts, and what its opening block says.
#[derive(Debug, Clone)]
pub struct Placement {
    /// It has everything up to here.
    pub cursor: u64,
    /// What it must be told first.
    pub hole: Option<Hole>,
    /// The id that stands for `cursor`.
    pub id: Option<Bytes>,
    /// The id for a notice about `hole`.
    pub gap_id: Option<String>,
    /// The app's own reconnect time, if it sent one.
    pub app_retry: Option<Duration>,
    /// Newest sequence at this moment.
    pub head: u64,
    /// It has the app's whole answer: nothing is left to send.
    pub is_done: bool,
}

/// How a client came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it met.
    pub(crate) joined: Joined,
    /// Newest sequence at that moment.
    pub(crate) at: u64,
    /// It waits until the app has said that the channel's credentials still hold, and is the one for
    /// whom that must be asked.
    pub(crate) must_prove: bool,
    /// What became of its id on a channel that has had nothing yet.
    pub(crate) begun: Begun,
}

/// A row of `/channels`.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where the channel stands.
    pub phase: Phase,
    /// Subscribers, waiting ones included.
    pub subscribers: usize,
    /// Entries in the ring.
    pub ring_events: usize,
    /// Bytes in the ring, as accounted.
    pub ring_bytes: usize,
    /// Newest sequence.
    pub head: u64,
    /// Streams opened after the first.
    pub reconnects: u64,
    /// Since when the upstream stream is open.
    pub live_since: Option<Millis>,
}
