//! Time passes: heartbeats, ages, stalled readers, waiting joiners, and the slopes of closing.

use std::time::Duration;

use super::{Shard, breathe, tick_of};
use crate::{
    clock::Millis,
    config::model::SlowPolicy,
    egress::{
        chance,
        handle::Token,
        opening,
        subscriber::{Offered, Pace, Reading, Stage},
    },
    error::EndReason,
};

impl Shard {
    pub(super) async fn tick(&mut self, now: Millis) {
        self.beat(now).await;
        self.check_groups(now).await;
        self.check_behind(now).await;
        self.check_waiting(now).await;
        self.check_endings(now).await;
        self.close_due(now).await;
    }

    // --- heartbeats ----------------------------------------------------------------------------

    async fn beat(&mut self, now: Millis) {
        for (done, token) in self.wheel.advance(tick_of(now)).into_iter().enumerate() {
            if let Some(next) = self.beat_one(token, now) {
                self.wheel.schedule(token, tick_of(next));
            }
            breathe(done).await;
        }
    }

    /// Closes a stream that is of age, or sends a heartbeat when one is due; returns when to look
    /// again.
    fn beat_one(&mut self, token: Token, now: Millis) -> Option<Millis> {
        // Field by field: the slot is looked at meanwhile.
        let subscriber = self
            .subscribers
            .get_mut(token.index as usize)
            .filter(|subscriber| subscriber.generation == token.generation)?;
        let wrote = subscriber.wrote;
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return None;
        };
        if reading.retires.is_some_and(|at| at <= now) {
            self.end(token, EndReason::Age, now);
            return None;
        }
        let interval = reading.holds.settings().heartbeat;
        let next = reading.next_look(now.after(jittered(interval)));
        let slot = self.slots.get(reading.slot as usize)?;
        if reading.pace != Pace::Level || !slot.is_up_to_date(reading.group) {
            return Some(next);
        }
        let wrote = slot.wrote.max(wrote);
        // A tenth early is the jitter; without it a steady trickle would push the beat on for ever.
        if now.since(wrote) < interval.mul_f64(0.9) {
            return Some(reading.next_look(wrote.after(jittered(interval))));
        }
        // A level reader's cursor is the slot's; its own is brought up only when it is needed.
        reading.cursor = slot.swept;
        reading.out = opening::heartbeat(reading.form);
        let index = reading.slot as usize;
        let pushed = reading.push(&subscriber.waker, &mut self.delivered);
        subscriber.wrote = now;
        self.context.metrics.heartbeats.inc();
        match pushed {
            Offered::Taken => {}
            Offered::Pending => {
                self.unlevel(index, token.index as usize, Pace::Behind(now));
                self.note_behind(token.index as usize);
            }
            Offered::Ends(reason) => {
                self.end(token, reason, now);
                return None;
            }
        }
        Some(next)
    }

    // --- the slow ------------------------------------------------------------------------------

    /// Readers that are behind for too long, or too far where that is the policy, are disconnected:
    /// they resume by id.
    async fn check_behind(&mut self, now: Millis) {
        for (done, token) in std::mem::take(&mut self.behind).into_iter().enumerate() {
            let Some(subscriber) = self.subscriber(token) else {
                continue;
            };
            let too_slow = match &subscriber.stage {
                Stage::Reading(reading) => match reading.pace {
                    Pace::Behind(since) => Some(reading.is_too_slow(since, now)),
                    Pace::Level | Pace::Ahead => None,
                },
                Stage::Waiting(_) | Stage::Ending(_) | Stage::Gone => None,
            };
            match too_slow {
                Some(true) => self.end(token, EndReason::Slow, now),
                Some(false) => self.behind.push(token),
                None => subscriber.behind = None,
            }
            breathe(done).await;
        }
    }

    /// Joiners whose app is silent get their head after `head_wait`.
    async fn check_waiting(&mut self, now: Millis) {
        let waiting: Vec<usize> = self
            .slots
            .iter()
            .filter(|(_, slot)| !slot.waiting.is_empty())
            .map(|(i, _)| i)
            .collect();
        for (done, index) in waiting.into_iter().enumerate() {
            if let Some(channel) = self.slots.get(index).map(|slot| slot.channel.clone()) {
                self.settle_all(index, &channel.view(), now).await;
            }
            breathe(done).await;
        }
    }

    /// Endings go on, or are given up; not all of them are woken by what they wait for.
    async fn check_endings(&mut self, now: Millis) {
        for (done, token) in std::mem::take(&mut self.endings).into_iter().enumerate() {
            if !self.step_ending(token, now) {
                self.endings.push(token);
            }
            breathe(done).await;
        }
    }
}

impl Reading {
    /// Behind without progress since `since`: for too long, or too far to be kept.
    fn is_too_slow(&self, since: Millis, now: Millis) -> bool {
        let settings = self.holds.settings();
        let slow = &settings.slow;
        let too_far = slow.policy == SlowPolicy::Disconnect && self.is_too_far(slow);
        too_far || now.since(since) >= slow.stall_max
    }

    /// `beat`, unless its age comes first.
    pub(super) fn next_look(&self, beat: Millis) -> Millis {
        self.retires.map_or(beat, |at| at.min(beat))
    }
}

/// +-10 %, so that a crowd that joined at once does not beat at once.
pub(super) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance::random::<f64>())
}

/// 80 to 100 % of `max`: a crowd that joined at once does not leave at once.
pub(super) fn age(max: Duration) -> Duration {
    max.mul_f64(0.8 + 0.2 * chance::random::<f64>())
}

#[cfg(test)]
mod tests;
