//! One subscriber of a shard: a sink, a cursor, and at most one event's rest.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{
    batch::{Batch, Form},
    handle::{Joiner, SubscriberWake},
    sink::{EndKind, LINGER, Sink},
};
use crate::{
    admission::Seat,
    channel::{registry::Membership, shared::Channel},
    clock::Millis,
    config::model::Fanout,
    decide::Reader,
    error::EndReason,
    metrics::cell::Held,
};

/// A place in a shard's table.
pub(super) struct Subscriber {
    /// Tells this user of the place from earlier ones.
    pub(super) generation: u32,
    /// Where it stands.
    pub(super) stage: Stage,
    /// Marks the shard's woken list.
    pub(super) wake: Arc<SubscriberWake>,
    /// `wake`, as polls want it.
    pub(super) waker: Waker,
    /// Last time that bytes of its own were taken; for level ones see the channel's slot too.
    pub(super) wrote: Millis,
    /// Stands in the shard's list of those that may be behind, and counts as one.
    pub(super) behind: Option<Held>,
    /// The drain lets its answer finish, and counts it.
    pub(super) finishing: Option<Held>,
}

/// Where a subscriber stands.
pub(super) enum Stage {
    /// Not answered yet: the channel has no head.
    Waiting(Waiting),
    /// Reads the channel.
    Reading(Reading),
    /// Gets its last bytes.
    Ending(Ending),
    /// Its place is being given up.
    Gone,
}

/// A joiner that is not answered yet.
pub(super) struct Waiting {
    pub(super) joiner: Box<Joiner>,
    /// Slot of its channel in the shard.
    pub(super) slot: u32,
    /// Held for its `Drop`.
    pub(super) _counted: Held,
}

/// An answered subscriber.
pub(super) struct Reading {
    pub(super) sink: Sink,
    /// Slot of its channel in the shard.
    pub(super) slot: u32,
    /// Its index among the slot's readers.
    pub(super) seat: u32,
    /// Where it is level with others of its connection.
    pub(super) group: Option<GroupSeat>,
    /// It has everything up to here, once `out` has left.
    pub(super) cursor: u64,
    /// Where its replay ends. It was promised that: up to there only what is evicted is lost.
    pub(super) replay: u64,
    /// Up to here it was told that it gets only the newest event of each key.
    pub(super) conflated: u64,
    /// When it is closed for its age.
    pub(super) retires: Option<Millis>,
    /// Bytes that come before anything else: head, opening block, the rest of one event.
    pub(super) out: Bytes,
    pub(super) form: Form,
    pub(super) reader: Reader,
    pub(super) pace: Pace,
    pub(super) holds: Holds,
}

/// The places that a subscriber takes in the process and in its channel, until its last byte has
/// left.
pub(super) struct Holds {
    pub(super) membership: Membership,
    _seat: Seat,
    /// Counts it among the answered ones.
    _level: Option<Held>,
}

impl Holds {
    pub(super) const fn new(membership: Membership, seat: Seat, level: Option<Held>) -> Self {
        Self {
            membership,
            _seat: seat,
            _level: level,
        }
    }

    pub(super) const fn channel(&self) -> &Arc<Channel> {
        self.membership.channel()
    }

    /// The channel's settings as of now.
    pub(super) fn settings(&self) -> Arc<Fanout> {
        self.channel().settings()
    }
}

/// A place in a group of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupSeat {
    pub(super) group: u32,
    pub(super) at: u32,
}

/// How a subscriber keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Has everything that was swept.
    Level,
    /// Driven from the ring by its own write waker, without progress since.
    Behind(Millis),
    /// Resumed at what is not swept yet: waits for the sweep.
    Ahead,
}

/// A subscriber that gets its last bytes.
pub(super) struct Ending {
    pub(super) sink: Sink,
    /// What is still to be written, in order. Two parts, so that what many clients get is shared
    /// by them and never copied for one.
    pub(super) out: [Bytes; 2],
    pub(super) kind: EndKind,
    /// When it is given up.
    pub(super) deadline: Millis,
    /// It counts against its caps until it is done. Whom we shed holds nothing.
    pub(super) _holds: Option<Holds>,
}

/// What has left, for the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delivered {
    /// Events and gap notices, each reader counted; one that was begun is one.
    pub(super) events: u64,
    /// Bytes, framing included.
    pub(super) bytes: u64,
    /// Events that were left out, for newer ones of their keys.
    pub(super) passed: u64,
}

