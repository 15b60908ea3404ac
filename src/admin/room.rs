//! Places for connections. One that says nothing keeps nobody out: when all places are taken and
//! somebody else comes, the one that has been silent for longest goes.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The places of one service.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    /// Those who were let in, oldest first; dropping one tells it to go. It is closed once that one has
    /// asked.
    silent: VecDeque<oneshot::Sender<Infallible>>,
}

/// A connection's place.
#[derive(Debug)]
#[must_use = "dropping a guest frees its place at once"]
pub(super) struct Guest {
    _place: OwnedSemaphorePermit,
    told_to_go: oneshot::Receiver<Infallible>,
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            silent: VecDeque::new(),
        }
    }

    /// A place, as soon as there is one: while all are with those who have asked, it waits. `None`
    /// would be the end of the service, and never comes.
    pub(super) async fn enter(&mut self) -> Option<Guest> {
        self.silent.retain(|guest| !guest.is_closed());
        if self.places.available_permits() == 0 {
            self.silent.pop_front();
        }
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let (tell, told_to_go) = oneshot::channel();
        self.silent.push_back(tell);
        Some(Guest {
            _place: place,
            told_to_go,
        })
    }
}

impl Guest {
    /// What it has to say; `None` when its place is needed before it has said it.
    pub(super) async fn heard<T>(&mut self, request: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            request = request => {
                self.told_to_go.close();
                Some(request)
            }
            _ = &mut self.told_to_go => None,
        }
    }
}
