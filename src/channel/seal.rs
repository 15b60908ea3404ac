//! Which ids of an app count that clients bring back, and the seal that proves one. Pure.
//!
//! On a channel that a cold process makes for many, the first client's id would say for all where the
//! app goes on. Whoever can make up an id would choose: so it counts only when it proves that a process
//! with the same key gave it out, for this host and target.

use ring::hmac;

use crate::{config::model::Secret, route::key::ChannelKey};

/// Which ids of the app say where it goes on.
#[derive(Debug)]
pub enum Trust {
    /// Any: the channel is of one identity, which decides for itself alone; or the operator has
    /// promised that ids are unique.
    All,
    /// Those with this seal.
    Sealed(Seal),
    /// None.
    Nobody,
}

impl Trust {
    /// What goes with the app's id on the wire.
    #[must_use]
    pub fn seal(&self, app_id: &[u8]) -> Option<u64> {
        match self {
            Self::Sealed(seal) => Some(seal.of(app_id)),
            Self::All | Self::Nobody => None,
        }
    }

    /// Whether an id counts that came back with this seal.
    #[must_use]
    pub fn holds(&self, app_id: &[u8], seal: Option<u64>) -> bool {
        match self {
            Self::All => true,
            // Sixty-four bits that are tried over the network: how long comparing takes tells nobody
            // anything in time.
            Self::Sealed(own) => seal == Some(own.of(app_id)),
            Self::Nobody => false,
        }
    }
}

/// Seals ids of one host and target.
#[derive(Debug)]
pub struct Seal(
    /// What all ids have in common; boxed, since few rings have one.
    Box<hmac::Context>,
);

impl Seal {
    /// The same in all processes that have the key.
    #[must_use]
    pub fn new(secret: &Secret, key: &ChannelKey) -> Self {
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mut context = hmac::Context::with_key(&hmac_key);
        // Neither may hold a NUL, so no two pairs are the same bytes.
        for part in [&key.host, &key.target] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        Self(Box::new(context))
    }

    fn of(&self, app_id: &[u8]) -> u64 {
        let mut context = (*self.0).clone();
        context.update(app_id);
        let first = context.sign().as_ref().first_chunk().copied();
        u64::from_be_bytes(first.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::key::testing::key;

    fn seal(secret: &str, host: &str, target: &str) -> Seal {
        let key = ChannelKey {
            host: host.to_owned(),
            ..key(target)
        };
        Seal::new(&Secret::new(secret), &key)
    }

    #[test]
    fn a_seal_holds_for_one_key_host_target_and_id() {
        let trust = Trust::Sealed(seal("k", "h", "/a"));
        let good = trust.seal(b"7");
        assert!(good.is_some() && trust.holds(b"7", good));
        assert!(!trust.holds(b"8", good) && !trust.holds(b"7", None));
        for other in [
            seal("l", "h", "/a"),
            seal("k", "i", "/a"),
            seal("k", "h", "/b"),
            seal("k", "h/", "a"),
        ] {
            assert!(!Trust::Sealed(other).holds(b"7", good));
        }
        assert!(Trust::Sealed(seal("k", "h", "/a")).holds(b"7", good));
    }

    #[test]
    fn without_a_seal_all_ids_count_or_none() {
        assert!(Trust::All.holds(b"7", None));
        assert!(!Trust::Nobody.holds(b"7", Some(0)));
        assert_eq!(
            (Trust::All.seal(b"7"), Trust::Nobody.seal(b"7")),
            (None, None)
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Secret::new("hidden"));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
