//! The thread that hears signals and holds the deadline. It takes no lock that others hold for long,
//! and logs nothing, so that the process ends whatever hangs.

use std::{
    io,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::departure::Departure;
use crate::{
    clock,
    config::Config,
    lifecycle::{Lifecycle, Phase, Signals, follow_signals},
    worker::{Start, Worker},
};

/// What the process may take beyond the drain's end, and after a second signal, for closing what is
/// left. Whatever has not ended by then is left behind.
pub(super) const ENDING_MAX: Duration = Duration::from_secs(5);

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The drain is over.
    Drained,
    /// It ought to be, and more than that.
    Late,
}

/// What it needs to know.
pub(super) struct Overseer {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) over: SyncSender<Over>,
}

impl Overseer {
    /// Starts the thread; with `signals` it hears SIGTERM and SIGINT from now on.
    pub(super) fn start(self, signals: bool, ended: watch::Receiver<bool>) -> io::Result<Worker> {
        let prepare = || {
            let mut tasks: Vec<Start> = Vec::new();
            if signals {
                let mut signals = Signals::listen()?;
                let lifecycle = self.lifecycle.clone();
                tasks.push(Box::new(move || {
                    let duty = lifecycle.duty("the hearing of signals");
                    Box::pin(async move {
                        follow_signals(&lifecycle, async || signals.next().await).await;
                        duty.fulfil();
                    })
                }));
            }
            tasks.push(Box::new(move || Box::pin(self.hold_deadline())));
            io::Result::Ok(tasks)
        };
        Worker::spawn("overseer".to_owned(), prepare, ended)
    }

    async fn hold_deadline(self) {
        self.lifecycle.reached(Phase::Draining).await;
        let departure = Departure::new(self.config.load().drain, clock::now());
        self.lifecycle.left().await;
        let told = clock::now();
        tokio::select! {
            () = tokio::time::sleep(departure.deadline(told).since(told)) => {}
            () = self.lifecycle.reached(Phase::Stopped) => {}
        }
        tokio::time::sleep(ENDING_MAX).await;
        // An error means that nobody waits any more: the process ends already.
        let _told = self.over.try_send(Over::Late);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config;

    /// After how many seconds the deadline strikes, when `order` is given an hour after `before`.
    async fn strikes_after(before: impl Fn(&Lifecycle), order: impl Fn(&Lifecycle)) -> u64 {
        let source = "version: 1\nlisteners: [{address: '127.0.0.1:0'}]\n\
            upstreams: {app: 'http://app'}\nroutes: [{path: /, action: proxy}]\n\
            drain: {window: 20s, margin: 10s}\n";
        let config = config::load(source, "test.yaml", &|_| None).unwrap();
        let (over, strikes) = mpsc::sync_channel(1);
        let overseer = Overseer {
            lifecycle: Arc::default(),
            config: Arc::new(ArcSwap::from_pointee(config)),
            over,
        };
        let lifecycle = overseer.lifecycle.clone();
        before(&lifecycle);
        let holding = tokio::spawn(overseer.hold_deadline());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(strikes.try_recv().is_err(), "nobody wants to end");
        order(&lifecycle);
        let mut seconds = 0;
        while !holding.is_finished() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            seconds += 1;
        }
        assert_eq!(strikes.recv(), Ok(Over::Late));
        seconds
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_strikes_although_nobody_else_moves() {
        let ready = |_: &Lifecycle| {};
        let drained = |lifecycle: &Lifecycle| {
            lifecycle.advance(Phase::Draining);
        };
        let stopped = |lifecycle: &Lifecycle| {
            lifecycle.advance(Phase::Stopped);
        };
        assert!((35..=36).contains(&strikes_after(ready, Lifecycle::leave).await));
        assert!((15..=16).contains(&strikes_after(drained, Lifecycle::leave).await));
        assert!((5..=6).contains(&strikes_after(ready, stopped).await));
    }
}
