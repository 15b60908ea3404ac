//! What tests of these modules share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// Whether somebody was woken.
#[derive(Default)]
pub(super) struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Flag {
    /// Of somebody who has not been polled yet.
    pub(super) fn woken() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(super) fn is_woken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A waker for the poll that it was woken for.
    pub(super) fn take(self: &Arc<Self>) -> Waker {
        self.0.store(false, Ordering::Relaxed);
        self.clone().into()
    }
}
