//! When a stream leaves: because the process drains, or because a reload took its route away.
//!
//! What is endless (a GET) leaves at a moment of its own, uniform in a window: many such moments make
//! an even slope, and nobody has to count. What ends by itself may finish: until the process ends, or
//! for as long as a drain would take where only its route is gone.

use std::{future::pending, mem::discriminant, sync::Arc, time::Duration};

use http::Method;
use pingora::server::ShutdownWatch;
use tokio::{sync::watch, time::sleep};

use crate::{
    clock::{self, Millis},
    config::model::{Config, Route, Stream},
    error::EndReason,
    metrics::cell::Held,
    subscribe::Hub,
};

/// One stream's leave.
pub(super) struct Leave {
    hub: Arc<Hub>,
    /// As decided for the request.
    route: Arc<Route>,
    shutdown: ShutdownWatch,
    reloads: watch::Receiver<()>,
    nature: Nature,
    /// The longest time after which clients come back: those of a route that is gone leave over it.
    away_max: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// It ends only when somebody leaves.
    Endless,
    /// It ends by itself.
    Answer,
}

#[derive(Debug)]
enum State {
    /// Nobody wants it to leave.
    Staying,
    /// It may finish; held for its `Drop`.
    Finishing { _counted: Held },
    /// It leaves at a moment.
    At(Millis, EndReason),
    /// The moment has come.
    Due(EndReason),
}

impl Leave {
    pub(super) fn new(
        method: &Method,
        route: Arc<Route>,
        settings: &Stream,
        hub: Arc<Hub>,
        shutdown: ShutdownWatch,
    ) -> Self {
        Self {
            reloads: hub.reloads.subscribe(),
            hub,
            route,
            shutdown,
            nature: if *method == Method::GET {
                Nature::Endless
            } else {
                Nature::Answer
            },
            away_max: settings.retry.max,
            state: State::Staying,
        }
    }

    /// Why the stream leaves, once the moment has come: it does as soon as no event is begun.
    pub(super) const fn due(&self) -> Option<EndReason> {
        match self.state {
            State::Due(reason) => Some(reason),
            State::Staying | State::Finishing { .. } | State::At(..) => None,
        }
    }

    /// It would have ended by itself: what there is of it must not pass for the whole.
    pub(super) fn is_answer(&self) -> bool {
        self.nature == Nature::Answer
    }

    /// Waits for the moment. Cancel safe.
    pub(super) async fn wait(&mut self) {
        if matches!(self.state, State::Staying) {
            let reason = self.called().await;
            self.state = self.moves_to(reason);
        }
        match self.state {
            State::At(at, reason) => {
                sleep(at.since(clock::now())).await;
                self.state = State::Due(reason);
            }
            State::Staying | State::Finishing { .. } | State::Due(_) => pending().await,
        }
    }

    /// Waits until the process drains, or the route is gone; says which.
    async fn called(&mut self) -> EndReason {
        while is_kept(&self.route, &self.hub.config.load()) {
            tokio::select! {
                biased;
                // Also when the sender is gone: then nobody wants us to stay.
                _ = self.shutdown.wait_for(|down| *down) => return EndReason::Drained,
                // We hold the sender.
                _ = self.reloads.changed() => {}
            }
        }
        EndReason::Reloaded
    }

    /// What follows from that.
    fn moves_to(&self, reason: EndReason) -> State {
        let window = self.hub.config.load().drain.window;
        let stays = match (self.nature, reason) {
            (Nature::Answer, EndReason::Drained) => {
                let counted = self.hub.metrics.drain.answers.hold();
                return State::Finishing { _counted: counted };
            }
            (Nature::Answer, _) => window,
            (Nature::Endless, EndReason::Drained) => moment(window, rand::random()),
            (Nature::Endless, _) => moment(self.away_max, rand::random()),
        };
        State::At(clock::now().after(stays), reason)
    }
}

/// Whether `config` still has the route, before the same app.
fn is_kept(route: &Route, config: &Config) -> bool {
    let named = config.routes.iter().find(|other| other.name == route.name);
    named.is_some_and(|new| {
        // Of a fan-out route those are here whom it does not let share.
        discriminant(&new.action) == discriminant(&route.action)
            && new.matches == route.matches
            && new.upstream.is_same_app(&route.upstream)
    })
}

/// `random` is uniform in 0..1.
fn moment(window: Duration, random: f64) -> Duration {
    window.mul_f64(random.clamp(0.0, 1.0))
}
