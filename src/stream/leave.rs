//! When a stream leaves a draining process.
//!
//! What ends by itself may finish. What is endless (a GET) leaves at a moment of its own, uniform in
//! the window: many such moments make an even slope, and nobody has to count.

use std::{future::pending, sync::Arc, time::Duration};

use http::Method;
use pingora::server::ShutdownWatch;
use tokio::time::sleep;

use crate::{
    clock::{self, Millis},
    subscribe::Hub,
};

/// One stream's leave.
pub(super) struct Leave {
    hub: Arc<Hub>,
    shutdown: ShutdownWatch,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It ends by itself.
    Never,
    /// The process stays.
    Staying,
    /// The moment.
    At(Millis),
    /// It has come.
    Due,
}

impl Leave {
    pub(super) fn new(method: &Method, hub: Arc<Hub>, shutdown: ShutdownWatch) -> Self {
        let state = if *method == Method::GET {
            State::Staying
        } else {
            State::Never
        };
        Self {
            hub,
            shutdown,
            state,
        }
    }

    /// The moment has come; the stream leaves as soon as no event is begun.
    pub(super) fn is_due(&self) -> bool {
        self.state == State::Due
    }

    /// Waits for the moment. Cancel safe.
    pub(super) async fn wait(&mut self) {
        if self.state == State::Staying {
            // Also when the sender is gone: then nobody wants us to stay.
            let _gone = self.shutdown.wait_for(|down| *down).await.is_err();
            let window = self.hub.config.load().drain.window;
            self.state = State::At(clock::now().after(moment(window, rand::random())));
        }
        match self.state {
            State::At(at) => {
                sleep(at.since(clock::now())).await;
                self.state = State::Due;
            }
            State::Never | State::Staying | State::Due => pending().await,
        }
    }
}

/// `random` is uniform in 0..1.
fn moment(window: Duration, random: f64) -> Duration {
    window.mul_f64(random.clamp(0.0, 1.0))
}
