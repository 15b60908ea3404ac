//! The acceptor: one thread that takes connections from all listeners and gives each to the worker
//! that has the fewest.

use std::{
    io,
    net::IpAddr,
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
use crate::{
    clock,
    error::RefuseReason,
    logging::Seldom,
    metrics::{Metrics, cell::Count},
    subscribe::Hub,
};

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
    pub(super) proxy_protocol: bool,
}

impl Acceptance {
    /// Accepts until told to stop; the listening socket is closed then.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let work = accept_all(
            async || self.listener.accept().await,
            &self.metrics.accept_errors,
            async |(socket, peer)| self.hand_over(socket, peer).await,
        );
        tokio::select! {
            biased;
            // An error means that nobody is left who could tell us to stop.
            _ = stop.wait_for(|stop| *stop) => {}
            () = work => {}
        }
    }

    async fn hand_over(&self, socket: RawSocket, peer: Option<IpAddr>) {
        if socket.configure(&self.hub.config.load().limits).is_err() {
            return;
        }
        // Meanwhile all others wait in the kernel's queue.
        let wait = self.hub.admission.connect_wait(clock::now());
        if !wait.is_zero() {
            self.metrics.delayed_connects.inc();
            sleep(wait).await;
        }
        let Some(place) = self.hub.admission.connections.try_take() else {
            // Closed without a word, as TLS could not carry one: a native EventSource comes back after
            // a connection that failed, but never after a 503.
            self.metrics.refused.inc(RefuseReason::ConnectionsMax);
            self.metrics.shed.inc();
            return;
        };
        let Some(lane) = emptiest(&self.lanes) else {
            return;
        };
        let permit = Arc::new(Permit::new(place, lane.connections.clone()));
        let accepted = Accepted {
            socket,
            peer,
            permit,
            tls: self.tls.clone(),
            proxy_protocol: self.proxy_protocol,
            at: clock::now(),
        };
        // Waits when all workers are behind: the kernel's queue is the longer one. An error means that
        // the worker ended; the connection is closed.
        let _ = lane.sender.send(accepted).await;
    }
}

/// The worker with the fewest connections; one that does not take them any more comes last.
fn emptiest(lanes: &[Lane]) -> Option<&Lane> {
    lanes.iter().min_by_key(|lane| {
        let is_stuck = lane.sender.is_closed() || lane.sender.capacity() == 0;
        (is_stuck, lane.connections.load(Ordering::Relaxed))
    })
}

/// Hands all that `accept` brings to `take`, and never ends.
async fn accept_all<C>(
    accept: impl AsyncFn() -> io::Result<C>,
    errors: &Count,
    take: impl AsyncFn(C),
) {
    static FAILING: Seldom = Seldom::new(10);
    use io::ErrorKind as E;
    loop {
        match accept().await {
            Ok(connection) => take(connection).await,
            // The client gave up while it was in the queue.
            Err(error)
                if matches!(
                    error.kind(),
                    E::ConnectionAborted | E::ConnectionReset | E::Interrupted
                ) => {}
            Err(error) => {
                errors.inc();
                if let Some(held_back) = FAILING.pass(clock::now()) {
                    tracing::warn!(%error, held_back, "cannot accept connections");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    fn lane(connections: usize) -> (Lane, mpsc::Receiver<Accepted>) {
        let (sender, receiver) = mpsc::channel(1);
        let lane = Lane {
            sender,
            connections: Arc::new(AtomicUsize::new(connections)),
        };
        (lane, receiver)
    }

    #[test]
    fn a_worker_that_takes_nothing_any_more_is_passed_over() {
        let (idle, _idle) = lane(1);
        let (busy, _busy) = lane(2);
        let (ended, receiver) = lane(0);
        drop(receiver);
        let (stuck, _stuck) = lane(0);
        let _last_place = stuck.sender.clone().try_reserve_owned().unwrap();
        let lanes = [ended, busy, stuck, idle];
        let chosen = emptiest(&lanes).unwrap();
        assert_eq!(chosen.connections.load(Ordering::Relaxed), 1);
        assert!(emptiest(&lanes[..1]).is_some(), "there is no other");
        assert!(emptiest(&[]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn want_of_descriptors_makes_pauses_and_ends() {
        let metrics = Metrics::new();
        let (calls, taken) = (Cell::new(0), Cell::new(0));
        // For a second there are no descriptors; the queue holds clients that gave up; then all is well.
        let accept = async || {
            calls.set(calls.get() + 1);
            match calls.get() {
                1..=20 => Err(io::Error::from_raw_os_error(24)),
                21..=1_000 => Err(io::ErrorKind::ConnectionAborted.into()),
                1_001 => Ok(()),
                _ => std::future::pending().await,
            }
        };
        let begun = clock::now();
        let took_one = async |()| taken.set(clock::now().since(begun).as_millis());
        let work = accept_all(accept, &metrics.accept_errors, took_one);
        assert!(timeout(Duration::from_secs(10), work).await.is_err());
        assert_eq!(metrics.accept_errors.get(), 20);
        assert!((1_000..1_100).contains(&taken.get()), "{}", taken.get());
    }
}
