//! Starting, ready, draining, stopped; whether the shards are alive; and what signals do to it all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    signal::unix::{Signal as Listening, SignalKind, signal},
    sync::watch,
};
use tracing::info;

use crate::clock::Millis;

/// A shard that did not move for this long is stuck: readers are waiting and nobody serves them.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Where the process is in its life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Listeners are not open yet.
    Starting,
    /// Serving.
    Ready,
    /// Not ready any more; subscribers are closed along the slope.
    Draining,
    /// Ends now, whoever is left.
    Stopped,
}

impl Phase {
    /// Lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The process's state; one per process, shared.
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    pulses: Mutex<Vec<Arc<AtomicU64>>>,
    restart_needed: Mutex<Vec<String>>,
}

/// One shard's sign of life.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Says that the shard runs. To be called at least once a second, idle or not.
    pub fn beat(&self, now: Millis) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Lifecycle {
    /// Starting.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            pulses: Mutex::default(),
            restart_needed: Mutex::default(),
        }
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to `phase`; `false` when already there or beyond.
    pub fn advance(&self, phase: Phase) -> bool {
        let moved = self.phase.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        });
        if moved {
            info!(phase = phase.as_str(), "lifecycle");
        }
        moved
    }

    /// For those who must act when the phase changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until `phase` is reached or passed.
    pub async fn reached(&self, phase: Phase) {
        // The sender is `self`, so it cannot be gone.
        let _ = self.watch().wait_for(|current| *current >= phase).await;
    }

    /// Registers a shard that runs since `now`.
    pub fn pulse(&self, now: Millis) -> Pulse {
        let pulse = Pulse(Arc::new(AtomicU64::new(now.0)));
        self.pulses.lock().push(Arc::clone(&pulse.0));
        pulse
    }

    /// Numbers of the shards without a sign of life for [`STUCK_AFTER`], in order of registration.
    #[must_use]
    pub fn stuck(&self, now: Millis) -> Vec<usize> {
        let pulses = self.pulses.lock();
        let is_stuck =
            |pulse: &AtomicU64| now.since(Millis(pulse.load(Ordering::Relaxed))) >= STUCK_AFTER;
        (0..)
            .zip(pulses.iter())
            .filter(|(_, pulse)| is_stuck(pulse))
            .map(|(n, _)| n)
            .collect()
    }

    /// Notes which changes of the configuration file wait for a restart; empty: none.
    pub fn set_restart_needed(&self, changes: Vec<String>) {
        *self.restart_needed.lock() = changes;
    }

    /// The changes that wait for a restart.
    #[must_use]
    pub fn restart_needed(&self) -> Vec<String> {
        self.restart_needed.lock().clone()
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// A request from outside to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT, most often Ctrl-C.
    Interrupt,
}

/// The first signal drains, a second one of either kind ends at once.
pub async fn follow_signals(lifecycle: &Lifecycle, mut next: impl AsyncFnMut() -> Signal) {
    let first = next().await;
    info!(signal = ?first, "draining; a second signal ends at once");
    lifecycle.advance(Phase::Draining);
    let second = next().await;
    info!(signal = ?second, "ending at once");
    lifecycle.advance(Phase::Stopped);
}

/// The signals that the operating system sends us.
#[derive(Debug)]
pub struct Signals {
    terminate: Listening,
    interrupt: Listening,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system refuses a signal handler, or no runtime is running.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn the_phase_only_goes_forward() {
        let lifecycle = Lifecycle::new();
        assert!(lifecycle.advance(Phase::Ready));
        assert!(lifecycle.advance(Phase::Draining));
        assert!(!lifecycle.advance(Phase::Draining), "once");
        assert!(!lifecycle.advance(Phase::Ready), "never back");
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_ends_at_once() {
        for signals in [
            [Signal::Terminate, Signal::Terminate],
            [Signal::Interrupt, Signal::Interrupt],
            [Signal::Terminate, Signal::Interrupt],
        ] {
            let lifecycle = Lifecycle::new();
            lifecycle.advance(Phase::Ready);
            let mut seen = Vec::new();
            let mut left = VecDeque::from(signals);
            follow_signals(&lifecycle, async || {
                seen.push(lifecycle.phase());
                left.pop_front().unwrap()
            })
            .await;
            seen.push(lifecycle.phase());
            assert_eq!(seen, [Phase::Ready, Phase::Draining, Phase::Stopped]);
        }
    }

    #[tokio::test]
    async fn waiters_see_a_phase_that_was_passed() {
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Stopped);
        lifecycle.reached(Phase::Ready).await;
        lifecycle.reached(Phase::Stopped).await;
    }

    #[test]
    fn a_shard_without_a_beat_for_five_seconds_is_stuck() {
        let lifecycle = Lifecycle::new();
        let first = lifecycle.pulse(Millis(1_000));
        let second = lifecycle.pulse(Millis(1_000));
        assert_eq!(lifecycle.stuck(Millis(5_999)), [] as [usize; 0]);
        first.beat(Millis(5_000));
        assert_eq!(lifecycle.stuck(Millis(6_000)), [1]);
        second.beat(Millis(6_001));
        assert_eq!(lifecycle.stuck(Millis(6_002)), [] as [usize; 0]);
        assert_eq!(lifecycle.stuck(Millis(60_000)), [0, 1]);
    }
}
