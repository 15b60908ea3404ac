//! Events go out: one pass over the level readers of a channel, and catching up for the others.

use std::{cmp::Ordering, sync::Arc};

use super::{Shard, breathe};
use crate::{
    channel::state::Phase,
    clock::{self, Millis},
    config::model::SlowPolicy,
    egress::{
        batch::{Batch, Gathered},
        handle::Token,
        subscriber::{Offered, Pace, Reading, Stage},
    },
    error::EndReason,
};

/// Bytes of one batch for all level readers. They share it, and it is gone when they have it. No more
/// than the window of an HTTP/2 stream (RFC 9113, section 6.9.2) or a socket takes at once.
pub(super) const SWEEP_BYTES_MAX: usize = 32 * 1024;

impl Shard {
    /// A channel has something new: a head, an end of its life, or events.
    pub(super) async fn channel_changed(&mut self, index: usize) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let channel = slot.channel.clone();
        // Before looking: what changes from here on wakes us again.
        slot.wake.seen();
        let view = channel.view();
        self.settle_all(index, &view, clock::now()).await;
        self.sweep(index, channel.head()).await;
        match view.phase {
            Phase::Over(outcome) => self.channel_over(index, outcome).await,
            Phase::Idle | Phase::Opening | Phase::Live | Phase::Complete => {
                self.hasten_lost(index, &view, clock::now())
            }
        }
    }

    /// Writes everything up to `head` to the level readers of a slot. What comes meanwhile wakes us
    /// again: an app that writes faster than we do must not keep the shard from all else.
    async fn sweep(&mut self, index: usize, head: u64) {
        let started = clock::now();
        let mut swept = false;
        while let Some(slot) = self.slots.get_mut(index) {
            if head <= slot.swept {
                break;
            }
            if !slot.has_level() {
                slot.advance(head, slot.wrote);
                self.catch_up(index).await;
                break;
            }
            let batch: Arc<Batch> =
                match Batch::gather(&slot.channel, slot.swept, head, SWEEP_BYTES_MAX) {
                    Gathered::Batch(batch) => Arc::from(batch),
                    Gathered::Nothing => break,
                    // What the app refused on reconnect took the ring with it: its readers are told so.
                    Gathered::Evicted if slot.channel.is_over() => break,
                    Gathered::Evicted => {
                        self.outrun(index, head).await;
                        self.catch_up(index).await;
                        break;
                    }
                };
            slot.advance(batch.last, started);
            self.sweep_batch(index, &batch).await;
            self.catch_up(index).await;
            let latency = clock::now().since(batch.received);
            self.context
                .metrics
                .delivery_latency_seconds
                .observe(latency);
            swept = true;
        }
        if swept {
            self.context
                .metrics
                .sweep_seconds
                .observe(clock::now().since(started));
        }
    }

    /// One batch to all level readers. Who cannot take it all goes behind.
    async fn sweep_batch(&mut self, index: usize, batch: &Arc<Batch>) {
        let now = clock::now();
        let (mut seat, mut done) = (0, 0);
        while let Some(reader) = self
            .slots
            .get(index)
            .and_then(|slot| slot.level_reader(seat))
        {
            let offered = self.offer_level(reader, batch);
            // Otherwise another one sits there now.
            seat += usize::from(offered == Offered::Taken);
            self.note_offered(index, reader, offered, now);
            breathe(done).await;
            done += 1;
        }
        self.sweep_groups(index, batch).await;
    }

    pub(super) fn offer_level(&mut self, reader: usize, batch: &Batch) -> Offered {
        let Some(subscriber) = self.subscribers.get_mut(reader) else {
            return Offered::Ends(EndReason::Internal);
        };
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return Offered::Ends(EndReason::Internal);
        };
        // A level reader's cursor is the slot's; its own is brought up only here.
        reading.cursor = batch.after;
        reading.offer(batch, &subscriber.waker, &mut self.delivered)
    }

    /// The ring moved on before a sweep came: level readers have lost their place.
    async fn outrun(&mut self, index: usize, head: u64) {
        let now = clock::now();
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let place = slot.swept;
        slot.advance(head, now);
        let disconnects = slot.channel.settings().slow.policy == SlowPolicy::Disconnect;
        let readers = self.level_readers_of(index);
        for (done, token) in readers.into_iter().enumerate() {
            if disconnects {
                self.end(token, EndReason::Slow, now);
            } else {
                self.lag_from(token, place, now);
            }
            breathe(done).await;
        }
    }

    /// Readers that waited for the sweep to reach them. Those behind wait for their sockets.
    pub(super) async fn catch_up(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let now = clock::now();
        for (done, token) in std::mem::take(&mut slot.ahead).into_iter().enumerate() {
            self.drive(token, now);
            breathe(done).await;
        }
    }

    /// Pushes what a reader that is not level is owed, as far as its socket takes it.
    pub(super) fn drive(&mut self, token: Token, now: Millis) {
        loop {
            let Some(step) = self.drive_step(token, now) else {
                return;
            };
            match step {
                Step::More => {}
                Step::Level(slot) => return self.level(slot, token.index as usize),
                Step::Ahead(slot) => return self.wait_ahead(slot, token.index as usize),
                Step::Waits => return self.note_behind(token.index as usize),
                Step::Ends(reason) => return self.end(token, reason, now),
            }
        }
    }

    fn drive_step(&mut self, token: Token, now: Millis) -> Option<Step> {
        let subscriber = self
            .subscribers
            .get_mut(token.index as usize)
            .filter(|subscriber| subscriber.generation == token.generation)?;
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return None;
        };
        let index = reading.slot as usize;
        let slot = self.slots.get(index)?;
        let owed = reading.out.len();
        match reading.push(&subscriber.waker, &mut self.delivered) {
            Offered::Taken => {}
            Offered::Pending => {
                reading.progressed(reading.out.len() < owed, now);
                return Some(Step::Waits);
            }
            Offered::Ends(reason) => return Some(Step::Ends(reason)),
        }
        if owed > 0 {
            subscriber.wrote = now;
        }
        match reading.cursor.cmp(&slot.swept) {
            Ordering::Equal => return Some(Step::Level(index)),
            Ordering::Greater => return Some(Step::Ahead(index)),
            Ordering::Less => {}
        }
        let batch = match reading.next_batch(slot.swept, &mut self.delivered) {
            Ok(batch) => batch,
            Err(step) => return Some(step),
        };
        let before = self.delivered.bytes;
        let offered = reading.offer(&batch, &subscriber.waker, &mut self.delivered);
        let passed = std::mem::take(&mut self.delivered.passed);
        slot.channel.route_metrics.events_skipped.add(passed);
        let progress = self.delivered.bytes > before;
        if progress {
            subscriber.wrote = now;
        }
        Some(match offered {
            Offered::Taken => {
                reading.progressed(true, now);
                Step::More
            }
            Offered::Pending => {
                reading.progressed(progress, now);
                Step::Waits
            }
            Offered::Ends(reason) => Step::Ends(reason),
        })
    }

    pub(super) fn note_behind(&mut self, reader: usize) {
        let Some(token) = self.token(reader) else {
            return;
        };
        if let Some(subscriber) = self.subscribers.get_mut(reader)
            && subscriber.behind.is_none()
        {
            subscriber.behind = Some(self.context.metrics.behind_subscribers.hold());
            self.behind.push(token);
        }
    }
}

impl Reading {
    fn progressed(&mut self, progress: bool, now: Millis) {
        let since = match self.pace {
            Pace::Behind(since) if !progress => since,
            Pace::Behind(_) | Pace::Level | Pace::Ahead => now,
        };
        self.pace = Pace::Behind(since);
    }
}

/// What driving a reader came to.
pub(super) enum Step {
    /// It may take more.
    More,
    /// It has everything that was swept: it is level in this slot.
    Level(usize),
    /// It stands past the sweep of this slot.
    Ahead(usize),
    /// Its socket is full.
    Waits,
    /// Its stream ends.
    Ends(EndReason),
}
