//! One HTTP/2 connection and its subscribers: all requests in the first write, then frames to the end.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::streams::Streams;
use crate::{
    clock,
    dial::{Io, reason},
    lane::Lane,
    plan::Dial,
    roster::Reason,
    tally::Protocol,
};

/// Answers that a server may leave unread before the connection counts as broken.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// A connection in use.
struct Connection {
    io: Io,
    streams: Streams,
    /// Bytes to write, and how many of them are written.
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
}

/// Runs the subscribers of one connection for their whole life.
pub async fn run(lane: Rc<Lane>, dial: Dial, place: usize, permit: OwnedSemaphorePermit) {
    let reason = subscribe(&lane, &dial, place, permit).await;
    // Streams that are over keep the reason of their own; this one is for the rest.
    let mut roster = lane.roster.borrow_mut();
    for place in places(&dial, place) {
        roster.over(place, &reason);
    }
}

/// Opens the connection and reads it until nothing is left to come; says why.
async fn subscribe(lane: &Lane, dial: &Dial, place: usize, permit: OwnedSemaphorePermit) -> Reason {
    const LATE: &str = "timeout before the head";
    let limit = lane.plan.connect_timeout;
    // Boxed: what opening needs is large and soon over, the task lives as long as the test.
    let mut connection = match Box::pin(timeout(limit, open(lane, dial, place))).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => return reason,
        Err(_) => return LATE.into(),
    };
    let answered = poll_fn(|cx| connection.poll(lane, cx, Streams::all_answered));
    match timeout(limit, answered).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => return reason,
        // Some have their answer and go on, for instance when the server caps the streams.
        Err(_) => {
            let mut roster = lane.roster.borrow_mut();
            for place in places(dial, place) {
                if !roster.is_streaming(place) {
                    roster.over(place, &LATE.into());
                }
            }
        }
    }
    drop(permit);
    let rest = poll_fn(|cx| connection.poll(lane, cx, Streams::all_over)).await;
    rest.err().unwrap_or("completed by the server".into())
}

/// The places of a dial's subscribers.
fn places(dial: &Dial, place: usize) -> std::ops::Range<usize> {
    place..place + dial.subscribers as usize
}

/// Connects and queues the preface and all requests.
async fn open(lane: &Lane, dial: &Dial, place: usize) -> Result<Connection, Reason> {
    let dialled_ns = clock::now_ns();
    let io = lane.dialler.dial(dial).await?;
    let asked_ns = clock::now_ns();
    lane.roster
        .borrow_mut()
        .connected(Protocol::H2, asked_ns - dialled_ns);
    let streams = Streams::new(place, dial.subscribers, asked_ns);
    let mut out = Vec::new();
    streams.requests(&lane.plan, &mut out);
    Ok(Connection {
        io,
        streams,
        out,
        written: 0,
        unflushed: false,
    })
}

impl Connection {
    /// Writes and reads what is possible; ready when `done` holds or the connection is broken.
    fn poll(
        &mut self,
        lane: &Lane,
        cx: &mut Context<'_>,
        done: fn(&Streams) -> bool,
    ) -> Poll<Result<(), Reason>> {
        let mut scratch = lane.scratch.borrow_mut();
        loop {
            self.write(cx)?;
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(reason("read", &error))),
                Poll::Ready(Ok(())) => {}
            }
            if buf.filled().is_empty() {
                return Poll::Ready(Err(self
                    .streams
                    .goaway()
                    .unwrap_or("cut by the server".into())));
            }
            let now_ns = clock::now_ns();
            let mut roster = lane.roster.borrow_mut();
            self.streams
                .feed(buf.filled(), now_ns, &mut roster, &mut self.out)?;
            if done(&self.streams) {
                // What is still to be sent (an acknowledgement) goes out with the next poll.
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes what is queued, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err("write: closed".into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(reason("write", &error)),
                Poll::Pending if self.out.len() > UNSENT_BYTES_MAX => {
                    return Err("the server does not read".into());
                }
                Poll::Pending => return Ok(()),
            }
            self.unflushed = true;
        }
        if self.written > 0 {
            // A fresh vector: an idle connection keeps no buffer.
            self.out = Vec::new();
            self.written = 0;
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(reason("write", &error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }
}
