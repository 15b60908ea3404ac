//! Streams end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Shard;
use crate::{
    clock::Millis,
    egress::{
        chance,
        handle::Token,
        opening,
        sink::EndKind,
        subscriber::{Ending, Reading, Stage, Subscriber},
    },
    error::EndReason,
};

impl Shard {
    /// Ends a reader's stream at an event boundary: what it is owed of an event, when to come back,
    /// and the end that suits the reason.
    pub(super) fn end(&mut self, token: Token, reason: EndReason, now: Millis) {
        self.end_ahead(token, reason, Duration::ZERO, now);
    }

    /// As [`end`](Self::end), for one who leaves up to `ahead` of its time: that much longer may it
    /// stay away.
    pub(super) fn end_ahead(
        &mut self,
        token: Token,
        reason: EndReason,
        ahead: Duration,
        now: Millis,
    ) {
        if !self.is_reading(token) {
            return;
        }
        if matches!(
            reason,
            EndReason::ClientLeft | EndReason::WriteError | EndReason::Slow
        ) {
            // Nothing more can be written to it.
            return self.remove(token, reason);
        }
        let Stage::Reading(reading) = self.take(token, reason) else {
            return;
        };
        let kind = reading.end_kind(reason);
        let last = last_words(&reading, reason, kind, ahead);
        // A reader that does not take its last words is slow like any other.
        let patience = reading.holds.settings().slow.stall_max;
        let ending = Ending {
            sink: reading.sink,
            out: [reading.out, last],
            kind,
            deadline: now.after(patience),
            _holds: Some(reading.holds),
        };
        self.see_off(token, ending, now);
    }

    pub(super) fn is_reading(&self, token: Token) -> bool {
        self.subscribers
            .get(token.index as usize)
            .filter(|subscriber| subscriber.generation == token.generation)
            .is_some_and(|subscriber| matches!(subscriber.stage, Stage::Reading(_)))
    }

    /// Lets a place's user have its last bytes.
    pub(super) fn see_off(&mut self, token: Token, ending: Ending, now: Millis) {
        if let Some(subscriber) = self.subscriber(token) {
            subscriber.stage = Stage::Ending(ending);
        }
        if self.step_ending(token, now) {
            return;
        }
        if self.subscriber(token).is_some_and(Subscriber::poll_gone) {
            return self.remove(token, EndReason::ClientLeft);
        }
        self.endings.push(token);
    }

    /// Pushes an ending on. `true`: that is done, and its place is free.
    pub(super) fn step_ending(&mut self, token: Token, now: Millis) -> bool {
        let Some(subscriber) = self.subscriber(token) else {
            return true;
        };
        let Stage::Ending(ending) = &mut subscriber.stage else {
            return true;
        };
        let done = ending.step(&subscriber.waker, now);
        if done {
            self.remove(token, EndReason::ClientLeft);
        }
        done
    }

    /// Gives up a place, whatever stood there. `reason` counts when it was a reader.
    pub(super) fn remove(&mut self, token: Token, reason: EndReason) {
        drop(self.take(token, reason));
        if self.subscriber(token).is_some() {
            self.subscribers.remove(token.index as usize);
        }
    }

    /// Takes whoever has a place out of its channel, but leaves the place; counts a reader's end.
    pub(super) fn take(&mut self, token: Token, reason: EndReason) -> Stage {
        let Some(subscriber) = self.subscriber(token) else {
            return Stage::Gone;
        };
        let stage = std::mem::replace(&mut subscriber.stage, Stage::Gone);
        subscriber.finishing = None;
        match &stage {
            Stage::Waiting(waiting) => self.forget_member(waiting.slot),
            Stage::Reading(reading) => {
                reading.count_end(reason);
                self.unseat(reading);
                self.forget_member(reading.slot);
            }
            Stage::Ending(_) | Stage::Gone => {}
        }
        stage
    }
}

/// When to come back, where that is of use, and what the framing puts at a whole stream's end.
fn last_words(reading: &Reading, reason: EndReason, kind: EndKind, ahead: Duration) -> Bytes {
    let mut out = BytesMut::new();
    if reading.wants_retry(reason) {
        let channel = reading.holds.channel();
        let random = chance::random();
        let retry = opening::retry(&channel.settings(), channel.app_retry(), random)
            + ahead.mul_f64(random);
        let line = opening::parting_line(retry);
        out.extend_from_slice(&opening::framed(&line, reading.form.framing));
    }
    if kind == EndKind::Complete {
        out.extend_from_slice(&reading.sink.last_bytes());
    }
    out.freeze()
}
