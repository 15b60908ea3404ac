//! The control thread: what happens by the clock, by a changed file, or on the admin service's socket;
//! and the [drain](super::drain).

use std::{
    future::Future,
    io,
    path::PathBuf,
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{channels::Channels, memory, overseer::Over};
use crate::{
    admin::{Admin, Pages, Sources, beacon::Beacon},
    admission::fd,
    clock,
    config::{
        self,
        model::{Config, ListenAddress},
        mount,
        watch::{Reload, Watch},
    },
    egress::shard::ShardHandle,
    front::rotation::Rotations,
    lifecycle::Phase,
    metrics::labels::{PanicPlace, ReloadOutcome},
    subscribe::Hub,
    supervise::Supervisor,
    upstream::peer::Peers,
    worker::{Start, Worker},
};

/// Grain of lingers, ring ages and the memory budget.
const TICK: Duration = Duration::from_millis(250);

/// How often the process looks at its memory. It grows by what joins, and a second's joiners at the
/// rate that shed clients are told of take some megabytes.
const MEMORY_LOOK: Duration = Duration::from_secs(1);

/// What the control thread works with.
pub(super) struct Control {
    pub(super) hub: Arc<Hub>,
    pub(super) supervisor: Supervisor,
    pub(super) peers: Arc<Peers>,
    pub(super) shards: Vec<ShardHandle>,
    /// True: no keep-alive any more, GOAWAY.
    pub(super) shutdown: watch::Sender<bool>,
    /// The file that the configuration came from.
    pub(super) config_file: Option<PathBuf>,
    /// The certificates of the listeners.
    pub(super) rotations: Arc<Rotations>,
    /// Time between looks at files.
    pub(super) look_interval: Duration,
    /// Told when the drain is over.
    pub(super) over: SyncSender<Over>,
    /// What the file says for the next start, as comments.
    pub(super) waiting: Mutex<String>,
}

impl Control {
    /// Starts the thread and returns where the admin service is, and the metrics for those outside.
    pub(super) fn start(
        self,
        admin: &config::model::Admin,
        ended: watch::Receiver<bool>,
    ) -> Result<(Worker, ListenAddress, Option<ListenAddress>), String> {
        let (mut address, mut metrics_address) = (admin.address.clone(), None);
        let prepare = || {
            let service = Admin::bind(&admin.address, Pages::All)?;
            address = service.address().clone();
            let scraped = admin.metrics_address.map(ListenAddress::Tcp);
            let scraped = scraped
                .map(|at| Admin::bind(&at, Pages::Metrics))
                .transpose()?;
            metrics_address = scraped.as_ref().map(|service| service.address().clone());
            let beacon = self.light_beacon(&address);
            let control = Arc::new(self);
            let keep_service = |name, service| {
                let (control, service) = (control.clone(), Arc::new(service));
                control
                    .clone()
                    .keep(name, move || control.clone().serve(Arc::clone(&service)))
            };
            let mut tasks = vec![
                keep_service("the admin service", service),
                control.keep("the upkeep of channels", {
                    let control = control.clone();
                    move || control.clone().tick()
                }),
                control.keep("the watch over memory", {
                    let control = control.clone();
                    move || control.clone().watch_memory()
                }),
                control.keep("the watch over the configuration file", {
                    let control = control.clone();
                    move || control.clone().watch_file()
                }),
                control.keep("the watch over certificates", {
                    let control = control.clone();
                    move || control.rotations.clone().run(control.look_interval)
                }),
                control.keep("the drain", {
                    let control = control.clone();
                    move || control.clone().drain()
                }),
            ];
            if let Some(beacon) = beacon {
                let beacon = Arc::new(beacon);
                tasks.push(control.keep("the beacon of the admin service", move || {
                    let beacon = beacon.clone();
                    async move { beacon.shine().await }
                }));
            }
            tasks.extend(scraped.map(|service| keep_service("the page of metrics", service)));
            io::Result::Ok(tasks)
        };
        let worker = Worker::spawn("control".to_owned(), prepare, ended)
            .map_err(|error| error.to_string())?;
        Ok((worker, address, metrics_address))
    }

    /// Without it, `healthcheck` must be told the address if that is not the file's.
    fn light_beacon(&self, admin: &ListenAddress) -> Option<Beacon> {
        let file = self.config_file.as_deref()?;
        Beacon::light(file, admin)
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "another process may run on the same configuration file: `sidestream healthcheck` \
                     finds this one only by --admin"
                );
            })
            .ok()
    }

    fn keep<F: Future<Output = ()> + 'static>(
        &self,
        name: &str,
        make: impl FnMut() -> F + Send + 'static,
    ) -> Start {
        let (supervisor, name) = (self.supervisor.clone(), name.to_owned());
        Box::new(move || Box::pin(supervisor.keep(name, PanicPlace::Control, make)))
    }

    async fn serve(self: Arc<Self>, service: Arc<Admin>) {
        let (lifecycle, control) = (self.supervisor.lifecycle.clone(), self.clone());
        let sources = Arc::new(Sources {
            lifecycle: lifecycle.clone(),
            metrics: self.hub.metrics.clone(),
            channels: Box::new(Channels::new(self.hub.registry.clone())),
            config: Box::new(move || {
                config::print(&control.hub.config.load()) + control.waiting.lock().as_str()
            }),
        });
        let stopped = async { lifecycle.reached(Phase::Stopped).await };
        service.serve(sources, stopped).await;
    }

    async fn tick(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.hub.registry.tick(clock::now());
            let addresses = self.hub.admission.addresses();
            self.hub.metrics.counted_addresses.set(addresses);
        }
    }

    async fn watch_memory(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(MEMORY_LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            memory::look(&self.hub);
        }
    }

    async fn watch_file(self: Arc<Self>) {
        let metrics = &self.hub.metrics;
        metrics.set_config_loaded(since_1970());
        metrics.config_last_reload_successful.set(1);
        let Some(path) = self.config_file.clone() else {
            return;
        };
        let trap: Vec<String> = mount::warning(&path).into_iter().collect();
        for warning in &trap {
            tracing::warn!("{warning}");
        }
        self.supervisor.lifecycle.note("configuration file", trap);
        let control = self.clone();
        let env = Box::new(|name: &str| std::env::var(name).ok());
        let on_reload = Box::new(move |reload: Reload<'_>| control.reloaded(reload));
        Watch::new(self.hub.config.clone(), path, env, on_reload)
            .run(self.look_interval)
            .await;
    }

    /// The file changed: what is valid stands in `hub.config` already, the rest follows here.
    fn reloaded(&self, reload: Reload<'_>) {
        let metrics = &self.hub.metrics;
        match reload {
            // The watch has logged what is wrong.
            Reload::Rejected { .. } => {
                metrics.config_reloads.inc(ReloadOutcome::Rejected);
                metrics.config_last_reload_successful.set(0);
            }
            Reload::Panicked => {
                metrics.panics.inc(PanicPlace::Control);
                metrics.config_reloads.inc(ReloadOutcome::Rejected);
                metrics.config_last_reload_successful.set(0);
            }
            Reload::Applied { old, new, waiting } => {
                let outcome = if waiting.is_empty() {
                    ReloadOutcome::Applied
                } else {
                    ReloadOutcome::RestartNeeded
                };
                metrics.config_reloads.inc(outcome);
                metrics.config_last_reload_successful.set(1);
                metrics.set_config_loaded(since_1970());
                metrics
                    .config_restart_needed
                    .set(usize::from(!waiting.is_empty()));
                let sections = waiting.sections.iter();
                let notes = sections.map(|section| format!("restart needed: {section}"));
                self.supervisor.lifecycle.note("restart", notes.collect());
                *self.waiting.lock() = waiting.comment();
                if !Arc::ptr_eq(old, new) {
                    self.apply(new);
                }
            }
        }
    }

    /// Brings caps, cells, live channels and streams in line with a new configuration.
    fn apply(&self, new: &Config) {
        let caps = super::caps(new, fd::open_files_max(), &self.hub.metrics);
        self.hub.admission.configure(&caps, &new.limits);
        self.peers
            .gates
            .configure(&new.upstreams, |upstream| caps.upstream(upstream));
        for route in &new.routes {
            let _cells = self.hub.metrics.route(&route.name);
        }
        memory::bound(&self.hub, &new.limits);
        let ring_bytes_max = memory::ring_bytes_max(&new.limits);
        self.hub.registry.reload(ring_bytes_max, clock::now());
        self.hub.reloads.send_replace(());
    }
}

fn since_1970() -> Duration {
    clock::wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