/// What became of bytes offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// All taken, and they have left.
    Taken,
    /// Some are left in `out`; the waker is registered.
    Pending,
    /// The stream ends here.
    Ends(EndReason),
}

impl Reading {
    /// Offers the entries of `batch` to a reader that stands right before it and owes nothing.
    pub(super) fn offer(
        &mut self,
        batch: &Batch,
        waker: &Waker,
        delivered: &mut Delivered,
    ) -> Offered {
        debug_assert!(self.out.is_empty(), "what is owed goes first");
        debug_assert_eq!(self.cursor, batch.after, "no entry is skipped or repeated");
        let Some(laid) = batch.laid(self.form) else {
            return Offered::Ends(EndReason::Internal);
        };
        let mut bytes = laid.bytes.clone();
        let pushed = self
            .sink
            .poll_push(&mut Context::from_waker(waker), &mut bytes);
        let written = laid.bytes.len() - bytes.len();
        delivered.bytes += written as u64;
        delivered.events += laid.begun(written);
        if pushed.is_ready() {
            delivered.passed += batch.passed(batch.last);
        }
        match pushed {
            Poll::Ready(Ok(())) if laid.closes_at_gap => Offered::Ends(EndReason::Gap),
            Poll::Ready(Ok(())) if batch.ends => Offered::Ends(EndReason::UpstreamEnded),
            Poll::Ready(Ok(())) => {
                self.cursor = batch.last;
                Offered::Taken
            }
            Poll::Ready(Err(_)) => Offered::Ends(EndReason::WriteError),
            Poll::Pending => {
                let place = batch.place(laid, written);
                (self.cursor, self.out) = (place.cursor, place.rest);
                delivered.passed += batch.passed(place.cursor);
                Offered::Pending
            }
        }
    }

    /// Pushes what is owed.
    pub(super) fn push(&mut self, waker: &Waker, delivered: &mut Delivered) -> Offered {
        let owed = self.out.len();
        let pushed = self
            .sink
            .poll_push(&mut Context::from_waker(waker), &mut self.out);
        delivered.bytes += (owed - self.out.len()) as u64;
        match pushed {
            Poll::Ready(Ok(())) => Offered::Taken,
            Poll::Ready(Err(_)) => Offered::Ends(EndReason::WriteError),
            Poll::Pending => Offered::Pending,
        }
    }

    /// Counts the end of this stream.
    pub(super) fn count_end(&self, reason: EndReason) {
        let route = &self.holds.channel().route_metrics;
        route.subscribers_ended.inc(reason);
    }

    /// How this stream ends for `reason`: whole when the app said so, or to a native EventSource,
    /// which comes back either way; cut to all others, whom a clean end would deceive. One answer
    /// that is not whole is cut to everybody: its reader may take any other end for the app's.
    pub(super) fn end_kind(&self, reason: EndReason) -> EndKind {
        match reason {
            EndReason::UpstreamEnded => EndKind::Complete,
            EndReason::ClientLeft | EndReason::WriteError | EndReason::Slow => EndKind::Cut,
            EndReason::UpstreamRefused
            | EndReason::UpstreamCut
            | EndReason::Gap
            | EndReason::Age
            | EndReason::Drained
            | EndReason::Reloaded
            | EndReason::Internal => match self.reader {
                Reader::EventSource if !self.holds.settings().is_one_answer() => EndKind::Complete,
                Reader::EventSource | Reader::Other => EndKind::Cut,
            },
        }
    }

    /// The client wants to be told when to come back.
    pub(super) fn wants_retry(&self, reason: EndReason) -> bool {
        self.reader == Reader::EventSource
            && matches!(
                reason,
                EndReason::UpstreamRefused
                    | EndReason::Age
                    | EndReason::UpstreamCut
                    | EndReason::Drained
                    | EndReason::Reloaded
                    | EndReason::Internal
            )
    }
}

impl Ending {
    /// Pushes the last bytes, ends, and lets the client close. `true`: done, one way or the other.
    pub(super) fn step(&mut self, waker: &Waker, now: Millis) -> bool {
        if now >= self.deadline {
            return true;
        }
        let mut context = Context::from_waker(waker);
        for part in &mut self.out {
            match self.sink.poll_push(&mut context, part) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => return false,
            }
        }
        if self.sink.poll_end(&mut context, self.kind).is_pending() {
            return false;
        }
        self.deadline = self.deadline.min(now.after(LINGER));
        self.sink.poll_closed(&mut context).is_ready()
    }
}
