//! Many readers are closed: along a slope, so that they do not all come back in the same second.

use rand::seq::SliceRandom;

use super::{Shard, breathe};
use crate::{
    channel::{state::Outcome, view::View},
    clock::{self, Millis},
    drain::Slope,
    egress::{
        handle::{Order, Token},
        subscriber::Stage,
    },
    error::EndReason,
};

/// More readers of one channel than this are a crowd: the range of their reconnect times alone does
/// not thin them out.
const CROWD: usize = 256;

/// Readers that are being closed evenly.
pub(super) struct Closing {
    readers: Vec<Token>,
    slope: Slope,
    reason: EndReason,
}

impl Closing {
    /// In random order: not those first who came first.
    fn new(mut readers: Vec<Token>, slope: Slope, reason: EndReason) -> Self {
        readers.shuffle(&mut rand::rng());
        Self {
            readers,
            slope,
            reason,
        }
    }
}

impl Shard {
    /// Follows an order, once.
    pub(super) async fn follow(&mut self, order: Order) {
        if self.order.replace(order) == Some(order) {
            return;
        }
        match order {
            Order::Drain(end) => self.drain(end),
            Order::Cut => self.cut().await,
        }
    }

    /// Closes everybody evenly until `end`, and whoever still joins.
    fn drain(&mut self, end: Millis) {
        let now = clock::now();
        let is_reader = |stage: &Stage| matches!(stage, Stage::Reading(_));
        let readers = self
            .subscribers
            .iter()
            .filter(|(_, subscriber)| is_reader(&subscriber.stage))
            .filter_map(|(index, _)| self.token(index))
            .collect();
        let slope = Slope::new(now, end.since(now), rand::random());
        self.drain = Some(Closing::new(readers, slope, EndReason::Drained));
        let slots = self.slots.iter();
        let views: Vec<(usize, View)> = slots.map(|(i, slot)| (i, slot.channel.view())).collect();
        for (index, view) in views {
            self.hasten_lost(index, &view, now);
        }
    }

    /// The deadline: cuts what is left.
    async fn cut(&mut self) {
        for index in 0..self.subscribers.capacity() {
            if let Some(token) = self.token(index) {
                self.remove(token, EndReason::Drained);
            }
            breathe(index).await;
        }
    }

    /// A reader that joined while draining.
    pub(super) fn close_too(&mut self, token: Token) {
        if let Some(drain) = &mut self.drain {
            drain.readers.push(token);
        }
    }

    /// While we drain, holding on to readers whose upstream is lost is of no use to them: they leave
    /// within the time over which their route has clients come back. They stay in the common slope
    /// as well: whichever closes them first.
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
        let closing = Closing::new(self.readers_of(index), slope, EndReason::Drained);
        self.closings.push(closing);
    }

    /// The channel's life is over: its readers are told, in the way that suits why. A crowd leaves
    /// over the time in which its route has clients come back. So does each of the channels that a
    /// reload retired, for there may be many of them at once.
    pub(super) async fn channel_over(&mut self, index: usize, outcome: Outcome) {
        let now = clock::now();
        let reason = match outcome {
            Outcome::Refused | Outcome::Unreachable => EndReason::UpstreamRefused,
            Outcome::Cut => EndReason::UpstreamCut,
            Outcome::Retired => EndReason::Reloaded,
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
        if outcome == Outcome::Retired || readers.len() > CROWD {
            let slope = Slope::new(now, window, rand::random());
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
        let mut closings = std::mem::take(&mut self.closings);
        let mut drain = self.drain.take();
        for closing in closings.iter_mut().chain(&mut drain) {
            closing.readers.retain(|token| self.is_reading(*token));
            let left = closing.readers.len();
            let leaving = closing
                .readers
                .split_off(left - closing.slope.due(now, left));
            let ahead = closing.slope.hastened();
            due.extend(
                leaving
                    .into_iter()
                    .map(|token| (token, closing.reason, ahead)),
            );
        }
        closings.retain(|closing| !closing.readers.is_empty());
        self.closings = closings;
        self.drain = drain;
        for (done, (token, reason, ahead)) in due.into_iter().enumerate() {
            self.end_ahead(token, reason, ahead, now);
            breathe(done).await;
        }
    }
}

#[cfg(test)]
mod tests;
