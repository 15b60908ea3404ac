//! Puts the process together: configuration, core, workers, admin, signals, and the way out.
//!
//! ```text
//! acceptor ── hands connections to ──► worker-0 .. worker-n   (front, pass-through, shard, readers)
//! control  ── ticks, reloads, admin, drain                    (this module)
//! overseer ── signals, the deadline of the drain              (this module)
//! ```

mod cgroup;
mod channels;
mod control;
mod departure;
mod drain;
mod memory;
mod overseer;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::{
    control::Control,
    overseer::{ENDING_MAX, Over, Overseer},
};
use crate::{
    admission::{Admission, fd},
    channel::registry::Registry,
    clock::{self, Millis},
    config::{
        model::{Config, ListenAddress},
        watch::POLL_INTERVAL,
    },
    egress::shard::{self, ShardContext, ShardHandle},
    front::{
        self, Seed, Shared,
        listen::{Address, Listeners},
    },
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    relay::Relayer,
    subscribe::Hub,
    supervise::Supervisor,
    upstream::{exchange::Dialer, peer::Peers, reader::Readers},
    worker::{Start, Worker},
};

/// A process that serves.
pub struct Running {
    /// Names and addresses of the listeners, in the order of the configuration.
    pub addresses: Vec<(String, Address)>,
    /// The admin service's address; port 0 has become a real one.
    pub admin: ListenAddress,
    /// The same of the page of metrics for those outside, if there is one.
    pub metrics_address: Option<ListenAddress>,
    /// Channels and caps.
    pub hub: Arc<Hub>,
    /// Starting, ready, draining, drained, stopped.
    pub lifecycle: Arc<Lifecycle>,
    front: front::Running,
    control: Worker,
    overseer: Worker,
    /// Ends control and overseer.
    end: watch::Sender<bool>,
    /// Locked so that a process may be shared.
    over: Mutex<mpsc::Receiver<Over>>,
}

/// What is not in the configuration.
#[derive(Debug)]
pub struct Options {
    /// The file that the configuration came from; watched for changes.
    pub config_file: Option<PathBuf>,
    /// Time between looks at that file, and at those of certificates.
    pub look_interval: Duration,
    /// Drain on SIGTERM and SIGINT.
    pub signals: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config_file: None,
            look_interval: POLL_INTERVAL,
            signals: false,
        }
    }
}

/// Starts everything. The listeners accept when this returns.
///
/// # Errors
/// One line that says what could not be had (an address, a certificate, a thread) and why.
pub fn start(config: Config, options: Options) -> Result<Running, String> {
    let metrics = Arc::new(Metrics::new());
    let supervisor = Supervisor {
        lifecycle: Arc::new(Lifecycle::new()),
        metrics: metrics.clone(),
    };
    let lifecycle = supervisor.lifecycle.clone();
    let peers = Arc::new(Peers::new(metrics.clone()));
    let dialer = Arc::new(Dialer::new(peers.clone()));
    let listeners = Listeners::bind(&config.listeners).map_err(|error| error.to_string())?;
    let (opened, rotations) =
        front::open(listeners, &supervisor).map_err(|error| error.to_string())?;
    let (threads, admin) = (config.threads, config.admin.clone());
    let hub = Arc::new(hub(config, &metrics, &peers, &dialer));
    let context = ShardContext {
        metrics: metrics.clone(),
        admission: hub.admission.clone(),
        relay: Arc::new(Relayer::new(
            dialer.clone(),
            hub.admission.clone(),
            hub.config.clone(),
            metrics.clone(),
        )),
    };
    let (shards, seeds) = seeds(threads, &context, &lifecycle);
    let (shutdown, shutdown_watch) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    // Whoever comes first decides; the other finds no room.
    let (over_sender, over) = mpsc::sync_channel(1);
    let overseer = Overseer {
        lifecycle: lifecycle.clone(),
        config: hub.config.clone(),
        over: over_sender.clone(),
    };
    let overseer = overseer
        .start(options.signals, ended.clone())
        .map_err(|error| format!("signals cannot be heard: {error}"))?;
    let control = Control {
        hub: hub.clone(),
        supervisor: supervisor.clone(),
        peers: peers.clone(),
        shards,
        shutdown,
        config_file: options.config_file,
        rotations: Arc::new(rotations),
        look_interval: options.look_interval,
        over: over_sender,
        waiting: Mutex::default(),
    };
    let (control, admin, metrics_address) = control.start(&admin, ended)?;
    let shared = Shared {
        hub: hub.clone(),
        metrics,
        peers,
        dialer,
        shutdown: shutdown_watch,
        supervisor,
    };
    let front = front::start(opened, seeds, &shared).map_err(|error| error.to_string())?;
    let running = Running {
        addresses: front.addresses().to_vec(),
        admin,
        metrics_address,
        hub,
        lifecycle,
        front,
        control,
        overseer,
        end,
        over: Mutex::new(over),
    };
    if running.lifecycle.advance(Phase::Ready) {
        running.log_ready();
    }
    Ok(running)
}

