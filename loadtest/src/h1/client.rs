//! One HTTP/1.1 subscriber: connect, ask, then read to the end through the lane's shared buffer.

use std::{
    future::poll_fn,
    io::Write,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use super::{
    body::{Body, End},
    head::{self, Head, Parsed},
};
use crate::{
    clock,
    dial::{Io, reason},
    lane::Lane,
    plan::{Dial, Plan},
    roster::Reason,
    tally::Protocol,
};

/// A response that streams: the connection, its body reader, and what came with the head.
struct Opened {
    io: Io,
    body: Body,
    rest: Vec<u8>,
}

/// Runs one subscriber for its whole life.
pub async fn run(lane: Rc<Lane>, dial: Dial, place: usize, permit: OwnedSemaphorePermit) {
    // Boxed: what opening needs is large and soon over, the task lives as long as the test.
    let opening = Box::pin(tokio::time::timeout(
        lane.plan.connect_timeout,
        open(&lane, &dial, place),
    ));
    let opened = match opening.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(reason)) => return lane.roster.borrow_mut().over(place, &reason),
        Err(_) => {
            return lane
                .roster
                .borrow_mut()
                .over(place, &"timeout before the head".into());
        }
    };
    drop(permit);
    let Opened {
        mut io,
        mut body,
        rest,
    } = opened;
    let at_once = feed(&lane, place, &mut body, &rest);
    drop(rest);
    let reason = match at_once {
        Some(reason) => reason,
        None => poll_fn(|cx| poll_feed(&lane, place, &mut io, &mut body, cx)).await,
    };
    lane.roster.borrow_mut().over(place, &reason);
}

/// Connects and asks; returns when the head is a 200 with an event stream.
async fn open(lane: &Lane, dial: &Dial, place: usize) -> Result<Opened, Reason> {
    let dialled_ns = clock::now_ns();
    let mut io = lane.dialler.dial(dial).await?;
    let asked_ns = clock::now_ns();
    lane.roster
        .borrow_mut()
        .connected(Protocol::H1, asked_ns - dialled_ns);
    io.write_all(&request(&lane.plan))
        .await
        .map_err(|error| reason("write", &error))?;
    io.flush().await.map_err(|error| reason("write", &error))?;

    let mut bytes = Vec::with_capacity(1_024);
    let mut first_byte_ns = None;
    loop {
        let count = io
            .read_buf(&mut bytes)
            .await
            .map_err(|error| reason("read", &error))?;
        let first_byte_ns = *first_byte_ns.get_or_insert_with(clock::now_ns);
        if count == 0 {
            return Err("closed before the head".into());
        }
        match head::parse(&bytes) {
            Parsed::Incomplete => {}
            Parsed::Bad => return Err("malformed head".into()),
            Parsed::Head(Head {
                status: 100..200,
                len,
                ..
            }) => drop(bytes.drain(..len)),
            Parsed::Head(Head {
                status: 200,
                framing,
                is_event_stream: true,
                len,
            }) => {
                bytes.drain(..len);
                lane.roster
                    .borrow_mut()
                    .opened(place, first_byte_ns - asked_ns);
                return Ok(Opened {
                    io,
                    body: Body::new(framing),
                    rest: bytes,
                });
            }
            Parsed::Head(Head { status: 200, .. }) => {
                return Err("200 without an event stream".into());
            }
            Parsed::Head(Head { status, .. }) => return Err(format!("status {status}").into()),
        }
    }
}

/// The request's bytes.
#[must_use]
pub fn request(plan: &Plan) -> Vec<u8> {
    let target = &plan.h1_target;
    let mut out = Vec::with_capacity(256);
    // Writing into memory cannot fail.
    let _ = write!(
        out,
        "GET {} HTTP/1.1\r\nHost: {}\r\n",
        target.path,
        target.authority()
    );
    out.extend_from_slice(b"Accept: text/event-stream\r\n");
    for header in &plan.headers {
        let _ = write!(out, "{}: {}\r\n", header.name, header.value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Reads what is there into the lane's buffer and feeds it on; ready when the stream is over.
fn poll_feed(
    lane: &Lane,
    place: usize,
    io: &mut Io,
    body: &mut Body,
    cx: &mut Context<'_>,
) -> Poll<Reason> {
    let mut scratch = lane.scratch.borrow_mut();
    loop {
        let mut buf = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut *io).poll_read(cx, &mut buf));
        if let Err(error) = read {
            return Poll::Ready(reason("read", &error));
        }
        if buf.filled().is_empty() {
            let end = if body.ends_by_close() {
                "closed by the server"
            } else {
                "cut by the server"
            };
            return Poll::Ready(end.into());
        }
        if let Some(end) = feed(lane, place, body, buf.filled()) {
            return Poll::Ready(end);
        }
    }
}

/// Feeds body bytes to the subscriber; a reason when the body is over.
fn feed(lane: &Lane, place: usize, body: &mut Body, bytes: &[u8]) -> Option<Reason> {
    let now_ns = clock::now_ns();
    let mut roster = lane.roster.borrow_mut();
    let end = body.feed(bytes, |content| roster.feed(place, content, now_ns))?;
    Some(match end {
        End::Complete => "completed by the server".into(),
        End::Malformed => "malformed chunked framing".into(),
    })
}
