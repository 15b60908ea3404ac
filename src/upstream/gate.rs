//! The gate before each app: bounded connections, and attempts that wait for their turn.
//!
//! A [`Turn`] is an attempt in flight, a [`Place`] a connection in use, or a stream of one that
//! several share (HTTP/2): what the app has to serve is what is bounded. Both free themselves when
//! dropped, whatever ends the task that holds them.

use std::{collections::BTreeMap, fmt, future::pending, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::turns::{Attempt, Bounds, Ticket, Turns};
use crate::{
    config::model::Upstream,
    logging::Seldom,
    metrics::{Metrics, cell::Held, upstream::UpstreamMetrics},
};

/// Least time between two lines about requests that one app did not serve.
const UNSERVED_SECONDS: u64 = 1;

/// The gates of all apps, by name. They outlive reloads: what is connected stays counted.
pub struct Gates {
    gates: Mutex<BTreeMap<String, Arc<Gate>>>,
    metrics: Arc<Metrics>,
}

impl Gates {
    /// No gate yet: each is made when it is first asked for.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            gates: Mutex::default(),
            metrics,
        }
    }

    /// The gate before `upstream`.
    #[must_use]
    pub fn of(&self, upstream: &Upstream) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(&upstream.name) {
            return gate.clone();
        }
        let bounds = Bounds {
            connections_max: upstream.connections_max,
            attempts_max: upstream.attempts_max,
        };
        let gate = Arc::new(Gate::new(bounds, self.metrics.upstream(&upstream.name)));
        gates.insert(upstream.name.clone(), gate.clone());
        gate
    }

    /// Follows a configuration, with the connections that the descriptors allow instead of its own.
    /// A gate that no longer stands in it is forgotten once nobody is connected by way of it.
    pub fn configure(
        &self,
        upstreams: &[Arc<Upstream>],
        connections_max: impl Fn(&Upstream) -> usize,
    ) {
        for upstream in upstreams {
            self.of(upstream).set_bounds(Bounds {
                connections_max: connections_max(upstream),
                attempts_max: upstream.attempts_max,
            });
        }
        let is_configured = |name: &str| upstreams.iter().any(|upstream| upstream.name == name);
        self.gates
            .lock()
            .retain(|name, gate| is_configured(name) || Arc::strong_count(gate) > 1);
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").finish_non_exhaustive()
    }
}

/// The gate before one app.
#[derive(Debug)]
pub struct Gate {
    turns: Mutex<Turns<oneshot::Sender<Turn>>>,
    metrics: Arc<UpstreamMetrics>,
    /// Lines about requests that the app did not serve: one app's do not stand in for another's.
    unserved: Seldom,
}

impl Gate {
    fn new(bounds: Bounds, metrics: Arc<UpstreamMetrics>) -> Self {
        metrics.connections_max.set(bounds.connections_max);
        metrics.attempts_max.set(bounds.attempts_max);
        Self {
            turns: Mutex::new(Turns::new(bounds)),
            metrics,
            unserved: Seldom::new(UNSERVED_SECONDS),
        }
    }

    /// How often a line is written about a request that the app did not serve.
    #[must_use]
    pub const fn unserved(&self) -> &Seldom {
        &self.unserved
    }

    /// Waits in line for an attempt and its connection, for as long as it takes. Dropping the future
    /// leaves the line.
    pub async fn turn(self: &Arc<Self>) -> Turn {
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting {
            ticket: self.turns.lock().wait(sender),
            gate: self,
            _counted: self.metrics.attempts_waiting.hold(),
        };
        self.admit();
        let turn = receiver.await;
        drop(waiting);
        match turn {
            Ok(turn) => turn,
            // The sender stays in line until it is used or we leave.
            Err(_) => pending().await,
        }
    }

    /// Takes a connection at once; `None` when all are in use.
    #[must_use]
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let is_free = self.turns.lock().connect();
        is_free.then(|| Place::new(self))
    }

    /// Counts a connection that several exchanges share, each of which has a place of its own.
    #[must_use]
    pub fn hold_shared(&self) -> Held {
        self.metrics.shared_connections.hold()
    }

    /// What all who wait here wait for; for the log.
    #[must_use]
    pub fn crowd(&self) -> String {
        let turns = self.turns.lock();
        let connections_max = turns.bounds().connections_max;
        if turns.connections() >= connections_max {
            format!("all {connections_max} connections are in use (connections_max)")
        } else {
            format!("{} attempts are in flight (attempts_max)", turns.width())
        }
    }

    fn set_bounds(self: &Arc<Self>, bounds: Bounds) {
        self.metrics.connections_max.set(bounds.connections_max);
        self.change(|turns| turns.set_bounds(bounds));
    }

    /// Changes something, and lets in who may then.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Turns<oneshot::Sender<Turn>>)) {
        let width = {
            let mut turns = self.turns.lock();
            change(&mut turns);
            turns.width()
        };
        self.metrics.attempts_max.set(width);
        self.admit();
    }

    fn admit(self: &Arc<Self>) {
        loop {
            let Some(next) = self.turns.lock().admit() else {
                return;
            };
            // Outside the lock: a turn that nobody takes any more is dropped here, and comes back.
            drop(next.send(Turn::new(self)));
        }
    }
}

