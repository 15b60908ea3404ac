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
mod h2io;
pub mod head;
pub mod listen;
mod socket;
pub mod tls;

use std::{fmt, future::Future, io, sync::Arc};

use pingora::server::ShutdownWatch;
use tokio::sync::{mpsc, watch};

use self::{
    accept::{Acceptance, Lane},
    connection::Accepted,
    listen::{Accepting, Address, Listeners},
    tls::{Certificate, TlsError},
};
use crate::{
    config::model::Limits,
    egress::shard::ShardHandle,
    metrics::{Metrics, labels::PanicPlace},
    passthrough::{self, Proxy},
    stream::Streams,
    subscribe::Hub,
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
    proxy: Arc<Proxy>,
}

impl Core {
    /// The limits in force.
    fn limits(&self) -> Limits {
        self.hub.config.load().limits
    }

    /// Runs `work` as a task of its own on this worker; a panic in it ends only it, and is counted.
    fn contained(&self, work: impl Future<Output = ()> + Send + 'static) {
        let noted = PanicNote(self.metrics.clone());
        tokio::spawn(async move {
            work.await;
            drop(noted);
        });
    }
}

/// Counts when it is dropped by a panic.
struct PanicNote(Arc<Metrics>);

impl Drop for PanicNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.inc(PanicPlace::Connection);
        }
    }
}

/// The front did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener's certificate or key; with the listener's name.
    Tls(String, TlsError),
    /// The system gave no thread or descriptor.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(listener, error) => write!(f, "listener \"{listener}\": {error}"),
            Self::Io(error) => write!(f, "cannot start a worker: {error}"),
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
    certificates: Vec<(String, Arc<Certificate>)>,
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

    /// Names of the TLS listeners, and their certificates for replacing them.
    #[must_use]
    pub fn certificates(&self) -> &[(String, Arc<Certificate>)] {
        &self.certificates
    }

    /// Closes the listening sockets. Connections that exist are not touched.
    pub fn stop_accepting(&self) {
        self.stop_accepting.send_replace(true);
    }

    /// Ends everything: what is still connected is cut. Blocks until the threads are gone.
    pub fn end(self) {
        self.stop_accepting();
        self.end.send_replace(true);
        self.acceptor.join();
        for worker in self.workers {
            worker.join();
        }
    }
}

/// Starts one worker for each seed, and the acceptor.
///
/// # Errors
/// A certificate cannot be used, or the system gives no thread. Nothing runs then.
pub fn start(
    listeners: Listeners,
    seeds: Vec<Seed>,
    shared: &Shared,
) -> Result<Running, StartError> {
    let addresses = listeners.addresses();
    let (stop_accepting, stop) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let opened = open(listeners)?;
    let certificates = opened
        .iter()
        .filter_map(|(bound, certificate)| Some((bound.name.clone(), certificate.clone()?)))
        .collect();

    let mut lanes = Vec::with_capacity(seeds.len());
    let mut workers = Vec::with_capacity(seeds.len());
    for (index, seed) in seeds.into_iter().enumerate() {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        lanes.push(Lane {
            sender,
            connections: Arc::default(),
        });
        let tasks = vec![seed.run, intake(receiver, seed.shard, shared.clone())];
        workers.push(Worker::spawn(
            format!("worker-{index}"),
            tasks,
            ended.clone(),
        )?);
    }

    let mut tasks: Vec<Start> = Vec::with_capacity(opened.len());
    for (bound, certificate) in opened {
        let name = bound.name.clone();
        let tls = certificate.map(tls::acceptor).transpose();
        let acceptance = Acceptance {
            lanes: lanes.clone(),
            hub: shared.hub.clone(),
            metrics: shared.metrics.clone(),
            tls: tls
                .map_err(|error| StartError::Tls(name.clone(), error))?
                .map(Arc::new),
        };
        let stop = stop.clone();
        tasks.push(Box::new(move || {
            Box::pin(async move {
                match Accepting::new(bound) {
                    Ok(listener) => acceptance.run(listener, stop).await,
                    Err(error) => tracing::error!(listener = name, %error, "cannot accept"),
                }
            })
        }));
    }
    let acceptor = Worker::spawn("acceptor".to_owned(), tasks, ended)?;
    Ok(Running {
        addresses,
        certificates,
        stop_accepting,
        end,
        acceptor,
        workers,
    })
}

/// A bound listener, and its certificate if it speaks TLS.
type Opened = (listen::Bound, Option<Arc<Certificate>>);

/// Loads the certificates of the TLS listeners.
fn open(listeners: Listeners) -> Result<Vec<Opened>, StartError> {
    listeners
        .bound
        .into_iter()
        .map(|bound| match &bound.tls {
            None => Ok((bound, None)),
            Some(files) => match tls::load(files) {
                Ok(key) => Ok((bound, Some(Certificate::new(key)))),
                Err(error) => Err(StartError::Tls(bound.name.clone(), error)),
            },
        })
        .collect()
}

/// The task by which a worker takes its connections.
fn intake(mut receiver: mpsc::Receiver<Accepted>, shard: ShardHandle, shared: Shared) -> Start {
    Box::new(move || {
        let Shared {
            hub,
            metrics,
            peers,
            dialer,
            shutdown,
        } = shared;
        let streams = Streams::new(hub.clone(), dialer, shutdown.clone());
        let proxy = passthrough::proxy(hub.clone(), metrics.clone(), peers, shard.clone(), streams);
        let core = Arc::new(Core {
            hub,
            metrics,
            shutdown,
            shard,
            proxy,
        });
        Box::pin(async move {
            while let Some(accepted) = receiver.recv().await {
                core.contained(connection::serve(accepted, core.clone()));
            }
        })
    })
}
