//! Puts the process together: configuration, core, workers, admin, signals, and the way out.
//!
//! ```text
//! acceptor ── hands connections to ──► worker-0 .. worker-n   (front, pass-through, shard, readers)
//! control  ── ticks, reloads, admin, signals, drain           (this module)
//! ```

mod channels;
mod control;
mod memory;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use self::control::Control;
use crate::{
    admission::{Admission, fd},
    channel::registry::Registry,
    clock,
    config::model::{Config, ListenAddress},
    egress::shard::{self, ShardContext, ShardHandle},
    front::{
        self, Seed, Shared,
        listen::{Address, Listeners},
    },
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    relay::Relayer,
    subscribe::Hub,
    upstream::{exchange::Dialer, peer::Peers, reader::Readers},
    worker::{Start, Worker},
};

/// A process that serves.
pub struct Running {
    /// Names and addresses of the listeners, in the order of the configuration.
    pub addresses: Vec<(String, Address)>,
    /// The admin service's address; port 0 has become a real one.
    pub admin: ListenAddress,
    /// Channels and caps.
    pub hub: Arc<Hub>,
    /// Starting, ready, draining, stopped.
    pub lifecycle: Arc<Lifecycle>,
    front: front::Running,
    control: Worker,
    end_control: watch::Sender<bool>,
    drained: oneshot::Receiver<()>,
}

/// What is not in the configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// The file that the configuration came from; watched for changes.
    pub config_file: Option<PathBuf>,
    /// Drain on SIGTERM and SIGINT.
    pub signals: bool,
}

/// Starts everything. The listeners accept when this returns.
///
/// # Errors
/// One line that says what could not be had (an address, a certificate, a thread) and why.
pub fn start(config: Config, options: Options) -> Result<Running, String> {
    let metrics = Arc::new(Metrics::new());
    let lifecycle = Arc::new(Lifecycle::new());
    let caps = caps(&config, &metrics);
    let admission = Arc::new(Admission::new(&caps));
    let peers = Arc::new(Peers::new());
    let dialer = Arc::new(Dialer::new(peers.clone()));
    let registry = Arc::new(Registry::new(
        Arc::new(Readers::new(dialer.clone(), metrics.clone())),
        metrics.clone(),
        config.limits.channels_max,
        memory::ring_bytes_max(&config.limits),
    ));
    for route in &config.routes {
        // Its cells exist at zero from the start, so that a rate over them is right.
        let _cells = metrics.route(&route.name);
    }
    let listeners = Listeners::bind(&config.listeners).map_err(|error| error.to_string())?;
    let (threads, admin_address) = (config.threads, config.admin.address.clone());
    let hub = Arc::new(Hub {
        config: Arc::new(ArcSwap::from_pointee(config)),
        registry,
        admission: admission.clone(),
        metrics: metrics.clone(),
    });
    let (shutdown, shutdown_watch) = watch::channel(false);
    let context = ShardContext {
        metrics: metrics.clone(),
        admission: admission.clone(),
        relay: Arc::new(Relayer::new(dialer.clone(), admission)),
    };
    let (shards, seeds) = seeds(threads, &context, &lifecycle);
    let shared = Shared {
        hub: hub.clone(),
        metrics,
        peers,
        dialer,
        shutdown: shutdown_watch,
    };
    let front = front::start(listeners, seeds, &shared).map_err(|error| error.to_string())?;
    let (finished, drained) = oneshot::channel();
    let control = Control {
        hub: hub.clone(),
        lifecycle: lifecycle.clone(),
        shards,
        shutdown,
        options,
    };
    let (end_control, ended) = watch::channel(false);
    let (control, admin) = control.start(&admin_address, finished, ended)?;
    lifecycle.advance(Phase::Ready);
    Ok(Running {
        addresses: front.addresses().to_vec(),
        admin,
        hub,
        lifecycle,
        front,
        control,
        end_control,
        drained,
    })
}

impl Running {
    /// Serves until told to end (a signal, or [`Lifecycle::advance`]), drains, and ends.
    ///
    /// # Errors
    /// The control thread died: nobody would tick, reload or drain any more.
    pub fn wait(self) -> Result<(), String> {
        let drained = self.drained.blocking_recv();
        end_threads(&self.lifecycle, self.front, self.control, &self.end_control);
        drained.map_err(|_| "the control thread panicked".to_owned())
    }

    /// Ends at once: what is connected is cut.
    pub fn end(self) {
        end_threads(&self.lifecycle, self.front, self.control, &self.end_control);
    }
}

fn end_threads(
    lifecycle: &Lifecycle,
    front: front::Running,
    control: Worker,
    end_control: &watch::Sender<bool>,
) {
    lifecycle.advance(Phase::Stopped);
    front.end();
    end_control.send_replace(true);
    control.join();
}

fn caps(config: &Config, metrics: &Metrics) -> fd::Caps {
    let open_files_max = match fd::raise_open_files() {
        Ok(max) => max,
        Err(error) => {
            tracing::warn!(error, "cannot raise the limit of open files");
            fd::open_files_max()
        }
    };
    metrics.fd_max.set(open_files_max);
    let caps = fd::caps(&config.limits, open_files_max);
    for warning in &caps.warnings {
        tracing::warn!("{warning}");
    }
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
