//! One loop per worker thread; it alone writes to the subscribers it owns.
//!
//! Everything comes in through the [handle](super::handle): clients, channels that changed,
//! sockets that moved, orders. The loop works these off, writes, and sleeps. It holds no lock while
//! it writes, and yields to the connections of its thread every so many sockets.

mod arrive;
mod close;
mod delay;
mod group;
mod leave;
mod parties;
#[cfg(test)]
mod simulation;
mod skip;
mod slot;
mod sweep;
#[cfg(test)]
mod testing;
mod tick;

use std::{collections::HashMap, sync::Arc, time::Duration};

use slab::Slab;

use self::{
    close::{Closing, Drain},
    delay::Delayed,
    slot::Slot,
};
pub use super::handle::{Joiner, Relay, ShardHandle};
use super::{
    handle::{Order, Shared, Token},
    subscriber::{Delivered, Pace, Stage, Subscriber},
    wheel::Wheel,
};
use crate::{
    admission::Admission,
    clock::{self, Millis},
    error::EndReason,
    lifecycle::Pulse,
    metrics::{Metrics, labels::PanicPlace},
};

/// Grain of everything that is timed: heartbeats, stalls, drain.
const TICK: Duration = Duration::from_millis(250);

/// Sockets written in one go before the other tasks of the thread get their turn.
const SLICE: usize = if cfg!(test) { 2 } else { 512 };

/// What a shard needs of the process.
#[derive(Clone)]
pub struct ShardContext {
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Who says when a client that is turned away should come back.
    pub admission: Arc<Admission>,
    /// Who serves clients whose answer is too long to share.
    pub relay: Arc<dyn Relay>,
}

/// A shard's state; lives on its worker thread.
pub struct Shard {
    shared: Arc<Shared>,
    context: ShardContext,
    /// A shard that stands still is a dead process.
    pulse: Pulse,
    subscribers: Slab<Subscriber>,
    slots: Slab<Slot>,
    by_channel: HashMap<usize, usize>,
    /// Channels whose events wait for others.
    delayed: Delayed,
    /// When heartbeats are due.
    wheel: Wheel<Token>,
    /// Readers that may be behind, looked at on each tick.
    behind: Vec<Token>,
    /// Those that get their last bytes, likewise.
    endings: Vec<Token>,
    /// Closings under way, of one channel each.
    closings: Vec<Closing>,
    /// The closing of everybody, whoever joins included.
    drain: Option<Drain>,
    /// The order that was followed.
    order: Option<Order>,
    generation: u32,
    /// Readers that did not take a batch as a whole; kept for its memory.
    lagging: Vec<usize>,
    /// The groups that a sweep goes to, and how many they are. Kept for its memory.
    due_groups: Vec<(usize, usize)>,
    /// Counted here and added to the metrics once per round.
    delivered: Delivered,
}

impl Drop for Shard {
    /// Also when it panicked: every end is counted.
    fn drop(&mut self) {
        for (_, subscriber) in &self.subscribers {
            if let Stage::Reading(reading) = &subscriber.stage {
                reading.count_end(EndReason::Internal);
            }
        }
    }
}

/// Runs shard `id` for ever and returns its handle first. A panic costs the shard's readers their
/// connections (they come back and resume), never the process.
pub fn spawn(
    id: u32,
    context: ShardContext,
    pulse: Pulse,
) -> (ShardHandle, impl Future<Output = ()> + Send) {
    let handle = ShardHandle::new(id);
    let shared = handle.0.clone();
    let supervise = async move {
        loop {
            let shard = Shard::new(shared.clone(), context.clone(), pulse.clone());
            let run = tokio::spawn(tokio::task::unconstrained(shard.run()));
            match run.await {
                Err(failure) if failure.is_panic() => {
                    context.metrics.panics.inc(PanicPlace::Shard);
                    tracing::error!(
                        shard = shared.id,
                        "shard panicked; its readers must reconnect"
                    );
                }
                Ok(()) | Err(_) => return,
            }
        }
    };
    (handle, supervise)
}

