//! The front: listening sockets, protocol detection, and the connections of clients until a request
//! is handed on to the hub or to the pass-through.
//!
//! ```text
//! listen -> accept (one thread) -> worker: connection -> h1 -> gate (head) -> pingora -> hijack
//!                                                     -> h2 -> decide      -> hub or pingora
//! ```

mod accept;
mod connection;
pub mod detect;
mod h1;
mod h2;
pub mod head;
pub mod listen;
pub mod rotation;
mod socket;
pub mod tls;

use std::{fmt, future::Future, io, sync::Arc};

use pingora::server::ShutdownWatch;
use tokio::sync::{Mutex, mpsc, watch};

use self::{
    accept::{Acceptance, Lane},
    connection::Accepted,
    listen::{Accepting, Address, Listeners},
    rotation::{Rotation, Rotations},
    tls::{Certificate, TlsError},
};
use crate::{
    clock::Millis,
    config::model::Limits,
    egress::shard::ShardHandle,
    metrics::{Metrics, labels::PanicPlace},
    passthrough::{self, Proxy, direct::Direct},
    stream::Streams,
    subscribe::Hub,
    supervise::{Supervisor, contained},
    upstream::{exchange::Dialer, peer::Peers},
    worker::{Start, Worker},
};

/// Connections that wait for a worker; beyond, they wait in the kernel's queue.
const HANDOVER_MAX: usize = 1024;

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// Joins fan-out requests to channels, and holds the configuration in force.
    pub hub: Arc<Hub>,
    /// Where the front counts.
    pub metrics: Arc<Metrics>,
    /// How the pass-through reaches the apps.
    pub peers: Arc<Peers>,
    /// How streams of a client's own reach them.
    pub dialer: Arc<Dialer>,
    /// True: no keep-alive any more, GOAWAY on HTTP/2. What is under way goes on.
    pub shutdown: ShutdownWatch,
    /// Keeps acceptors and intakes running.
    pub supervisor: Supervisor,
}

/// One worker to be: its shard's handle, and the shard itself.
pub struct Seed {
    /// The handle by which requests of this worker reach its shard.
    pub shard: ShardHandle,
    /// Runs the shard on the worker's thread.
    pub run: Start,
}

/// What one worker's connections need.
struct Core {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    shutdown: ShutdownWatch,
    shard: ShardHandle,
    direct: Direct,
    proxy: Arc<Proxy>,
}

impl Core {
    /// The limits in force.
    fn limits(&self) -> Limits {
        self.hub.config.load().limits
    }

    /// Runs `work` as a task of its own on this worker; a panic in it ends only it, and is counted.
    fn contained(&self, work: impl Future<Output = ()> + Send + 'static) {
        contained(&self.metrics, PanicPlace::Connection, work);
    }
}

/// The front did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener's certificate or key; with the listener's name.
    Tls(String, TlsError),
    /// A listening socket cannot be accepted from; with the listener's name.
    Accept(String, io::Error),
    /// The system gave no thread or descriptor.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(listener, error) => write!(f, "listener \"{listener}\": {error}"),
            Self::Accept(listener, error) => {
                write!(f, "listener \"{listener}\" cannot accept: {error}")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A front that serves.
pub struct Running {
    addresses: Vec<(String, Address)>,
    stop_accepting: watch::Sender<bool>,
    end: watch::Sender<bool>,
    acceptor: Worker,
    workers: Vec<Worker>,
}

impl Running {
    /// Names and addresses of the listeners, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[(String, Address)] {
        &self.addresses
    }

    /// Closes the listening sockets. Connections that exist are not touched.
    pub fn stop_accepting(&self) {
        self.stop_accepting.send_replace(true);
    }

    /// Ends everything: what is still connected is cut. Blocks until the threads are gone, but not
    /// beyond `deadline`.
    ///
    /// Returns what became of the threads that did not end as they should.
    pub fn end(self, deadline: Millis) -> Vec<String> {
        self.stop_accepting();
        self.end.send_replace(true);
        std::iter::once(self.acceptor)
            .chain(self.workers)
            .filter_map(|worker| worker.join(deadline).err())
            .collect()
    }
}

/// Listeners with their certificates.
pub struct Opened(Vec<(listen::Bound, Option<Arc<Certificate>>)>);