/// A place in line, for as long as somebody waits.
struct Waiting<'g> {
    gate: &'g Gate,
    ticket: Ticket,
    _counted: Held,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.turns.lock().give_up(self.ticket);
    }
}

/// An attempt in flight, with the place of its connection. Dropped without [`Turn::end`] it counts
/// as abandoned.
#[derive(Debug)]
#[must_use = "dropping a turn ends the attempt"]
pub struct Turn {
    /// `None` once the attempt has ended.
    place: Option<Place>,
    _counted: Held,
}

impl Turn {
    fn new(gate: &Arc<Gate>) -> Self {
        Self {
            place: Some(Place::new(gate)),
            _counted: gate.metrics.attempts.hold(),
        }
    }

    /// The attempt is over; the connection may live on.
    pub fn end(mut self, attempt: Attempt) -> Option<Place> {
        self.finish(attempt)
    }

    fn finish(&mut self, attempt: Attempt) -> Option<Place> {
        let place = self.place.take()?;
        place.gate.change(|turns| turns.end(attempt));
        Some(place)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.finish(Attempt::Abandoned));
    }
}

/// A connection in use, or a stream of a shared one.
#[derive(Debug)]
#[must_use = "dropping a place frees it at once"]
pub struct Place {
    gate: Arc<Gate>,
    _counted: Held,
}

impl Place {
    fn new(gate: &Arc<Gate>) -> Self {
        Self {
            gate: gate.clone(),
            _counted: gate.metrics.connections.hold(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.change(Turns::disconnect);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::{clock::Millis, config::testing};

    fn gates(connections_max: usize, attempts_max: usize) -> (Gates, Arc<Upstream>) {
        let upstream = Upstream {
            connections_max,
            attempts_max,
            ..(*testing::upstream(1)).clone()
        };
        (Gates::new(Arc::new(Metrics::new())), Arc::new(upstream))
    }

    async fn now<T>(waiting: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::ZERO, waiting).await.ok()
    }

    #[test]
    fn a_line_about_one_app_holds_back_none_about_another() {
        let (gates, first) = gates(1, 1);
        let second = Upstream {
            name: "other".to_owned(),
            ..(*first).clone()
        };
        for (now, upstream, expected) in [
            (0, &*first, Some(0)),
            (1, &*first, None),
            (2, &second, Some(0)),
            (1_500, &*first, Some(1)),
        ] {
            let passed = gates.of(upstream).unserved().pass(Millis(now));
            assert_eq!(passed, expected, "{now}");
        }
    }

    #[tokio::test]
    async fn a_turn_that_is_dropped_lets_the_next_one_in() {
        let (gates, upstream) = gates(10, 1);
        let gate = gates.of(&upstream);
        let metrics = gates.metrics.upstream("app");
        let first = now(gate.turn()).await.unwrap();
        let mut second = Box::pin(gate.turn());
        assert!(now(&mut second).await.is_none());
        let third = tokio::spawn({
            let gate = gate.clone();
            async move { gate.turn().await }
        });
        while metrics.attempts_waiting.get() < 2 {
            tokio::task::yield_now().await;
        }
        drop(first);
        // Admitted, but gone before it looked: the turn goes on to the next.
        drop(second);
        let third = timeout(Duration::from_secs(20), third)
            .await
            .unwrap()
            .unwrap();
        let place = third.end(Attempt::Answered).unwrap();
        assert_eq!((metrics.attempts.get(), metrics.connections.get()), (0, 1));
        drop(place);
        assert_eq!(
            (metrics.attempts_waiting.get(), metrics.connections.get()),
            (0, 0)
        );
    }

    #[tokio::test]
    async fn places_are_taken_at_once_or_not_at_all() {
        let (gates, upstream) = gates(2, 8);
        let gate = gates.of(&upstream);
        let place = gate.place().unwrap();
        let turn = now(gate.turn()).await.unwrap();
        assert!(gate.place().is_none());
        assert_eq!(
            gate.crowd(),
            "all 2 connections are in use (connections_max)"
        );
        assert!(now(gate.turn()).await.is_none());
        drop(turn.end(Attempt::Failed));
        let again = gate.place().unwrap();
        drop((place, again));
        assert!(now(gate.turn()).await.is_some());
    }

    #[tokio::test]
    async fn a_reload_changes_bounds_and_keeps_count() {
        let (gates, upstream) = gates(1, 1);
        let gate = gates.of(&upstream);
        let place = gate.place().unwrap();
        let configured = [upstream.clone()];
        gates.configure(&configured, |_| 2);
        let second = gates.of(&upstream).place().unwrap();
        assert!(gate.place().is_none(), "the first is still counted");
        assert_eq!(gates.metrics.upstream("app").connections_max.get(), 2);
        drop(gate);
        gates.configure(&[], |_| 1);
        assert!(gates.of(&upstream).place().is_none(), "it is in use");
        drop((place, second));
        gates.configure(&[], |_| 1);
        assert!(gates.gates.lock().is_empty());
    }
}
