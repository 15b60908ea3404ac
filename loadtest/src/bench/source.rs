//! Where the bench's events come from: itself, on the same thread as its subscribers, so that a closed
//! loop needs no message to close it.

use std::net::SocketAddr;

use super::{post::Posts, upstream::Upstreams};
use crate::{
    failure::Result,
    payload::{self, Stamp},
    poll::{self, Poll},
    target::Target,
};

/// How events reach the server under test.
#[derive(Debug, Clone)]
pub enum Way {
    /// It fetches them: an SSE app that listens here.
    Serve(SocketAddr),
    /// They are posted to it.
    Post(Target),
}

/// The publisher.
pub struct Source {
    /// Bytes of an event from its `id:` to its blank line.
    size: usize,
    published: u64,
    outlet: Outlet,
    event: Vec<u8>,
}

enum Outlet {
    Upstreams(Upstreams),
    Posts(Posts),
}

impl Source {
    /// Starts the publisher; its sockets have tokens from `token` on.
    ///
    /// # Errors
    /// When the address is taken, or nobody takes posts there.
    pub fn start(way: &Way, size: usize, poll: &Poll, token: u64) -> Result<Self> {
        let outlet = match way {
            Way::Serve(address) => {
                let listener = poll::listen(*address)?;
                Outlet::Upstreams(Upstreams::start(listener, poll, token)?)
            }
            Way::Post(target) => Outlet::Posts(Posts::start(target, poll, token)?),
        };
        Ok(Self {
            size,
            published: 0,
            outlet,
            event: Vec::new(),
        })
    }

    /// The number of the last event.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The same, if there was any.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        Some(self.published).filter(|last| *last > 0)
    }

    /// Publishes the next `count` events, all meant for `sent_ns`.
    ///
    /// # Errors
    /// When posts are no longer taken.
    pub fn publish(&mut self, count: u64, sent_ns: u64) -> Result<()> {
        for _ in 0..count {
            self.published += 1;
            let stamp = Stamp {
                seq: self.published,
                sent_ns,
                channel: 0,
            };
            self.event.clear();
            match &mut self.outlet {
                Outlet::Upstreams(upstreams) => {
                    encode(&mut self.event, stamp, self.size);
                    upstreams.queue(&self.event);
                }
                Outlet::Posts(posts) => {
                    // The server writes an id of its own, about as long.
                    payload::encode(&mut self.event, stamp, data_bytes(stamp.seq, self.size));
                    posts.queue(&self.event);
                }
            }
        }
        match &mut self.outlet {
            Outlet::Upstreams(upstreams) => {
                upstreams.send();
                Ok(())
            }
            Outlet::Posts(posts) => posts.send(),
        }
    }

    /// A socket of ours is ready.
    ///
    /// # Errors
    /// When posts are refused.
    pub fn advance(&mut self, token: u64, closed: bool, poll: &Poll) -> Result<()> {
        match &mut self.outlet {
            Outlet::Upstreams(upstreams) => upstreams.advance(token, closed, poll),
            Outlet::Posts(posts) => posts.advance(),
        }
    }

    /// True when an event would reach the server: one that answers its subscribers at once may be
    /// about to ask for the stream only then.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        match &self.outlet {
            Outlet::Upstreams(upstreams) => upstreams.streams() > 0,
            Outlet::Posts(_) => true,
        }
    }

    /// Streams open towards servers; posts need none.
    #[must_use]
    pub fn streams(&self) -> usize {
        match &self.outlet {
            Outlet::Upstreams(upstreams) => upstreams.streams(),
            Outlet::Posts(_) => 0,
        }
    }
}

/// Appends an event of `size` bytes in all.
fn encode(out: &mut Vec<u8>, stamp: Stamp, size: usize) {
    out.extend_from_slice(b"id: ");
    payload::push_decimal(out, stamp.seq);
    out.extend_from_slice(b"\ndata: ");
    payload::encode(out, stamp, data_bytes(stamp.seq, size));
    out.extend_from_slice(b"\n\n");
}

/// Bytes of data in an event of `size` bytes.
fn data_bytes(seq: u64, size: usize) -> usize {
    let digits = seq.checked_ilog10().unwrap_or(0) as usize + 1;
    size.saturating_sub("id: \ndata: \n\n".len() + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_that_was_asked_for() {
        for seq in [1, 9, 10, 99_999, 100_000] {
            let mut out = Vec::new();
            let stamp = Stamp {
                seq,
                sent_ns: 1,
                channel: 0,
            };
            encode(&mut out, stamp, 200);
            assert_eq!(out.len(), 200, "{seq}");
        }
    }
}