/// Loads the certificates of the TLS listeners. The second result is who renews them.
///
/// # Errors
/// One that cannot be used.
pub fn open(
    listeners: Listeners,
    supervisor: &Supervisor,
) -> Result<(Opened, Rotations), StartError> {
    let (mut opened, mut rotations) = (Vec::new(), Vec::new());
    for bound in listeners.bound {
        let certificate = match bound.tls.clone() {
            None => None,
            Some(files) => {
                let rotation = Rotation::load(&bound.name, files, &supervisor.metrics)
                    .map_err(|error| StartError::Tls(bound.name.clone(), error))?;
                let certificate = rotation.certificate().clone();
                rotations.push(rotation);
                Some(certificate)
            }
        };
        opened.push((bound, certificate));
    }
    let rotations = Rotations::new(rotations, supervisor.lifecycle.clone());
    Ok((Opened(opened), rotations))
}

/// Starts one worker for each seed, and the acceptor.
///
/// # Errors
/// TLS cannot be set up, or the system gives no thread. Nothing runs then.
pub fn start(
    Opened(opened): Opened,
    seeds: Vec<Seed>,
    shared: &Shared,
) -> Result<Running, StartError> {
    let bound = opened.iter().map(|(bound, _)| bound);
    let addresses = bound.map(listen::Bound::name_and_address).collect();
    let (stop_accepting, stop) = watch::channel(false);
    let (end, ended) = watch::channel(false);

    let mut lanes = Vec::with_capacity(seeds.len());
    let mut workers = Vec::with_capacity(seeds.len());
    for (index, seed) in seeds.into_iter().enumerate() {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        lanes.push(Lane {
            sender,
            connections: Arc::default(),
        });
        let name = format!("worker-{index}");
        let intake = intake(&name, receiver, seed.shard, shared.clone());
        let prepare = || io::Result::Ok(vec![seed.run, intake]);
        workers.push(Worker::spawn(name, prepare, ended.clone())?);
    }

    let prepare = || {
        let acceptors = opened.into_iter();
        let acceptors = acceptors.map(|opened| acceptor(opened, &lanes, shared, &stop));
        acceptors.collect::<Result<Vec<Start>, StartError>>()
    };
    let acceptor = Worker::spawn("acceptor".to_owned(), prepare, ended)?;
    Ok(Running {
        addresses,
        stop_accepting,
        end,
        acceptor,
        workers,
    })
}

/// The task that accepts from one listener. To be called within its thread's runtime.
fn acceptor(
    (bound, certificate): (listen::Bound, Option<Arc<Certificate>>),
    lanes: &[Lane],
    shared: &Shared,
    stop: &watch::Receiver<bool>,
) -> Result<Start, StartError> {
    let name = bound.name.clone();
    let tls = certificate.map(tls::acceptor).transpose();
    let tls = tls.map_err(|error| StartError::Tls(name.clone(), error))?;
    let proxy_protocol = bound.proxy_protocol;
    let listener =
        Accepting::new(bound).map_err(|error| StartError::Accept(name.clone(), error))?;
    let acceptance = Arc::new(Acceptance {
        listener,
        lanes: lanes.to_vec(),
        hub: shared.hub.clone(),
        metrics: shared.metrics.clone(),
        tls: tls.map(Arc::new),
        proxy_protocol,
    });
    let (supervisor, stop) = (shared.supervisor.clone(), stop.clone());
    Ok(Box::new(move || {
        let name = format!("the acceptor of {name}");
        let accept = move || acceptance.clone().run(stop.clone());
        Box::pin(supervisor.keep(name, PanicPlace::Acceptor, accept))
    }))
}

/// The task by which a worker takes its connections.
fn intake(
    worker: &str,
    receiver: mpsc::Receiver<Accepted>,
    shard: ShardHandle,
    shared: Shared,
) -> Start {
    let name = format!("the intake of {worker}");
    Box::new(move || {
        let Shared {
            hub,
            metrics,
            peers,
            dialer,
            shutdown,
            supervisor,
        } = shared;
        let direct = Direct::new(
            (hub.clone(), metrics.clone()),
            (peers.clone(), dialer.clone()),
            shard.clone(),
            shutdown.clone(),
        );
        let streams = Streams::new(hub.clone(), dialer, shutdown.clone());
        let proxy = passthrough::proxy(hub.clone(), metrics.clone(), peers, shard.clone(), streams);
        let core = Arc::new(Core {
            hub,
            metrics,
            shutdown,
            shard,
            direct,
            proxy,
        });
        // One intake runs at a time; one that panics gives it back.
        let receiver = Arc::new(Mutex::new(receiver));
        let take = move || {
            let (receiver, core) = (receiver.clone(), core.clone());
            async move {
                let mut receiver = receiver.lock().await;
                while let Some(accepted) = receiver.recv().await {
                    core.contained(connection::serve(accepted, core.clone()));
                }
            }
        };
        Box::pin(supervisor.keep(name, PanicPlace::Intake, take))
    })
}
