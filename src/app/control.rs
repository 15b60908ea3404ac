//! The control thread: what happens by the clock, on a signal, or by a changed file.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{oneshot, watch};

use super::{Options, channels::Channels, memory};
use crate::{
    admin::{Admin, Sources},
    admission::fd,
    clock,
    config::{
        self,
        model::{Config, ListenAddress},
        watch::{Reload, Watch},
    },
    egress::shard::ShardHandle,
    lifecycle::{Lifecycle, Phase, Signals, follow_signals},
    metrics::labels::ReloadOutcome,
    subscribe::Hub,
    worker::{Start, Worker},
};

/// Grain of lingers, ring ages and the memory budget.
const TICK: Duration = Duration::from_millis(250);

/// How often the drain looks whether everybody is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What the control thread works with.
pub(super) struct Control {
    pub(super) hub: Arc<Hub>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) shards: Vec<ShardHandle>,
    /// True: no keep-alive any more, GOAWAY.
    pub(super) shutdown: watch::Sender<bool>,
    pub(super) options: Options,
}

impl Control {
    /// Starts the thread. `finished` fires when the process has drained.
    pub(super) fn start(
        self,
        admin: &ListenAddress,
        finished: oneshot::Sender<()>,
        ended: watch::Receiver<bool>,
    ) -> Result<(Worker, ListenAddress), String> {
        let (bound, address) = std::sync::mpsc::sync_channel(1);
        let admin = admin.clone();
        let run: Start = Box::new(move || {
            Box::pin(async move {
                let service = match Admin::bind(&admin) {
                    Ok(service) => service,
                    Err(error) => {
                        let _told = bound.send(Err(error.to_string()));
                        return;
                    }
                };
                let _told = bound.send(Ok(service.address().clone()));
                Arc::new(self).run(service, finished).await;
            })
        });
        let worker = Worker::spawn("control".to_owned(), vec![run], ended)
            .map_err(|error| format!("the control thread: {error}"))?;
        let address = address
            .recv()
            .map_err(|_| "the control thread ended early".to_owned())??;
        Ok((worker, address))
    }

    async fn run(self: Arc<Self>, admin: Admin, finished: oneshot::Sender<()>) {
        let lifecycle = self.lifecycle.clone();
        let config = self.hub.config.clone();
        let sources = Arc::new(Sources {
            lifecycle: lifecycle.clone(),
            metrics: self.hub.metrics.clone(),
            channels: Box::new(Channels::new(self.hub.registry.clone())),
            config: Box::new(move || config::print(&config.load())),
        });
        let stopped = async { lifecycle.reached(Phase::Stopped).await };
        tokio::join!(
            admin.serve(sources, stopped),
            self.clone().tick(),
            self.clone().signals(),
            self.clone().watch_file(),
            self.clone().drain(finished),
        );
    }

    async fn tick(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.hub.registry.tick(clock::now());
        }
    }

    async fn signals(self: Arc<Self>) {
        if !self.options.signals {
            return;
        }
        match Signals::listen() {
            Ok(mut signals) => follow_signals(&self.lifecycle, async || signals.next().await).await,
            Err(error) => tracing::error!(%error, "signals cannot be heard"),
        }
    }

    /// Waits for the order to leave, then leaves: readiness fails with the phase; no new channels, no
    /// keep-alive; every shard closes its readers along a slope; what is left at the deadline is cut.
    async fn drain(self: Arc<Self>, finished: oneshot::Sender<()>) {
        self.lifecycle.reached(Phase::Draining).await;
        let drain = self.hub.config.load().drain;
        let deadline = clock::now().after(drain.window + drain.margin);
        self.hub.metrics.draining.set(1);
        self.hub.registry.drain();
        self.shutdown.send_replace(true);
        for shard in &self.shards {
            shard.drain(drain.window);
        }
        loop {
            let readers: usize = self.shards.iter().map(ShardHandle::load).sum();
            let left = readers + self.hub.admission.connections.taken();
            let at_once = self.lifecycle.phase() == Phase::Stopped;
            if left == 0 || at_once || clock::now() >= deadline {
                tracing::info!(left, "drained");
                break;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        for shard in &self.shards {
            shard.cut();
        }
        // An error means that nobody waits for us.
        let _told = finished.send(());
    }

    async fn watch_file(self: Arc<Self>) {
        let metrics = &self.hub.metrics;
        metrics.set_config_loaded(since_1970());
        metrics.config_last_reload_successful.set(1);
        let Some(path) = self.options.config_file.clone() else {
            return;
        };
        let control = self.clone();
        let env = Box::new(|name: &str| std::env::var(name).ok());
        let on_reload = Box::new(move |reload: Reload<'_>| control.reloaded(reload));
        Watch::new(self.hub.config.clone(), path, env, on_reload)
            .run()
            .await;
    }

    /// The file changed: what is valid stands in `hub.config` already, the rest follows here.
    fn reloaded(&self, reload: Reload<'_>) {
        let metrics = &self.hub.metrics;
        match reload {
            Reload::Rejected { .. } => {
                // The watch has logged the report.
                metrics.config_reloads.inc(ReloadOutcome::Rejected);
                metrics.config_last_reload_successful.set(0);
            }
            Reload::Applied {
                old,
                new,
                restart_needed,
            } => {
                let outcome = match restart_needed {
                    [] => ReloadOutcome::Applied,
                    _ => ReloadOutcome::RestartNeeded,
                };
                metrics.config_reloads.inc(outcome);
                metrics.config_last_reload_successful.set(1);
                metrics.set_config_loaded(since_1970());
                metrics
                    .config_restart_needed
                    .set(usize::from(!restart_needed.is_empty()));
                let changes = restart_needed
                    .iter()
                    .map(|&section| section.to_owned())
                    .collect();
                self.lifecycle.set_restart_needed(changes);
                if !Arc::ptr_eq(old, new) {
                    self.apply(new);
                }
            }
        }
    }

    /// Brings caps, cells and live channels in line with a new configuration.
    fn apply(&self, new: &Config) {
        let caps = fd::caps(&new.limits, fd::open_files_max());
        for warning in &caps.warnings {
            tracing::warn!("{warning}");
        }
        self.hub.admission.set_caps(&caps);
        for route in &new.routes {
            let _cells = self.hub.metrics.route(&route.name);
        }
        let ring_bytes_max = memory::ring_bytes_max(&new.limits);
        self.hub.registry.reload(ring_bytes_max, clock::now());
    }
}

fn since_1970() -> Duration {
    clock::wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