impl Shard {
    fn new(shared: Arc<Shared>, context: ShardContext, pulse: Pulse) -> Self {
        shared.load.store(0, std::sync::atomic::Ordering::Relaxed);
        Self {
            shared,
            context,
            pulse,
            subscribers: Slab::new(),
            slots: Slab::new(),
            by_channel: HashMap::new(),
            delayed: Delayed::default(),
            wheel: Wheel::new(tick_of(clock::now())),
            behind: Vec::new(),
            endings: Vec::new(),
            closings: Vec::new(),
            drain: None,
            order: None,
            generation: 0,
            lagging: Vec::new(),
            due_groups: Vec::new(),
            delivered: Delivered::default(),
        }
    }

    async fn run(mut self) {
        let mut next_tick = clock::now().after(TICK);
        loop {
            let due = self.delayed.next();
            let wait = due.map_or(next_tick, |due| due.min(next_tick));
            let wait = wait.since(clock::now());
            // Which of the two came first does not matter: both are looked at.
            let _first = tokio::time::timeout(wait, self.shared.notified()).await;
            self.work().await;
            let now = clock::now();
            self.sweep_due(now).await;
            if now >= next_tick {
                next_tick = now.after(TICK);
                self.tick(now).await;
                self.pulse.beat(now);
            }
            self.count();
            // `unconstrained` leaves fairness on this thread to us.
            tokio::task::yield_now().await;
        }
    }

    /// Works off what came in. Channels first: who arrives then starts where the sweep stands.
    async fn work(&mut self) {
        let inbox = self.shared.take();
        self.delayed.extend(inbox.due);
        for (done, slot) in inbox.changed.into_iter().enumerate() {
            self.channel_changed(slot as usize).await;
            breathe(done).await;
        }
        for (done, arrival) in inbox.arrivals.into_iter().enumerate() {
            self.arrive(arrival);
            breathe(done).await;
        }
        for (done, token) in inbox.woken.into_iter().enumerate() {
            self.woken(token);
            breathe(done).await;
        }
        for (done, token) in inbox.groups.into_iter().enumerate() {
            self.group_woken(token);
            breathe(done).await;
        }
        if let Some(order) = inbox.order {
            self.follow(order).await;
        }
    }

    /// A subscriber's socket or stream moved.
    fn woken(&mut self, token: Token) {
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        subscriber.wake.seen();
        if subscriber.poll_gone() {
            self.remove(token, EndReason::ClientLeft);
            return;
        }
        let now = clock::now();
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        match &mut subscriber.stage {
            Stage::Reading(reading) if matches!(reading.pace, Pace::Behind(_)) => {
                self.drive(token, now);
            }
            Stage::Ending(_) => {
                self.step_ending(token, now);
            }
            Stage::Waiting(_) | Stage::Reading(_) | Stage::Gone => {}
        }
    }

    /// The user of a place, if it is still the same.
    fn subscriber(&mut self, token: Token) -> Option<&mut Subscriber> {
        self.subscribers
            .get_mut(token.index as usize)
            .filter(|subscriber| subscriber.generation == token.generation)
    }

    fn token(&self, index: usize) -> Option<Token> {
        let generation = self.subscribers.get(index)?.generation;
        Some(Token {
            index: u32::try_from(index).ok()?,
            generation,
        })
    }

    fn count(&mut self) {
        let metrics = &self.context.metrics;
        let delivered = std::mem::take(&mut self.delivered);
        metrics.events_delivered.add(delivered.events);
        metrics.bytes_delivered.add(delivered.bytes);
        self.shared
            .load
            .store(self.subscribers.len(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// Gives the other tasks of the thread their turn after each slice of work.
async fn breathe(done: usize) {
    if done % SLICE == SLICE - 1 {
        tokio::task::yield_now().await;
    }
}

const fn tick_of(now: Millis) -> u64 {
    now.0 / 250
}
