//! Many readers are closed: along a slope, so that they do not all come back in the same second.

use std::{sync::Arc, time::Duration};

use rand::seq::SliceRandom;

use super::{
    Shard, breathe,
    parties::{Parties, Party},
};
use crate::{
    channel::{
        state::{Outcome, Phase},
        view::View,
    },
    clock::{self, Millis},
    drain::Slope,
    egress::{
        chance::{self, Chance},
        h2::Connection,
        handle::{Order, Token},
        subscriber::Stage,
    },
    error::EndReason,
};

/// More readers of one channel than this are a crowd: the range of their reconnect times alone does
/// not thin them out.
const CROWD: usize = 256;

/// Streams of one HTTP/2 connection end within this time once it was told to go.
const PARTING: Duration = Duration::from_secs(1);

/// Readers that are being closed evenly.
pub(super) struct Closing {
    readers: Vec<Token>,
    slope: Slope,
    reason: EndReason,
}

impl Closing {
    /// In random order: not those first who came first.
    fn new(mut readers: Vec<Token>, slope: Slope, reason: EndReason) -> Self {
        readers.shuffle(&mut Chance);
        Self {
            readers,
            slope,
            reason,
        }
    }

    /// How many to close at `now`.
    fn due(&mut self, now: Millis) -> usize {
        self.slope.due(now, self.readers.len())
    }
}

/// All readers are being closed evenly.
pub(super) struct Drain {
    parties: Parties,
    slope: Slope,
    /// Readers that went before they were due, with the others of their connection.
    early: usize,
}

impl Drain {
    const fn new(parties: Parties, slope: Slope) -> Self {
        Self {
            parties,
            slope,
            early: 0,
        }
    }

    /// How many to close at `now`. Those who went early count as being there until they are due.
    fn due(&mut self, now: Millis) -> usize {
        let due = self.slope.due(now, self.parties.len() + self.early);
        let gone = due.min(self.early);
        self.early -= gone;
        due - gone
    }
}

impl Shard {
    /// Follows an order, once.
    pub(super) async fn follow(&mut self, order: Order) {
        if self.order.replace(order) == Some(order) {
            return;
        }
        match order {
            Order::Drain(end) => self.drain(end).await,
            Order::Cut => self.cut().await,
        }
    }

    /// Closes everybody evenly until `end`, and whoever still joins; but one answer may finish.
    async fn drain(&mut self, end: Millis) {
        let now = clock::now();
        let (mut leaving, mut finishing) = (Parties::default(), Vec::new());
        for index in 0..self.slots.capacity() {
            let readers = self.readers_of(index);
            if self.may_finish(index) {
                finishing.extend(readers);
            } else {
                for (done, token) in readers.into_iter().enumerate() {
                    leaving.add(token, self.connection_of(token).map(address));
                    breathe(done).await;
                }
            }
            breathe(index).await;
        }
        self.let_finish(&finishing, &leaving);
        leaving.shuffle(&mut Chance);
        let slope = Slope::new(now, end.since(now), chance::random());
        self.drain = Some(Drain::new(leaving, slope));
        for index in 0..self.slots.capacity() {
            if let Some(view) = self.slots.get(index).map(|slot| slot.channel.view()) {
                self.hasten_lost(index, &view, now);
            }
            breathe(index).await;
        }
    }

    /// Whether readers of a slot may stay for the end of one answer: it comes, or is there and kept.
    /// From the deadline on nobody may.
    fn may_finish(&self, index: usize) -> bool {
        let Some(slot) = self.slots.get(index) else {
            return false;
        };
        if self.order == Some(Order::Cut) || !slot.channel.settings().is_one_answer() {
            return false;
        }
        let view = slot.channel.view();
        match view.phase {
            Phase::Opening => !view.is_lost(),
            Phase::Live | Phase::Complete => true,
            Phase::Idle | Phase::Over(_) => false,
        }
    }

    /// Readers of `finishing` stay for the end of their answer, or until they are cut. Their clients are
    /// to ask elsewhere at once, unless their connection has a turn on the slope, by those `leaving`.
    fn let_finish(&mut self, finishing: &[Token], leaving: &Parties) {
        for token in finishing {
            self.count_finishing(*token);
            if let Some(connection) = self.connection_of(*token)
                && !leaving.has(address(connection))
            {
                connection.leave();
            }
        }
    }

    fn count_finishing(&mut self, token: Token) {
        let counted = self.context.metrics.drain.answers.hold();
        if let Some(subscriber) = self.subscriber(token) {
            subscriber.finishing = Some(counted);
        }
    }

    /// The deadline: cuts what is left. Who still joins is closed at once.
    async fn cut(&mut self) {
        // A shard that started anew has not heard of the drain.
        self.drain.get_or_insert_with(|| {
            let over = Slope::new(clock::now(), Duration::ZERO, 0.0);
            Drain::new(Parties::default(), over)
        });
        for index in 0..self.subscribers.capacity() {
            if let Some(token) = self.token(index) {
                self.remove(token, EndReason::Drained);
            }
            breathe(index).await;
        }
    }

