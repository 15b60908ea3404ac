//! Starting, ready, draining, drained, stopped; whether all that must run does; and what signals do to
//! it all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

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
    /// Subscribers are gone; the pass-through serves on until the process is to end.
    Drained,
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
            Self::Drained => "drained",
            Self::Stopped => "stopped",
        }
    }
}

/// The process's state; one per process, shared.
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    /// It is to end once it has drained. A drain that was ordered without that is followed by nothing:
    /// Kubernetes starts a sidecar anew that ends before its pod does (KEP-753, KEP-4438).
    leaving: watch::Sender<bool>,
    pulses: Mutex<Vec<Arc<AtomicU64>>>,
    /// Names of duties that nobody fulfils.
    down: Arc<Mutex<BTreeSet<String>>>,
    /// For people, by topic.
    notes: Mutex<BTreeMap<&'static str, Vec<String>>>,
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

/// Something that must run for as long as the process does. Dropped before it is fulfilled, it is
/// down, until somebody takes it up again.
#[derive(Debug)]
pub struct Duty {
    name: String,
    down: Arc<Mutex<BTreeSet<String>>>,
    fulfilled: bool,
}

impl Duty {
    /// It ended as it should.
    pub fn fulfil(mut self) {
        self.fulfilled = true;
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.fulfilled {
            self.down.lock().insert(std::mem::take(&mut self.name));
        }
    }
}

impl Lifecycle {
    /// Starting.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            leaving: watch::Sender::new(false),
            pulses: Mutex::default(),
            down: Arc::default(),
            notes: Mutex::default(),
        }
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to `phase`; `false` when already there or beyond.
    pub fn advance(&self, phase: Phase) -> bool {
        self.phase.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        })
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

    /// Drains, unless it does or has already, and ends then. Without it,
    /// [`advance`](Self::advance) to [`Phase::Draining`] drains and stays.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
        self.advance(Phase::Draining);
    }

    /// It is to end once it has drained.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        *self.leaving.borrow() || self.phase() == Phase::Stopped
    }

    /// Waits until it is to end.
    pub async fn left(&self) {
        let mut leaving = self.leaving.subscribe();
        tokio::select! {
            _ = leaving.wait_for(|leaving| *leaving) => {}
            () = self.reached(Phase::Stopped) => {}
        }
    }

    /// Registers a shard that runs since `now`.
    pub fn pulse(&self, now: Millis) -> Pulse {
        let pulse = Pulse(Arc::new(AtomicU64::new(now.0)));
        self.pulses.lock().push(Arc::clone(&pulse.0));
        pulse
    }

    /// Takes up what must run; `name` says what it is.
    pub fn duty(&self, name: &str) -> Duty {
        self.down.lock().remove(name);
        Duty {
            name: name.to_owned(),
            down: self.down.clone(),
            fulfilled: false,
        }
    }

    /// What is wrong with the process, a text for each; empty: it is alive.
    #[must_use]
    pub fn ailments(&self, now: Millis) -> Vec<String> {
        let stuck = self.stuck(now).into_iter().map(|number| {
            let seconds = STUCK_AFTER.as_secs();
            format!("shard {number} has not moved for {seconds} s")
        });
        let down = self.down.lock();
        stuck
            .chain(down.iter().map(|name| format!("{name} is down")))
            .collect()
    }

    /// Numbers of the shards without a sign of life for [`STUCK_AFTER`], in order of registration.
    fn stuck(&self, now: Millis) -> Vec<usize> {
        let pulses = self.pulses.lock();
        let is_stuck =
            |pulse: &AtomicU64| now.since(Millis(pulse.load(Ordering::Relaxed))) >= STUCK_AFTER;
        (0..)
            .zip(pulses.iter())
            .filter(|(_, pulse)| is_stuck(pulse))
            .map(|(n, _)| n)
            .collect()
    }

    /// Says what people should know of `topic`, in place of what was said before.
    pub fn note(&self, topic: &'static str, texts: Vec<String>) {
        self.notes.lock().insert(topic, texts);
    }

    /// What people should know, which changes nothing of whether it is ready.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().values().flatten().cloned().collect()
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// The first signal has the process drain and end, a second one of either kind ends at once. A drain
/// by command is no signal: the first one after it ends what is drained already.
pub async fn follow_signals(lifecycle: &Lifecycle, mut next: impl AsyncFnMut()) {
    // Nothing is logged here: whoever reads the log may be what hangs.
    next().await;
    lifecycle.leave();
    next().await;
    lifecycle.advance(Phase::Stopped);
}

/// The signals that the operating system sends us.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
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

    /// Waits for the next SIGTERM or SIGINT.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
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
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Ready);
        let mut seen = Vec::new();
        follow_signals(&lifecycle, async || seen.push(lifecycle.phase())).await;
        seen.push(lifecycle.phase());
        assert_eq!(seen, [Phase::Ready, Phase::Draining, Phase::Stopped]);
    }

    #[tokio::test]
    async fn a_drain_by_command_does_not_end_the_process_and_the_first_signal_after_it_does() {
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Draining);
        lifecycle.advance(Phase::Drained);
        assert!(!lifecycle.is_leaving());
        let mut seen = Vec::new();
        follow_signals(&lifecycle, async || seen.push(lifecycle.is_leaving())).await;
        assert_eq!(seen, [false, true]);
        assert_eq!(lifecycle.phase(), Phase::Stopped);
        lifecycle.left().await;
    }

    #[test]
    fn a_note_takes_the_place_of_the_one_before_on_its_topic() {
        let lifecycle = Lifecycle::new();
        lifecycle.note("b", vec!["old".to_owned()]);
        lifecycle.note("a", vec!["first".to_owned()]);
        lifecycle.note("b", vec!["new".to_owned(), "more".to_owned()]);
        assert_eq!(lifecycle.notes(), ["first", "new", "more"]);
        lifecycle.note("b", vec![]);
        assert_eq!(lifecycle.notes(), ["first"]);
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

    #[test]
    fn what_is_stuck_or_down_is_told_until_it_is_taken_up_again() {
        let lifecycle = Lifecycle::new();
        let _pulse = lifecycle.pulse(Millis(0));
        let duty = lifecycle.duty("the acceptor");
        lifecycle.duty("the drain").fulfil();
        assert_eq!(lifecycle.ailments(Millis(0)), [] as [String; 0]);
        drop(duty);
        assert_eq!(
            lifecycle.ailments(Millis(5_000)),
            ["shard 0 has not moved for 5 s", "the acceptor is down"]
        );
        let _duty = lifecycle.duty("the acceptor");
        assert_eq!(lifecycle.ailments(Millis(0)), [] as [String; 0]);
    }
}
