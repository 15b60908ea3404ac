//! The floor's one upstream: an SSE response, read as far as the ends of events.

use std::{io::Write, net::TcpStream};

use memchr::memmem;

use crate::{
    failure::{Doing, Result},
    h1::{answer, body::Body, client::request},
    plan::Plan,
    poll::{self, Moved},
    target::Target,
};

/// The end of an event.
const BLANK_LINE: &[u8] = b"\n\n";

/// The connection.
pub struct Upstream {
    socket: TcpStream,
    /// The head so far, then the body.
    head: Vec<u8>,
    body: Option<Body>,
    /// Bytes of an event that is not whole yet.
    part: Vec<u8>,
}

impl Upstream {
    /// Connects and asks.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(target: &Target) -> Result<Self> {
        let what = format!("connect to http://{}", target.authority());
        let mut socket = TcpStream::connect(target.resolve()?).doing(&what)?;
        socket
            .write_all(&request(&Plan::new(target.clone()), &target.path, None))
            .doing(&what)?;
        socket.set_nonblocking(true).doing(&what)?;
        Ok(Self {
            socket,
            head: Vec::new(),
            body: None,
            part: Vec::new(),
        })
    }

    /// The socket, to be watched.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Hands on whole events, all that one read brings at a time; `None` when the stream is over.
    pub fn read(&mut self, scratch: &mut [u8], mut events: impl FnMut(&[u8])) -> Option<()> {
        loop {
            let count = match poll::receive(&self.socket, scratch) {
                Moved::Bytes(count) => count,
                Moved::Nothing => return Some(()),
                Moved::Closed | Moved::Broken(_) => return None,
            };
            self.take(scratch.get(..count)?)?;
            let whole = memmem::rfind(&self.part, BLANK_LINE).map_or(0, |at| at + BLANK_LINE.len());
            if whole > 0 {
                events(self.part.get(..whole)?);
                self.part.drain(..whole);
            }
            if count < scratch.len() {
                return Some(());
            }
        }
    }

    /// Takes bytes of the response; `None` when it is over or not a stream.
    fn take(&mut self, bytes: &[u8]) -> Option<()> {
        let part = &mut self.part;
        let content = |bytes: &[u8]| part.extend_from_slice(bytes);
        if let Some(body) = &mut self.body {
            return body.feed(bytes, content).is_none().then_some(());
        }
        self.head.extend_from_slice(bytes);
        if let Some(body) = answer::take(&mut self.head).ok()? {
            let end = self.body.insert(body).feed(&self.head, content);
            return end.is_none().then_some(());
        }
        Some(())
    }
}

/// Whole events, cut into what is written at once.
pub struct Chunks<'a> {
    rest: &'a [u8],
    one_by_one: bool,
}

impl<'a> Chunks<'a> {
    /// Each event by itself.
    #[must_use]
    pub fn one_by_one(events: &'a [u8]) -> Self {
        Self {
            rest: events,
            one_by_one: true,
        }
    }

    /// All at once.
    #[must_use]
    pub fn whole(events: &'a [u8]) -> Self {
        Self {
            rest: events,
            one_by_one: false,
        }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = match memmem::find(self.rest, BLANK_LINE).filter(|_| self.one_by_one) {
            Some(at) => at + BLANK_LINE.len(),
            None => self.rest.len(),
        };
        let (chunk, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_one_by_one_or_left_together() {
        let events = b"id: 1\ndata: a\n\ndata: b\n\n";
        let (a, b) = events.split_at(15);
        assert_eq!(Chunks::one_by_one(events).collect::<Vec<_>>(), [a, b]);
        assert_eq!(Chunks::whole(events).collect::<Vec<_>>(), [events]);
        assert_eq!(
            Chunks::whole(b"").count() + Chunks::one_by_one(b"").count(),
            0
        );
    }
}