impl Running {
    fn log_ready(&self) {
        let listeners: Vec<String> = self
            .addresses
            .iter()
            .map(|(name, address)| format!("{name} on {address}"))
            .collect();
        tracing::info!(
            listeners = listeners.join(", "),
            admin = %self.admin,
            metrics = self.metrics_address.as_ref().map(tracing::field::display),
            "ready"
        );
    }

    /// Serves until told to end (a signal, or [`Lifecycle::leave`]), drains, and ends: at the latest
    /// five seconds after window and margin of the drain, whatever hangs. A drain by command does not
    /// end it.
    ///
    /// # Errors
    /// What hung or panicked on the way out.
    pub fn wait(self) -> Result<(), String> {
        let over = self.over.lock().recv();
        let patience = match over {
            Ok(Over::Drained) => ENDING_MAX,
            // It is over already.
            Ok(Over::Late) | Err(_) => Duration::ZERO,
        };
        let failed = self.end_threads(clock::now().after(patience));
        match over {
            Ok(Over::Drained) if failed.is_empty() => Ok(()),
            Ok(Over::Drained) => Err(format!("drained, but {}", failed.join(", "))),
            Ok(Over::Late) => Err(format!(
                "the drain did not end by its deadline: {}",
                failed.join(", ")
            )),
            Err(_) => Err("nobody is left who could drain; please report it".to_owned()),
        }
    }

    /// Ends at once: what is connected is cut.
    pub fn end(self) {
        for failure in self.end_threads(clock::now().after(ENDING_MAX)) {
            tracing::error!(failure, "a thread did not end as it should");
        }
    }

    /// What became of the threads that did not end as they should.
    fn end_threads(self, deadline: Millis) -> Vec<String> {
        self.lifecycle.advance(Phase::Stopped);
        let mut failed = self.front.end(deadline);
        self.end.send_replace(true);
        for worker in [self.control, self.overseer] {
            failed.extend(worker.join(deadline).err());
        }
        failed
    }
}

/// What all threads share of the configuration, of channels and of caps.
fn hub(config: Config, metrics: &Arc<Metrics>, peers: &Peers, dialer: &Arc<Dialer>) -> Hub {
    let caps = first_caps(&config, metrics);
    peers
        .gates
        .configure(&config.upstreams, |upstream| caps.upstream(upstream));
    for route in &config.routes {
        // Its cells exist at zero from the start, so that a rate over them is right.
        let _cells = metrics.route(&route.name);
    }
    let limits = config.limits;
    let admission = Admission::new(&caps);
    admission.configure(&caps, &limits);
    let ring_bytes_max = memory::ring_bytes_max(&limits);
    let config = Arc::new(ArcSwap::from_pointee(config));
    let registry = Registry::new(
        Arc::new(Readers::new(dialer.clone(), metrics.clone())),
        metrics.clone(),
        config.clone(),
        ring_bytes_max,
    );
    let hub = Hub {
        admission: Arc::new(admission),
        registry: Arc::new(registry),
        config,
        metrics: metrics.clone(),
        reloads: watch::Sender::new(()),
    };
    memory::bound(&hub, &limits);
    hub
}

/// Raises the limit on open files, and fits the caps to it.
fn first_caps(config: &Config, metrics: &Metrics) -> fd::Caps {
    let open_files_max = match fd::raise_open_files() {
        Ok(max) => max,
        Err(error) => {
            tracing::warn!(error, "cannot raise the limit of open files");
            fd::open_files_max()
        }
    };
    metrics.fd_max.set(open_files_max);
    caps(config, open_files_max, metrics)
}

/// The caps of a configuration, and the room for them; what could not be granted is logged.
fn caps(config: &Config, open_files_max: usize, metrics: &Metrics) -> fd::Caps {
    let caps = fd::caps(config, open_files_max);
    for warning in &caps.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = fd::reserve(caps.reserved) {
        tracing::warn!(error, "opening files may take long");
    }
    metrics.connections_max.set(caps.connections_max);
    metrics.subscribers_max.set(caps.subscribers_max);
    metrics.channels_max.set(config.limits.channels_max);
    caps
}

fn seeds(
    threads: usize,
    context: &ShardContext,
    lifecycle: &Lifecycle,
) -> (Vec<ShardHandle>, Vec<Seed>) {
    (0..threads)
        .map(|number| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let pulse = lifecycle.pulse(clock::now());
            let (handle, run) = shard::spawn(number, context.clone(), pulse);
            let run: Start = Box::new(move || Box::pin(run));
            (handle.clone(), Seed { shard: handle, run })
        })
        .unzip()
}
