//! Who may come in: caps in total, per route and per address, and the verdict for those who may not.
//! (The cap of a channel is the channel's own.)

pub mod answer;
pub mod fd;
mod groups;
mod memory;
mod pace;
mod shed;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use self::{
    groups::{Block, Groups},
    memory::Memory,
    pace::Pace,
    shed::ShedEstimate,
};
use crate::{
    answer::Answer,
    clock::Millis,
    config::model::{Limits, PerAddress},
    error::RefuseReason,
};

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

/// The places that one subscriber takes.
#[derive(Debug)]
#[must_use = "dropping a seat frees its places at once"]
pub struct Seat {
    _process: Permit,
    _route: Permit,
    _address: Option<Permit>,
}

/// The caps, and how long those who are turned away should stay away.
#[derive(Debug)]
pub struct Admission {
    /// Client connections.
    pub connections: Places,
    /// Subscribers.
    pub subscribers: Places,
    /// Memory: what is short of it takes no new subscribers.
    pub memory: Memory,
    routes: Groups<String>,
    address_subscribers: Groups<Block>,
    address_connections: Groups<Block>,
    /// 0: any number of connects.
    connects_per_second: AtomicU32,
    pace: Mutex<Pace>,
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
            routes: Groups::new(),
            address_subscribers: Groups::new(),
            address_connections: Groups::new(),
            connects_per_second: AtomicU32::new(0),
            pace: Mutex::default(),
            shed: Mutex::default(),
        }
    }

    /// Follows a configuration that came into force.
    pub fn configure(&self, caps: &fd::Caps, limits: &Limits) {
        self.connections.set_max(caps.connections_max);
        self.subscribers.set_max(caps.subscribers_max);
        let rate = limits.connects_per_second.unwrap_or(0);
        self.connects_per_second.store(rate, Ordering::Relaxed);
    }

    /// A subscriber's places: in the process, on its route (name and cap), and at its address.
    ///
    /// # Errors
    /// Which of them are all taken.
    pub fn seat(
        &self,
        (route, route_max): (&str, usize),
        client: Option<IpAddr>,
        limits: &PerAddress,
    ) -> Result<Seat, RefuseReason> {
        if self.memory.is_short() {
            return Err(RefuseReason::MemoryMax);
        }
        let process = self.subscribers.try_take();
        let process = process.ok_or(RefuseReason::SubscribersMax)?;
        let route = self.routes.try_take(route.to_owned(), route_max);
        let route = route.ok_or(RefuseReason::RouteMax)?;
        let counted = client.zip(limits.subscribers_max);
        let address = counted.map(|(client, max)| {
            let block = Block::of(client, limits.ipv6_prefix);
            let place = self.address_subscribers.try_take(block, max);
            place.ok_or(RefuseReason::AddressMax)
        });
        Ok(Seat {
            _process: process,
            _route: route,
            _address: address.transpose()?,
        })
    }

    /// A connection's place at its address; `None` where there is no cap for it.
    ///
    /// # Errors
    /// All are taken.
    pub fn connection(
        &self,
        peer: Option<IpAddr>,
        limits: &PerAddress,
    ) -> Result<Option<Permit>, RefuseReason> {
        let Some((peer, max)) = peer.zip(limits.connections_max) else {
            return Ok(None);
        };
        let block = Block::of(peer, limits.ipv6_prefix);
        let place = self.address_connections.try_take(block, max);
        let place = place.ok_or(RefuseReason::AddressConnectionsMax)?;
        Ok(Some(place))
    }

    /// Addresses that are remembered for their caps.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.address_subscribers.remembered() + self.address_connections.remembered()
    }

    /// How long a connection that comes at `now` has to wait for its turn.
    #[must_use]
    pub fn connect_wait(&self, now: Millis) -> Duration {
        match self.connects_per_second.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            rate => self.pace.lock().wait(now, rate),
        }
    }

    /// Notes that a client is turned away at `now` and returns when it should come back.
    ///
    /// `random` is uniform in 0..1. The more clients wait, the longer each is told to, so that together
    /// they never exceed the connects per second that the process takes.
    #[must_use]
    pub fn shed_retry(&self, random: f64, now: Millis) -> Duration {
        let rate = match self.connects_per_second.load(Ordering::Relaxed) {
            0 => CONNECTS_PER_SECOND,
            rate => rate,
        };
        self.shed.lock().shed(random, now, rate.into())
    }
}

/// Connects per second that a process is taken to bear when nothing else is configured and it says
/// when to come back.
const CONNECTS_PER_SECOND: u32 = 1_000;

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
    let retry = admission.shed_retry(random, now);
    if event_source {
        answer::event_source(retry, origin)
    } else {
        answer::unavailable(retry)
    }
}

#[cfg(test)]
mod tests;
