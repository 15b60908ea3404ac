//! Events go out: one pass over the level readers of a channel, and catching up for the others.

use super::{SLICE, Shard};
use crate::{
    channel::state::{Outcome, Phase},
    clock::{self, Millis},
    egress::{
        batch::{Batch, Gathered},
        handle::Token,
        subscriber::{Offered, Pace, Reading, Stage},
    },
    error::EndReason,
};

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
        if let Phase::Over(outcome) = view.phase {
            self.channel_over(index, outcome);
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
            if slot.level.is_empty() {
                slot.advance(head, slot.wrote);
                self.catch_up(index);
                break;
            }
            let batch = match Batch::gather(&slot.channel, slot.swept, head) {
                Gathered::Batch(batch) => batch,
                Gathered::Nothing => break,
                // What the app refused on reconnect took the ring with it: its readers are told so.
                Gathered::Evicted if slot.channel.is_over() => break,
                Gathered::Evicted => {
                    self.outrun(index, head);
                    self.catch_up(index);
                    break;
                }
            };
            slot.advance(batch.last, started);
            self.sweep_batch(index, &batch).await;
            self.catch_up(index);
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
    async fn sweep_batch(&mut self, index: usize, batch: &Batch) {
        let now = clock::now();
        let mut place = 0;
        let mut written = 0;
        while let Some(reader) = self
            .slots
            .get(index)
            .and_then(|slot| slot.level.get(place))
            .copied()
        {
            match self.offer_level(reader, batch) {
                Offered::Taken => place += 1,
                Offered::Pending => {
                    self.unlevel(index, place, Pace::Behind(now));
                    self.note_behind(reader);
                }
                Offered::Ends(reason) => {
                    self.unlevel(index, place, Pace::Ahead);
                    self.end_index(reader, reason, now);
                }
            }
            written += 1;
            if written % SLICE == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn offer_level(&mut self, reader: usize, batch: &Batch) -> Offered {
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
    fn outrun(&mut self, index: usize, head: u64) {
        let now = clock::now();
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.advance(head, now);
        for reader in slot.level.clone() {
            self.end_index(reader, EndReason::Slow, now);
        }
    }

    /// Readers that waited for the sweep to reach them.
    fn catch_up(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let now = clock::now();
        for token in std::mem::take(&mut slot.ahead) {
            self.drive(token, now);
        }
        // Behind readers wait for their sockets; the ones that were only just served are level.
    }

    /// Pushes what a reader that is not level is owed, as far as its socket takes it.
    pub(super) fn drive(&mut self, token: Token, now: Millis) {
        loop {
            let Some(step) = self.drive_step(token, now) else {
                return;
            };
            match step {
                Step::More => {}
                Step::Level => return self.level(token),
                Step::Ahead => return self.ahead(token),
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
        let slot = self.slots.get(reading.slot as usize)?;
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
            std::cmp::Ordering::Equal => return Some(Step::Level),
            std::cmp::Ordering::Greater => return Some(Step::Ahead),
            std::cmp::Ordering::Less => {}
        }
        let batch = match Batch::gather(&slot.channel, reading.cursor, slot.swept) {
            Gathered::Batch(batch) => batch,
            Gathered::Nothing | Gathered::Evicted => return Some(Step::Ends(EndReason::Slow)),
        };
        let before = self.delivered.bytes;
        let offered = reading.offer(&batch, &subscriber.waker, &mut self.delivered);
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

    fn level(&mut self, token: Token) {
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return;
        };
        let slot = reading.slot as usize;
        let Some(slot) = self.slots.get_mut(slot) else {
            return;
        };
        let place = slot.level.len();
        slot.level.push(token.index as usize);
        self.set_pace(
            token.index as usize,
            Pace::Level(u32::try_from(place).unwrap_or(u32::MAX)),
        );
    }

    fn ahead(&mut self, token: Token) {
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return;
        };
        reading.pace = Pace::Ahead;
        let slot = reading.slot as usize;
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.ahead.push(token);
        }
    }

    /// Takes the reader at `place` out of a slot's level list.
    pub(super) fn unlevel(&mut self, index: usize, place: usize, pace: Pace) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if place >= slot.level.len() {
            return;
        }
        let reader = slot.level.swap_remove(place);
        let moved = slot.level.get(place).copied();
        self.set_pace(reader, pace);
        if let Some(moved) = moved {
            self.set_pace(moved, Pace::Level(u32::try_from(place).unwrap_or(u32::MAX)));
        }
    }

    fn set_pace(&mut self, reader: usize, pace: Pace) {
        if let Some(subscriber) = self.subscribers.get_mut(reader)
            && let Stage::Reading(reading) = &mut subscriber.stage
        {
            reading.pace = pace;
        }
    }

    fn note_behind(&mut self, reader: usize) {
        let Some(token) = self.token(reader) else {
            return;
        };
        if let Some(subscriber) = self.subscribers.get_mut(reader)
            && !std::mem::replace(&mut subscriber.listed_behind, true)
        {
            self.behind.push(token);
            self.context.metrics.behind_subscribers.inc();
        }
    }

    /// The channel's life is over: its readers are told, in the way that suits why.
    fn channel_over(&mut self, index: usize, outcome: Outcome) {
        let now = clock::now();
        let reason = match outcome {
            Outcome::Refused | Outcome::Unreachable => EndReason::UpstreamRefused,
            Outcome::Retired => EndReason::Reloaded,
            Outcome::Broken | Outcome::Lingered => EndReason::Internal,
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if std::mem::replace(&mut slot.over, true) {
            return;
        }
        let readers = self.readers_of(index);
        if outcome == Outcome::Retired {
            self.close_evenly(readers, super::tick::RETIRE_WINDOW, reason, now);
        } else {
            for token in readers {
                self.end(token, reason, now);
            }
        }
    }

    fn readers_of(&self, index: usize) -> Vec<Token> {
        let of_slot = |reading: &Reading| reading.slot as usize == index;
        self.subscribers
            .iter()
            .filter(|(_, s)| matches!(&s.stage, Stage::Reading(reading) if of_slot(reading)))
            .filter_map(|(reader, _)| self.token(reader))
            .collect()
    }
}

impl super::Slot {
    /// Level readers are about to have everything up to `sequence`.
    fn advance(&mut self, sequence: u64, now: Millis) {
        debug_assert!(sequence >= self.swept, "a sweep never goes back");
        self.swept = sequence;
        self.wrote = now;
        self.wake.set_swept(sequence);
    }
}

impl Reading {
    fn progressed(&mut self, progress: bool, now: Millis) {
        let since = match self.pace {
            Pace::Behind(since) if !progress => since,
            Pace::Behind(_) | Pace::Level(_) | Pace::Ahead => now,
        };
        self.pace = Pace::Behind(since);
    }
}

/// What driving a reader came to.
enum Step {
    /// It may take more.
    More,
    /// It has everything that was swept.
    Level,
    /// It stands past the sweep.
    Ahead,
    /// Its socket is full.
    Waits,
    /// Its stream ends.
    Ends(EndReason),
}
