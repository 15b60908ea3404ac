//! Time passes: heartbeats, stalled readers, waiting joiners, and the slopes of closing.

use std::time::Duration;

use rand::seq::SliceRandom;

use super::{Closing, Shard, arrive::jittered, breathe, tick_of};
use crate::{
    clock::{self, Millis},
    drain::Slope,
    egress::{
        handle::Token,
        opening,
        subscriber::{Offered, Pace, Stage},
    },
    error::EndReason,
};

/// Readers of a channel that a reload retired are closed within this time: their upstream is gone,
/// so there is nothing to hold on to, but they need not all come back in the same second.
pub(super) const RETIRE_WINDOW: Duration = Duration::from_secs(5);

/// An answer or an end that the client does not take for this long is given up.
const ENDING_STALL_MAX: Duration = Duration::from_secs(10);

impl Shard {
    pub(super) async fn tick(&mut self, now: Millis) {
        self.beat(now).await;
        self.check_behind(now);
        self.check_waiting(now).await;
        self.check_endings(now);
        self.close_due(now);
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

    /// Sends a heartbeat when one is due; returns when to look again.
    fn beat_one(&mut self, token: Token, now: Millis) -> Option<Millis> {
        let subscriber = self.subscriber(token)?;
        let wrote = subscriber.wrote;
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return None;
        };
        let interval = reading.holds.settings().heartbeat;
        let (pace, slot) = (reading.pace, reading.slot as usize);
        let Pace::Level(place) = pace else {
            return Some(now.after(jittered(interval)));
        };
        let wrote = self
            .slots
            .get(slot)
            .map_or(wrote, |slot| slot.wrote.max(wrote));
        // A tenth early is the jitter; without it a steady trickle would push the beat on for ever.
        if now.since(wrote) < interval.mul_f64(0.9) {
            return Some(wrote.after(jittered(interval)));
        }
        let subscriber = self.subscribers.get_mut(token.index as usize)?;
        let Stage::Reading(reading) = &mut subscriber.stage else {
            return None;
        };
        reading.out = opening::heartbeat(reading.form);
        let pushed = reading.push(&subscriber.waker, &mut self.delivered);
        subscriber.wrote = now;
        self.context.metrics.heartbeats.inc();
        match pushed {
            Offered::Taken => {}
            Offered::Pending => {
                let swept = self.slots.get(slot).map_or(0, |slot| slot.swept);
                self.unlevel(slot, place as usize, Pace::Behind(now));
                self.set_cursor(token, swept);
                self.drive(token, now);
            }
            Offered::Ends(reason) => {
                self.end(token, reason, now);
                return None;
            }
        }
        Some(now.after(jittered(interval)))
    }

    fn set_cursor(&mut self, token: Token, cursor: u64) {
        if let Some(subscriber) = self.subscriber(token)
            && let Stage::Reading(reading) = &mut subscriber.stage
        {
            reading.cursor = cursor;
        }
    }

    // --- the slow ------------------------------------------------------------------------------

    /// Readers that are behind for too long or too far are disconnected: they resume by id.
    fn check_behind(&mut self, now: Millis) {
        for token in std::mem::take(&mut self.behind) {
            let Some(subscriber) = self.subscriber(token) else {
                continue;
            };
            subscriber.listed_behind = false;
            let verdict = match &subscriber.stage {
                Stage::Reading(reading) => match reading.pace {
                    Pace::Behind(since) => {
                        let slow = reading.holds.settings().slow;
                        let lag = reading.holds.membership.channel().lag(reading.cursor);
                        let too_far = lag.is_none_or(|(events, bytes)| {
                            events > slow.events_max as u64 || bytes > slow.bytes_max as u64
                        });
                        Some(too_far || now.since(since) >= slow.stall_max)
                    }
                    Pace::Level(_) | Pace::Ahead => None,
                },
                Stage::Waiting(_) | Stage::Ending(_) | Stage::Gone => None,
            };
            self.context.metrics.behind_subscribers.dec();
            match verdict {
                Some(true) => self.end(token, EndReason::Slow, now),
                Some(false) => {
                    if let Some(subscriber) = self.subscriber(token) {
                        subscriber.listed_behind = true;
                    }
                    self.context.metrics.behind_subscribers.inc();
                    self.behind.push(token);
                }
                None => {}
            }
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
        for index in waiting {
            if let Some(channel) = self.slots.get(index).map(|slot| slot.channel.clone()) {
                self.settle_all(index, &channel.view(), now).await;
            }
        }
    }

    fn check_endings(&mut self, now: Millis) {
        let stalled = |stage: &Stage| matches!(stage, Stage::Ending(e) if now.since(e.since) >= ENDING_STALL_MAX);
        let stalled: Vec<Token> = self
            .subscribers
            .iter()
            .filter(|(_, subscriber)| stalled(&subscriber.stage))
            .filter_map(|(index, _)| self.token(index))
            .collect();
        for token in stalled {
            self.remove(token, EndReason::Slow);
        }
    }

    // --- closing -------------------------------------------------------------------------------

    /// Closes everybody evenly over `window`, and whoever still joins.
    pub(super) fn drain(&mut self, window: Duration) {
        self.draining = true;
        let readers: Vec<Token> = self
            .subscribers
            .iter()
            .filter(|(_, subscriber)| matches!(subscriber.stage, Stage::Reading(_)))
            .filter_map(|(index, _)| self.token(index))
            .collect();
        self.close_evenly(readers, window, EndReason::Drained, clock::now());
    }

    /// The deadline: cuts what is left.
    pub(super) fn cut(&mut self) {
        let all: Vec<Token> = (0..self.subscribers.capacity())
            .filter_map(|index| self.token(index))
            .collect();
        for token in all {
            self.remove(token, EndReason::Drained);
        }
    }

    /// Closes `readers` in random order along a slope.
    pub(super) fn close_evenly(
        &mut self,
        mut readers: Vec<Token>,
        window: Duration,
        reason: EndReason,
        now: Millis,
    ) {
        readers.shuffle(&mut rand::rng());
        let slope = Slope::new(now, window, rand::random());
        self.closings.push(Closing {
            readers,
            slope,
            reason,
        });
    }

    /// A reader that joined while draining.
    pub(super) fn close_too(&mut self, token: Token) {
        if let Some(closing) = self
            .closings
            .iter_mut()
            .find(|c| c.reason == EndReason::Drained)
        {
            closing.readers.push(token);
        }
    }

    fn close_due(&mut self, now: Millis) {
        let mut closings = std::mem::take(&mut self.closings);
        let mut ends = Vec::new();
        for closing in &mut closings {
            closing.readers.retain(|token| {
                self.subscriber(*token)
                    .is_some_and(|s| matches!(s.stage, Stage::Reading(_)))
            });
            let due = closing.slope.due(now, closing.readers.len());
            let keep = closing.readers.len() - due;
            ends.extend(
                closing
                    .readers
                    .split_off(keep)
                    .into_iter()
                    .map(|t| (t, closing.reason)),
            );
        }
        closings.retain(|closing| {
            !closing.readers.is_empty()
                || closing.reason == EndReason::Drained
                || !closing.slope.is_over(now)
        });
        self.closings = closings;
        for (token, reason) in ends {
            self.end(token, reason, now);
        }
    }
}
