//! Where the app is asked to go on: behind its own last id, or on a channel that has had nothing yet
//! where a client is.

use bytes::Bytes;

use super::{Channel, Inner};
use crate::{
    channel::{
        id::Epoch,
        ring::{Begun, Ring},
        seal::{Seal, Trust},
        state::{Joined, Phase},
    },
    config::model::{Fanout, Ids, Secret},
    route::key::ChannelKey,
};

impl Channel {
    /// The same; ids that prove by `secret` that one of ours gave them say where the app goes on.
    #[must_use]
    pub(in crate::channel) fn sealed_by(mut self, secret: Option<&Secret>) -> Self {
        if let Some(secret) = secret {
            let seal = Seal::new(secret, &self.key);
            self.inner.get_mut().ring.seal(seal);
        }
        self
    }

    /// An attempt to open the stream begins: from which id of its own the app is to go on, if any.
    pub fn attempt(&self) -> Option<Bytes> {
        let mut inner = self.inner.lock();
        inner.is_asking = true;
        inner.ring.resume_point().cloned()
    }
}

impl Inner {
    /// A client has come. Of those who wait for the same attempt of a cold channel, the first whose id
    /// counts says where the app goes on; while it is being asked, nobody.
    pub(super) fn begin(
        &mut self,
        joined: Joined,
        last_event_id: Option<&[u8]>,
        settings: &Fanout,
    ) -> Begun {
        let opens = joined == Joined::MustOpen;
        if opens {
            self.is_asking = false;
        }
        let is_open = self.state.phase() == Phase::Opening
            && !self.state.opened()
            && !self.is_asking
            && self.ring.resume_point().is_none();
        if self.ring.head() == 0 && (opens || is_open) {
            self.ring.begin(last_event_id, settings.event.id_bytes_max)
        } else {
            Begun::Anew
        }
    }
}

/// An empty ring for a channel of `key`. An id that a client brings counts where it says nothing for
/// others, or where the operator has promised that the app's ids are unique: these pass unchanged, so
/// that they could prove nothing.
pub(super) fn ring(key: &ChannelKey, epoch: Epoch, settings: &Fanout) -> Ring {
    let mut ring = Ring::new(epoch, settings.ids, settings.ring);
    ring.set_key(settings.slow.policy.key());
    if !settings.resume {
        return ring;
    }
    ring.resuming(if key.has_identity() || settings.ids == Ids::Unique {
        Trust::All
    } else {
        Trust::Nobody
    })
}
