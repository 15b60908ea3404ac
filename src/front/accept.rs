//! The acceptor: one thread that takes connections from all listeners and gives each to the worker
//! that has the fewest.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pingora::listeners::tls::Acceptor;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    connection::Accepted,
    listen::Accepting,
    socket::{Permit, RawSocket},
};
use crate::{clock, error::RefuseReason, metrics::Metrics, subscribe::Hub};

/// Pause after an accept that failed for want of descriptors or memory: the listening socket stays
/// readable, so without it we would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// A worker as the acceptor sees it.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) sender: mpsc::Sender<Accepted>,
    /// Connections that the worker has, those on their way to it included.
    pub(super) connections: Arc<AtomicUsize>,
}

/// Takes connections from one listener.
pub(super) struct Acceptance {
    pub(super) listener: Accepting,
    pub(super) lanes: Vec<Lane>,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tls: Option<Arc<Acceptor>>,
}

impl Acceptance {
    /// Accepts until told to stop; the listening socket is closed then.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                biased;
                // An error means that nobody is left who could tell us to stop.
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.hand_over(socket, peer).await,
                // The client gave up while it was in the queue.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    tracing::debug!(%error, "accept failed");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn hand_over(&self, socket: RawSocket, peer: Option<std::net::IpAddr>) {
        let limits = self.hub.config.load().limits;
        if socket.configure(limits.tcp_send_buffer_bytes).is_err() {
            return;
        }
        let Some(place) = self.hub.admission.connections.try_take() else {
            // Closed without a word, as TLS could not carry one: a native EventSource comes back after
            // a connection that failed, but never after a 503.
            self.metrics.refused.inc(RefuseReason::ConnectionsMax);
            self.metrics.shed.inc();
            return;
        };
        let Some(lane) = self
            .lanes
            .iter()
            .filter(|lane| !lane.sender.is_closed())
            .min_by_key(|lane| lane.connections.load(Ordering::Relaxed))
        else {
            return;
        };
        let permit = Arc::new(Permit::new(place, lane.connections.clone()));
        let accepted = Accepted {
            socket,
            peer,
            permit,
            tls: self.tls.clone(),
            at: clock::now(),
        };
        // Waits when the worker is behind: the kernel's queue is the longer one. An error means that
        // the worker ended; the connection is closed.
        let _ = lane.sender.send(accepted).await;
    }
}
