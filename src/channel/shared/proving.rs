//! What a channel hears about its credentials.

use std::time::Duration;

use super::Channel;
use crate::{channel::state::Next, clock::Millis};

impl Channel {
    /// For how long an answer of the app to its credentials counts. `None`: for ever, or there are
    /// none.
    #[must_use]
    pub fn reauth(&self) -> Option<Duration> {
        let reauth = self.settings.load().reauth;
        reauth.filter(|_| self.key.has_identity())
    }

    /// The app still lets them in: who waits is admitted.
    pub fn proved(&self, now: Millis) {
        let mut inner = self.inner.lock();
        inner.proof.give(now);
        inner.proof.stop();
        drop(inner);
        self.links.wake();
    }

    /// Whether somebody still waits to hear of them.
    pub fn is_proof_wanted(&self, now: Millis) -> Next {
        let open_wait = self.settings.load().open_wait;
        self.inner.lock().proof.go_on(open_wait, now)
    }

    /// For how long somebody may still wait to hear of them.
    #[must_use]
    pub fn proof_wait_left(&self, now: Millis) -> Duration {
        let open_wait = self.settings.load().open_wait;
        self.inner.lock().proof.wait_left(open_wait, now)
    }

    /// Nobody asks the app about them any more; the next joiner has that begun anew.
    pub fn proving_broke(&self) {
        self.inner.lock().proof.stop();
    }
}
