//! Rings for tests.

use std::time::Duration;

use bytes::Bytes;

use super::{Hole, Ring};
use crate::{
    channel::id::{Epoch, LocalId},
    clock::Millis,
    config::model::{Ids, LateJoin, RingLimits},
    error::GapReason,
    sse::event::Event,
};

pub(super) const LIMITS: RingLimits = RingLimits {
    events_max: 4,
    bytes_max: 1 << 20,
    age_max: Duration::from_secs(600),
};

/// A ring of the life 7.
pub(super) fn ring(ids: Ids, limits: RingLimits) -> Ring {
    Ring::new(Epoch::new(7), ids, limits)
}

pub(super) fn event(id: Option<&str>) -> Event {
    Event {
        name: Bytes::new(),
        data: Bytes::from_static(b"x"),
        id: id.map(|id| Bytes::copy_from_slice(id.as_bytes())),
    }
}

/// After `count` events, whose ids the app counts from 1.
pub(super) fn filled(ids: Ids, count: u64) -> Ring {
    let mut ring = ring(ids, LIMITS);
    for n in 1..=count {
        ring.push_event(&event(Some(&n.to_string())), Millis(n));
    }
    ring
}

/// Our id of the event `sequence` in [`ring`].
pub(super) fn local(sequence: u64) -> String {
    in_epoch(7, sequence, None)
}

pub(super) fn in_epoch(epoch: u64, sequence: u64, app_id: Option<&'static str>) -> String {
    let id = LocalId {
        epoch: Epoch::new(epoch),
        sequence,
        app_id: app_id.map(Bytes::from),
        seal: None,
    };
    id.to_string()
}

/// Where somebody starts who joins now, and what it must be told.
pub(super) fn start(ring: &mut Ring, id: Option<&str>, join: LateJoin) -> (u64, Option<Hole>) {
    let start = ring.start(id.map(str::as_bytes), join, ring.head(), Millis(100));
    (start.cursor, start.hole)
}

pub(super) fn hole(reason: GapReason, missing: Option<(u64, u64)>) -> Option<Hole> {
    Some(Hole { reason, missing })
}
