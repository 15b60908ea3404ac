//! One HTTP/2 connection and its subscribers: all requests in the first write, then frames to the end.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
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
    roster::{COMPLETED, Reason},
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

/// Runs the subscribers of one connection for their whole life. Those that come back do it
/// together, once the last stream of the connection is over.
pub async fn run(lane: Rc<Lane>, dial: Dial, place: usize, permit: OwnedSemaphorePermit) {
    let mut permit = Some(permit);
    let (mut visits, mut failures) = (0, 0);
    loop {
        for place in places(&dial, place) {
            lane.roster.borrow_mut().ask(place);
        }
        let ended = {
            let subscribed = subscribe(&lane, &dial, place, visits, permit.take());
            match lane.plan.conduct.stay(dial.index, visits) {
                None => Some(subscribed.await),
                Some(stay) => tokio::select! {
                    reason = subscribed => Some(reason),
                    () = leave_after(&lane, stay) => None,
                },
            }
        };
        let pause = {
            let mut roster = lane.roster.borrow_mut();
            let was_open = places(&dial, place).any(|place| !roster.is_asking(place));
            failures = if was_open { 0 } else { failures + 1 };
            // Streams that are over keep the reason of their own; this one is for the rest.
            for place in places(&dial, place) {
                match &ended {
                    Some(reason) => roster.over(place, reason),
                    None => roster.leave(place),
                }
            }
            match ended {
                Some(_) if !lane.plan.conduct.returns() => return,
                None => Duration::ZERO,
                Some(_) => {
                    let told = roster.retry(place);
                    lane.plan.conduct.pause(told, dial.index, failures)
                }
            }
        };
        visits += 1;
        Box::pin(tokio::time::sleep(pause)).await;
    }
}

/// Ends after `stay`, unless the test is about to end.
async fn leave_after(lane: &Lane, stay: Duration) {
    tokio::time::sleep(stay).await;
    if lane.finishing.get() {
        std::future::pending::<()>().await;
    }
}

/// Opens the connection and reads it until nothing is left to come; says why.
async fn subscribe(
    lane: &Lane,
    dial: &Dial,
    place: usize,
    visit: u32,
    permit: Option<OwnedSemaphorePermit>,
) -> Reason {
    const LATE: &str = "timeout before the head";
    let limit = lane.plan.connect_timeout;
    // Boxed: what opening needs is large and soon over, the task lives as long as the test.
    let mut connection = match Box::pin(timeout(limit, open(lane, dial, place, visit))).await {
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
    rest.err().unwrap_or(COMPLETED.into())
}

/// The places of a dial's subscribers.
fn places(dial: &Dial, place: usize) -> std::ops::Range<usize> {
    place..place + dial.subscribers as usize
}

/// Connects and queues the preface and all requests.
async fn open(lane: &Lane, dial: &Dial, place: usize, visit: u32) -> Result<Connection, Reason> {
    let dialled_ns = clock::now_ns();
    let io = lane.dialler.dial(dial, visit).await?;
    let asked_ns = clock::now_ns();
    lane.roster
        .borrow_mut()
        .connected(Protocol::H2, asked_ns - dialled_ns);
    let streams = Streams::new(place, dial.subscribers, asked_ns);
    let mut out = Vec::new();
    let first = lane.plan.first_of(dial);
    streams.requests(&lane.plan, first, &lane.roster.borrow(), &mut out);
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
