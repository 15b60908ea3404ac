//! One client connection and its subscribers, HTTP/1.1 or HTTP/2, on the bench's own loop.

use super::link::{Line, Link};
use crate::{
    clock,
    h1::{answer, body::Body, client::request},
    h2::streams::Streams,
    plan::{Dial, Plan},
    roster::{Reason, Roster},
    tally::Protocol,
};

/// A connection in use.
pub struct Client {
    link: Link,
    subscribers: std::ops::Range<usize>,
    asked_ns: u64,
    stage: Stage,
}

enum Stage {
    /// HTTP/1.1: the bytes of the head so far.
    Asked(Vec<u8>),
    /// HTTP/1.1: the stream.
    Reading(Body),
    /// HTTP/2.
    Framed(Streams),
    Over,
}

impl Client {
    /// Connects and asks for the subscribers of a dial, the first of which is at `place`.
    ///
    /// # Errors
    /// The reason for the report.
    pub fn dial(
        plan: &Plan,
        line: &Line,
        dial: &Dial,
        place: usize,
        roster: &Roster,
    ) -> Result<Self, Reason> {
        let asked_ns = clock::now_ns();
        let mut link = Link::dial(line)?;
        let stage = match dial.protocol {
            Protocol::H1 => {
                link.write(&request(plan, &plan.h1_target.path, None))?;
                Stage::Asked(Vec::new())
            }
            Protocol::H2 => {
                let streams = Streams::new(place, dial.subscribers, asked_ns);
                let mut out = Vec::new();
                streams.requests(plan, plan.first_of(dial), roster, &mut out);
                link.write(&out)?;
                Stage::Framed(streams)
            }
        };
        Ok(Self {
            link,
            subscribers: place..place + dial.subscribers as usize,
            asked_ns,
            stage,
        })
    }

    /// The socket, to be watched.
    #[must_use]
    pub fn socket(&self) -> &std::net::TcpStream {
        &self.link.socket
    }

    /// True when all subscribers have an answer, good or bad.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match &self.stage {
            Stage::Asked(_) => false,
            Stage::Framed(streams) => streams.all_answered(),
            Stage::Reading(_) | Stage::Over => true,
        }
    }

    /// The socket is ready: reads and judges what is there.
    pub fn advance(&mut self, scratch: &mut [u8], closed: bool, roster: &mut Roster) {
        if let Err(reason) = self.try_advance(scratch, closed, roster) {
            self.stage = Stage::Over;
            for place in self.subscribers.clone() {
                roster.over(place, &reason);
            }
        }
    }

    fn try_advance(
        &mut self,
        scratch: &mut [u8],
        closed: bool,
        roster: &mut Roster,
    ) -> Result<(), Reason> {
        let Self {
            link,
            subscribers,
            asked_ns,
            stage,
        } = self;
        let place = subscribers.start;
        let mut out = Vec::new();
        link.read(scratch, closed, |bytes| {
            let now_ns = clock::now_ns();
            match stage {
                Stage::Framed(streams) => streams.feed(bytes, now_ns, roster, &mut out),
                Stage::Reading(body) => read(body, bytes, place, now_ns, roster),
                Stage::Asked(head) => {
                    head.extend_from_slice(bytes);
                    let Some(mut body) = answer::take(head)? else {
                        return Ok(());
                    };
                    roster.opened(place, now_ns - *asked_ns);
                    read(&mut body, head, place, now_ns, roster)?;
                    *stage = Stage::Reading(body);
                    Ok(())
                }
                Stage::Over => Ok(()),
            }
        })?;
        if out.is_empty() {
            link.flush()
        } else {
            link.write(&out)
        }
    }
}

/// Body bytes of the subscriber at `place`.
fn read(
    body: &mut Body,
    bytes: &[u8],
    place: usize,
    now_ns: u64,
    roster: &mut Roster,
) -> Result<(), Reason> {
    match body.feed(bytes, |content| roster.feed(place, content, now_ns)) {
        None => Ok(()),
        Some(end) => Err(end.text().into()),
    }
}
