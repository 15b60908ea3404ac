//! Streams end.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Shard;
use crate::{
    clock::Millis,
    egress::{
        handle::Token,
        opening,
        sink::EndKind,
        subscriber::{Ending, Pace, Reading, Stage},
    },
    error::EndReason,
};

impl Shard {
    pub(super) fn end_index(&mut self, reader: usize, reason: EndReason, now: Millis) {
        if let Some(token) = self.token(reader) {
            self.end(token, reason, now);
        }
    }

    /// Ends a reader's stream at an event boundary: what it is owed of an event, when to come back,
    /// and the end that suits the reason.
    pub(super) fn end(&mut self, token: Token, reason: EndReason, now: Millis) {
        let Some(reading) = self.take_reading(token, reason) else {
            return;
        };
        if matches!(
            reason,
            EndReason::ClientLeft | EndReason::WriteError | EndReason::Slow
        ) {
            // Nothing more can be written to it.
            self.remove(token, reason);
            return;
        }
        let kind = reading.end_kind(reason);
        let ending = Ending {
            out: self.last_words(&reading, reason, kind),
            sink: reading.sink,
            kind,
            since: now,
        };
        if let Some(subscriber) = self.subscriber(token) {
            subscriber.stage = Stage::Ending(ending);
        }
        self.step_ending(token, now);
    }

    fn last_words(&self, reading: &Reading, reason: EndReason, kind: EndKind) -> Bytes {
        let mut out = BytesMut::from(&reading.out[..]);
        if reading.wants_retry(reason) {
            let range = reading.holds.settings().retry;
            let retry = match self
                .closings
                .iter()
                .find(|closing| closing.reason == reason)
            {
                Some(closing) => closing.slope.retry(range.min, range.max, rand::random()),
                None => opening::retry(range, None, rand::random()),
            };
            let line = opening::parting_line(retry);
            out.extend_from_slice(&opening::framed(&line, reading.form.framing));
        }
        if kind == EndKind::Complete {
            out.extend_from_slice(&reading.sink.last_bytes());
        }
        out.freeze()
    }

    /// Pushes an ending on; its place is free when that is done.
    pub(super) fn step_ending(&mut self, token: Token, now: Millis) {
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        let Stage::Ending(ending) = &mut subscriber.stage else {
            return;
        };
        if ending.step(&subscriber.waker, now) {
            self.remove(token, EndReason::ClientLeft);
        }
    }

    /// Gives up a place, whatever stood there. `reason` counts when it was a reader.
    pub(super) fn remove(&mut self, token: Token, reason: EndReason) {
        if let Some(joiner) = self.take_waiting(token) {
            self.forget_member(joiner.membership.channel());
        }
        drop(self.take_reading(token, reason));
        if self.subscriber(token).is_some() {
            let subscriber = self.subscribers.remove(token.index as usize);
            if subscriber.listed_behind {
                self.context.metrics.behind_subscribers.dec();
            }
        }
    }

    /// Takes a reader out of its channel and counts its end.
    fn take_reading(&mut self, token: Token, reason: EndReason) -> Option<Reading> {
        let subscriber = self.subscriber(token)?;
        if !matches!(subscriber.stage, Stage::Reading(_)) {
            return None;
        }
        let Stage::Reading(reading) = std::mem::replace(&mut subscriber.stage, Stage::Gone) else {
            return None;
        };
        let index = reading.slot as usize;
        if let Pace::Level(place) = reading.pace {
            self.unlevel(index, place as usize, Pace::Ahead);
        }
        reading.count_end(reason);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.ahead.retain(|other| *other != token);
            slot.members -= 1;
        }
        self.release_if_empty(index);
        Some(reading)
    }

    /// A slot without members is given up; the channel no longer wakes this shard.
    pub(super) fn release_if_empty(&mut self, index: usize) {
        if self.slots.get(index).is_some_and(|slot| slot.members == 0) {
            let slot = self.slots.remove(index);
            debug_assert!(slot.level.is_empty(), "an empty slot has no level readers");
            debug_assert!(slot.waiting.is_empty(), "an empty slot has nobody waiting");
            self.by_channel
                .remove(&(Arc::as_ptr(&slot.channel) as usize));
        }
    }
}
