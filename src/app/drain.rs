//! The drain: everybody is moved away, within a window and then a margin.

use std::{convert::Infallible, sync::Arc, time::Duration};

use super::{control::Control, departure::Departure, overseer::Over};
use crate::{
    clock::{self, Millis},
    egress::shard::ShardHandle,
    lifecycle::Phase,
};

/// How often the drain looks whether everybody is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

impl Control {
    /// Waits for the order to drain, then moves everybody away: readiness fails with the phase; no new
    /// channels, no keep-alive; every shard closes its readers along a slope, but for those of an answer
    /// that may finish; what is left at the deadline is cut. The pass-through serves on, until the
    /// process is to end and nobody is left.
    pub(super) async fn drain(self: Arc<Self>) {
        let lifecycle = &self.supervisor.lifecycle;
        lifecycle.reached(Phase::Draining).await;
        let drain = self.hub.config.load().drain;
        tracing::info!(window = ?drain.window, "draining; a second signal ends at once");
        let departure = Departure::new(drain, clock::now());
        self.hub.metrics.drain.underway.set(1);
        self.hub.registry.drain();
        self.shutdown.send_replace(true);
        for shard in &self.shards {
            shard.drain(drain.window);
        }
        let told = tokio::select! {
            () = lifecycle.left() => clock::now(),
            never = self.stay(&departure) => match never {},
        };
        let everybody = || self.clients() + self.hub.admission.connections.taken();
        let left = self
            .until_over(&departure, everybody, departure.deadline(told))
            .await;
        tracing::info!(left, unfinished_answers = self.answers(), "drained");
        self.cut();
        // An error means that nobody waits for us.
        let _told = self.over.try_send(Over::Drained);
    }

    /// A drain by command: the process is not to end after it.
    async fn stay(&self, departure: &Departure) -> Infallible {
        let deadline = departure.cut_at();
        let cut = self
            .until_over(departure, || self.clients(), deadline)
            .await;
        self.supervisor.lifecycle.advance(Phase::Drained);
        tracing::info!(
            cut,
            unfinished_answers = self.answers(),
            "drained by command; the pass-through serves on until SIGTERM"
        );
        // Until then, who joins a channel that is there is closed along the slope.
        tokio::time::sleep(deadline.since(clock::now())).await;
        self.cut();
        std::future::pending().await
    }

    /// Waits until nobody is left, or ought to be; how many still are.
    async fn until_over(
        &self,
        departure: &Departure,
        count: impl Fn() -> usize,
        deadline: Millis,
    ) -> usize {
        let mut looked = clock::now();
        loop {
            let (left, now) = (count(), clock::now());
            let at_once = self.supervisor.lifecycle.phase() == Phase::Stopped;
            if departure.is_over(left, now) || now >= deadline || at_once {
                return left;
            }
            if departure.window_ended(looked, now) && self.answers() > 0 {
                let answers = self.answers();
                tracing::info!(answers, "the window is over; answers may still finish");
            }
            looked = now;
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Who reads events or waits for them: by way of shards, which have some clients more that get a
    /// short answer, or alone.
    fn clients(&self) -> usize {
        let by_shards: usize = self.shards.iter().map(ShardHandle::load).sum();
        by_shards.max(self.hub.admission.subscribers.taken())
    }

    /// What the drain still waits for, beyond its window if need be.
    fn answers(&self) -> i64 {
        self.hub.metrics.drain.answers.get()
    }

    fn cut(&self) {
        for shard in &self.shards {
            shard.cut();
        }
    }
}