    /// A reader has joined. While draining, it leaves like the others.
    pub(super) fn close_too(&mut self, token: Token, slot: usize) {
        if self.drain.is_none() {
            return;
        }
        if self.may_finish(slot) {
            return self.count_finishing(token);
        }
        let connection = self.connection_of(token).map(address);
        if let Some(drain) = &mut self.drain {
            drain.parties.add(token, connection);
        }
    }

    /// While we drain, holding on to readers whose upstream is lost is of no use to them: they leave
    /// within the time over which their route has clients come back. They stay in the common slope
    /// as well: whichever closes them first. An answer that is lost is waited for no longer.
    pub(super) fn hasten_lost(&mut self, index: usize, view: &View, now: Millis) {
        let (Some(drain), Some(slot)) = (&self.drain, self.slots.get_mut(index)) else {
            return;
        };
        if slot.closing.is_some() || !view.is_lost() {
            return;
        }
        slot.closing = Some(EndReason::Drained);
        let mut slope = drain.slope.clone();
        slope.hasten(now, slot.channel.settings().retry.max);
        let readers = self.readers_of(index);
        for token in &readers {
            if let Some(subscriber) = self.subscriber(*token) {
                subscriber.finishing = None;
            }
        }
        self.closings
            .push(Closing::new(readers, slope, EndReason::Drained));
    }

    /// The channel's life is over: its readers are told, in the way that suits why. A crowd leaves
    /// over the time in which its route has clients come back. So does each of the channels that a
    /// reload retired, for there may be many of them at once; but who may no longer share goes now.
    pub(super) async fn channel_over(&mut self, index: usize, outcome: Outcome) {
        let now = clock::now();
        let reason = match outcome {
            Outcome::Refused | Outcome::Unreachable | Outcome::Busy => EndReason::UpstreamRefused,
            Outcome::Cut => EndReason::UpstreamCut,
            Outcome::Retired | Outcome::Revoked => EndReason::Reloaded,
            Outcome::Broken | Outcome::Lingered => EndReason::Internal,
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if slot.closing.replace(reason) == Some(reason) {
            return;
        }
        let window = slot.channel.settings().retry.max;
        let readers = self.readers_of(index);
        let is_crowd = readers.len() > CROWD && outcome != Outcome::Revoked;
        if outcome == Outcome::Retired || is_crowd {
            let slope = Slope::new(now, window, chance::random());
            self.closings.push(Closing::new(readers, slope, reason));
        } else {
            for (done, token) in readers.into_iter().enumerate() {
                self.end(token, reason, now);
                breathe(done).await;
            }
        }
    }

    /// Closes those whose time has come.
    pub(super) async fn close_due(&mut self, now: Millis) {
        let mut due = Vec::new();
        if let Some(mut drain) = self.drain.take() {
            let ahead = drain.slope.hastened();
            let alone = self.drain_due(&mut drain, now);
            let alone = alone.into_iter();
            due.extend(alone.map(|token| (token, EndReason::Drained, ahead)));
            self.drain = Some(drain);
        }
        let mut closings = std::mem::take(&mut self.closings);
        for closing in &mut closings {
            closing.readers.retain(|token| self.is_reading(*token));
            let stay = closing.readers.len() - closing.due(now);
            let leaving = closing.readers.split_off(stay);
            let ahead = closing.slope.hastened();
            due.extend(
                leaving
                    .into_iter()
                    .map(|token| (token, closing.reason, ahead)),
            );
        }
        closings.retain(|closing| !closing.readers.is_empty());
        self.closings = closings;
        for (done, (token, reason, ahead)) in due.into_iter().enumerate() {
            self.end_ahead(token, reason, ahead, now);
            breathe(done).await;
        }
    }

    /// A drain goes by connection: each is told to go, and its streams end a little later. Returns who is
    /// due and has a connection of its own.
    fn drain_due(&mut self, drain: &mut Drain, now: Millis) -> Vec<Token> {
        drain.parties.retain(|token| self.is_reading(token));
        let mut due = drain.due(now);
        let mut alone = Vec::new();
        while due > 0 {
            let together = match drain.parties.pop() {
                None => break,
                Some(Party::Alone(token)) => {
                    alone.push(token);
                    due -= 1;
                    continue;
                }
                Some(Party::Together(readers)) => readers,
            };
            let any = together.first();
            if let Some(connection) = any.and_then(|token| self.connection_of(*token)) {
                connection.leave();
            }
            drain.early += together.len().saturating_sub(due);
            due = due.saturating_sub(together.len());
            let parting = Slope::new(now, PARTING.min(drain.slope.left(now)), chance::random());
            self.closings
                .push(Closing::new(together, parting, EndReason::Drained));
        }
        alone
    }

    /// The connection that a reader shares with others.
    fn connection_of(&self, token: Token) -> Option<&Arc<Connection>> {
        match &self.subscribers.get(token.index as usize)?.stage {
            Stage::Reading(reading) => reading.sink.connection(),
            Stage::Waiting(_) | Stage::Ending(_) | Stage::Gone => None,
        }
    }
}

/// Tells connections apart for as long as they are there.
fn address(connection: &Arc<Connection>) -> usize {
    Arc::as_ptr(connection) as usize
}

#[cfg(test)]
mod tests;
