//! Addresses of host names, asked for once every few seconds however many requests there are.

use std::{
    collections::HashMap, future::Future, io, net::IpAddr, pin::Pin, sync::Arc, time::Duration,
};

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::clock::Millis;

/// Addresses of one host name that are tried at most.
pub(super) const ADDRESSES_MAX: usize = 4;

/// An answer is taken for true this long. Short, since a name's address changes when its app moves.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(3);

/// While somebody asks, the others go on with an answer up to this age: it is as good as the one that
/// is under way. Who comes after a longer pause waits, since by then another app may have the address,
/// and would get what was meant for ours.
const STALE_AGE_MAX: Duration = Duration::from_secs(30);

/// So long nobody asks again after there was no answer at all.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(1);

/// Names kept at most; more than any configuration holds.
const NAMES_MAX: usize = 64;

type Finding = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the system's resolver, one question per name at a time.
pub(super) struct Names {
    lookup: Box<dyn Fn(String) -> Finding + Send + Sync>,
    known: Mutex<HashMap<String, Arc<Name>>>,
}

/// One name.
#[derive(Default)]
struct Name {
    /// Held by whoever asks; the others wait for the answer.
    asking: tokio::sync::Mutex<()>,
    answer: Mutex<Answer>,
}

/// What is known about a name.
#[derive(Default, Clone)]
struct Answer {
    /// Of the last lookup that found some; at most [`ADDRESSES_MAX`], IPv4 first.
    addresses: Vec<IpAddr>,
    /// Why the last lookup found none.
    problem: String,
    /// When the last lookup began.
    asked_at: Millis,
    /// Lookups so far.
    lookups: u64,
}

impl Answer {
    /// It holds at `now` without asking again.
    fn is_recent(&self, now: Millis) -> bool {
        let age_max = if self.addresses.is_empty() {
            FAILURE_AGE_MAX
        } else {
            ANSWER_AGE_MAX
        };
        self.lookups > 0 && now.since(self.asked_at) < age_max
    }

    /// It will do at `now` while somebody asks again.
    fn will_do(&self, now: Millis) -> bool {
        !self.addresses.is_empty() && now.since(self.asked_at) < STALE_AGE_MAX
    }

    /// Addresses that were right once are better than none while the resolver fails.
    fn said(&self) -> Result<Vec<IpAddr>, String> {
        if self.addresses.is_empty() {
            Err(self.problem.clone())
        } else {
            Ok(self.addresses.clone())
        }
    }

    /// An app that listens on one family only is more often there by IPv4, and a refused connect is
    /// answered at once.
    fn note(&mut self, found: io::Result<Vec<IpAddr>>, asked_at: Millis) {
        self.asked_at = asked_at;
        self.lookups += 1;
        match found {
            Ok(found) if found.is_empty() => self.problem = "the name has no address".to_owned(),
            Ok(found) => {
                self.addresses.clear();
                for address in found {
                    if !self.addresses.contains(&address) {
                        self.addresses.push(address);
                    }
                }
                self.addresses.sort_by_key(IpAddr::is_ipv6);
                self.addresses.truncate(ADDRESSES_MAX);
            }
            Err(error) => self.problem = error.to_string(),
        }
    }
}

impl Names {
    /// Asks the system's resolver.
    pub(super) fn of_system() -> Self {
        Self::by(|host| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((host, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        })
    }

    fn by(lookup: impl Fn(String) -> Finding + Send + Sync + 'static) -> Self {
        Self {
            lookup: Box::new(lookup),
            known: Mutex::default(),
        }
    }

    /// The addresses of `host` in the order in which to try them; never none.
    ///
    /// # Errors
    /// What the resolver said when it never said anything better, or that it took longer than `wait`.
    pub(super) async fn addresses(
        &self,
        host: &str,
        wait: Duration,
        now: Millis,
    ) -> Result<Vec<IpAddr>, String> {
        let name = self.name(host);
        let known = name.answer.lock().clone();
        if known.is_recent(now) {
            return known.said();
        }
        let silent = || format!("no answer within {wait:?}");
        let asking = match name.asking.try_lock() {
            Ok(asking) => asking,
            // Somebody asks already. What was right a moment ago will do meanwhile.
            Err(_) if known.will_do(now) => return known.said(),
            Err(_) => match timeout(wait, name.asking.lock()).await {
                Ok(asking) => asking,
                // As for the one who asks in vain.
                Err(_) => return known.said().map_err(|_| silent()),
            },
        };
        let newest = name.answer.lock().clone();
        if newest.lookups > known.lookups {
            // The one before asked for all who came meanwhile.
            return newest.said();
        }
        let found = timeout(wait, (self.lookup)(host.to_owned()))
            .await
            .unwrap_or_else(|_| Err(io::Error::other(silent())));
        let mut answer = name.answer.lock();
        answer.note(found, now);
        drop(asking);
        answer.said()
    }

    fn name(&self, host: &str) -> Arc<Name> {
        let mut known = self.known.lock();
        if let Some(name) = known.get(host) {
            return name.clone();
        }
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.entry(host.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests;
