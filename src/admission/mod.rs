//! Who may come in: caps in total and per channel, and the verdict for those who may not.

pub mod answer;
pub mod fd;
mod memory;
mod shed;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use self::{memory::Memory, shed::ShedEstimate};
use crate::{answer::Answer, clock::Millis, error::RefuseReason};

/// A bounded number of places. Cheap to clone; all clones share the places.
///
/// One for the whole process, one per channel: a subscriber holds a [`Permit`] of each.
#[derive(Debug, Clone)]
pub struct Places(Arc<Count>);

#[derive(Debug)]
struct Count {
    max: AtomicUsize,
    taken: AtomicUsize,
}

/// One taken place; dropping it frees the place.
#[derive(Debug)]
#[must_use = "dropping a permit frees its place at once"]
pub struct Permit(Arc<Count>);

impl Places {
    /// `max` free places.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Count {
            max: AtomicUsize::new(max),
            taken: AtomicUsize::new(0),
        }))
    }

    /// Takes a place, or `None` when all are taken.
    #[must_use]
    pub fn try_take(&self) -> Option<Permit> {
        let max = self.max();
        // Relaxed: the count guards a number, no other memory.
        self.0
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < max).then_some(taken + 1)
            })
            .ok()
            .map(|_| Permit(Arc::clone(&self.0)))
    }

    /// Changes the cap. Those who are in stay in, also above a lower cap: a reload cuts nobody off.
    pub fn set_max(&self, max: usize) {
        self.0.max.store(max, Ordering::Relaxed);
    }

    /// The cap.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max.load(Ordering::Relaxed)
    }

    /// Places taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.0.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a permit is freed once");
    }
}

/// The process-wide caps, and how long those who are turned away should stay away.
#[derive(Debug)]
pub struct Admission {
    /// Client connections.
    pub connections: Places,
    /// Subscribers.
    pub subscribers: Places,
    /// Memory: what is short of it takes no new subscribers.
    pub memory: Memory,
    shed: Mutex<ShedEstimate>,
}

impl Admission {
    /// Nobody is in; `caps` come from [`fd::caps`].
    #[must_use]
    pub fn new(caps: &fd::Caps) -> Self {
        Self {
            connections: Places::new(caps.connections_max),
            subscribers: Places::new(caps.subscribers_max),
            memory: Memory::default(),
            shed: Mutex::default(),
        }
    }

    /// A place for one more subscriber.
    ///
    /// # Errors
    /// Why there is none.
    pub fn admit(&self) -> Result<Permit, RefuseReason> {
        if self.memory.is_short() {
            return Err(RefuseReason::MemoryMax);
        }
        self.subscribers
            .try_take()
            .ok_or(RefuseReason::SubscribersMax)
    }

    /// Follows a reload.
    pub fn set_caps(&self, caps: &fd::Caps) {
        self.connections.set_max(caps.connections_max);
        self.subscribers.set_max(caps.subscribers_max);
    }

    /// Notes that a client is turned away at `now` and returns when it should come back.
    ///
    /// `random` is uniform in 0..1. `connects_per_second` is what the process takes without harm;
    /// the more clients wait, the longer each is told to, so that together they never exceed it.
    #[must_use]
    pub fn shed_retry(&self, random: f64, now: Millis, connects_per_second: f64) -> Duration {
        self.shed.lock().shed(random, now, connects_per_second)
    }
}

/// Connects per second that a process is taken to bear when it says when to come back.
const CONNECTS_PER_SECOND: f64 = 1_000.0;

/// The answer for a client that is turned away at `now`, in a form that it survives.
///
/// `event_source`: it is a native EventSource; `origin`: its `Origin`; `random`: uniform in 0..1.
#[must_use]
pub fn turn_away(
    admission: &Admission,
    event_source: bool,
    origin: Option<&[u8]>,
    random: f64,
    now: Millis,
) -> Answer {
    let retry = admission.shed_retry(random, now, CONNECTS_PER_SECOND);
    if event_source {
        answer::event_source(retry, origin)
    } else {
        answer::unavailable(retry)
    }
}

#[cfg(test)]
mod tests;
