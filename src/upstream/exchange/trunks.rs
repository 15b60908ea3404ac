//! Finds an exchange its place on an HTTP/2 connection that is there, or dials one.
//!
//! One connection at a time is dialled to an app, and whoever wants one meanwhile waits for it: a
//! hundred channels that open in the same moment share it. They share a failure as well.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
    thread::{self, ThreadId},
};

use bytes::Bytes;
use h2::SendStream;
use parking_lot::Mutex;
use pingora::protocols::Stream;

use super::{
    OpenError,
    call::{Call, Order},
    trunk::Trunk,
};

/// All connections that are shared. Threads do not share them with each other: what a connection
/// touches stays on its thread.
#[derive(Default)]
pub(super) struct Trunks {
    shelves: Mutex<HashMap<(ThreadId, u64), Arc<Shelf>>>,
}

/// The connections of one thread to one address of an app.
#[derive(Default)]
struct Shelf {
    /// Held by whoever dials.
    dialling: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Those who use one hold it.
    trunks: Vec<Weak<Trunk>>,
    /// By the last connection: it takes one exchange, so that nobody gains by waiting for another's.
    takes_one: bool,
    /// Connections that could not be had.
    failures: u64,
    /// How the last of them failed.
    failure: Option<OpenError>,
}

/// A connection that was dialled.
pub(super) enum Dialled {
    /// For one exchange, by HTTP/1.1.
    One(Stream),
    /// For several.
    Trunk(Arc<Trunk>),
}

/// How an exchange gets to its app.
pub(super) enum Way {
    /// By a connection of its own, on which nothing was said yet.
    Own(Stream),
    /// The head is under way on a shared one; the body, if there is one, goes by its own hand.
    Shared(Box<Call>, Option<SendStream<Bytes>>),
}

impl Trunks {
    /// Sends `order` on a connection to the app that `key` names. `dial` makes one if none has room.
    ///
    /// # Errors
    /// Those of `dial`.
    pub(super) async fn way(
        &self,
        key: u64,
        order: &Order,
        dial: impl Future<Output = Result<Dialled, OpenError>>,
    ) -> Result<Way, OpenError> {
        let shelf = self.shelf(key);
        if let Some(way) = shelf.place(order) {
            return Ok(way);
        }
        if shelf.takes_one() {
            return shelf.note(dial.await, order);
        }
        let failures = shelf.known.lock().failures;
        let dialling = shelf.dialling.lock().await;
        if let Some(way) = shelf.place(order) {
            return Ok(way);
        }
        if let Some(failure) = shelf.failure_since(failures) {
            return Err(failure);
        }
        // Found out while we waited.
        let _dialling = (!shelf.takes_one()).then_some(dialling);
        shelf.note(dial.await, order)
    }

    fn shelf(&self, key: u64) -> Arc<Shelf> {
        let key = (thread::current().id(), key);
        let mut shelves = self.shelves.lock();
        if let Some(shelf) = shelves.get(&key) {
            return shelf.clone();
        }
        // Addresses come and go.
        shelves.retain(|_, shelf| Arc::strong_count(shelf) > 1 || shelf.is_used());
        shelves.entry(key).or_default().clone()
    }
}

impl Shelf {
    /// Sends `order` on a connection that has room, and forgets those that take no more.
    fn place(&self, order: &Order) -> Option<Way> {
        let mut placed = None;
        self.known.lock().trunks.retain(|trunk| {
            let Some(trunk) = trunk.upgrade() else {
                return false;
            };
            if placed.is_some() || !trunk.has_room() || trunk.is_averse() {
                return true;
            }
            let requests = trunk.requests();
            placed = order.put_on(trunk, requests).ok();
            placed.is_some()
        });
        placed.map(|(call, upload)| Way::Shared(call, upload))
    }

    /// Remembers what came of dialling, and sends `order` on it.
    fn note(&self, dialled: Result<Dialled, OpenError>, order: &Order) -> Result<Way, OpenError> {
        let mut known = self.known.lock();
        for trunk in known.trunks.iter().filter_map(Weak::upgrade) {
            trunk.forgive();
        }
        match dialled {
            Ok(Dialled::One(stream)) => {
                known.takes_one = true;
                Ok(Way::Own(stream))
            }
            Ok(Dialled::Trunk(trunk)) => {
                known.takes_one = trunk.exchanges_max() < 2;
                known.trunks.push(Arc::downgrade(&trunk));
                let requests = trunk.requests();
                let (call, upload) = order
                    .put_on(trunk, requests)
                    .map_err(|error| OpenError::from_h2(&error))?;
                Ok(Way::Shared(call, upload))
            }
            Err(error) => {
                known.failures += 1;
                known.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The app failed somebody since there were so many failures.
    fn failure_since(&self, failures: u64) -> Option<OpenError> {
        let known = self.known.lock();
        known.failure.clone().filter(|_| known.failures > failures)
    }

    fn takes_one(&self) -> bool {
        self.known.lock().takes_one
    }

    fn is_used(&self) -> bool {
        let known = self.known.lock();
        known.trunks.iter().any(|trunk| trunk.strong_count() > 0)
    }
}

impl fmt::Debug for Trunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunks").finish_non_exhaustive()
    }
}
