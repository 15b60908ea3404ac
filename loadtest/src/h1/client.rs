//! One HTTP/1.1 subscriber: connect, ask, then read to the end through the lane's shared buffer.

use std::{
    future::{Future, poll_fn},
    io::Write,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use super::{answer, body::Body};
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

/// Slow readers read this often.
const SIP: Duration = Duration::from_millis(100);

/// How a visit ended.
enum Over {
    /// The server or the network ended it, or there was no stream.
    Ended(Reason),
    /// The subscriber left.
    Left,
}

/// Runs one subscriber for its whole life: one visit, or as many as its conduct asks for.
pub async fn run(lane: Rc<Lane>, dial: Dial, place: usize, permit: OwnedSemaphorePermit) {
    let mut permit = Some(permit);
    let (mut visits, mut failures) = (0, 0);
    loop {
        let stay = lane.plan.conduct.stay(dial.index, visits);
        lane.roster.borrow_mut().ask(place);
        let over = visit(&lane, &dial, place, visits, permit.take(), stay).await;
        let returns = lane.plan.conduct.returns();
        let pause = {
            let mut roster = lane.roster.borrow_mut();
            failures = if roster.is_asking(place) {
                failures + 1
            } else {
                0
            };
            match &over {
                Over::Ended(reason) => roster.over(place, reason),
                Over::Left => roster.leave(place),
            }
            match over {
                Over::Ended(_) if !returns => return,
                Over::Left => Duration::ZERO,
                Over::Ended(_) => {
                    let told = roster.retry(place);
                    lane.plan.conduct.pause(told, dial.index, failures)
                }
            }
        };
        visits += 1;
        Box::pin(tokio::time::sleep(pause)).await;
    }
}

/// Visit number `number`: one connection, from dialling it to its end.
async fn visit(
    lane: &Lane,
    dial: &Dial,
    place: usize,
    number: u32,
    permit: Option<OwnedSemaphorePermit>,
    stay: Option<Duration>,
) -> Over {
    // Boxed: what opening needs is large and soon over, the task lives as long as the test.
    let opening = Box::pin(tokio::time::timeout(
        lane.plan.connect_timeout,
        open(lane, dial, place, number),
    ));
    let opened = match opening.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(reason)) => return Over::Ended(reason),
        Err(_) => return Over::Ended("timeout before the head".into()),
    };
    drop(permit);
    let Opened {
        mut io,
        mut body,
        rest,
    } = opened;
    let at_once = feed(lane, place, &mut body, &rest);
    drop(rest);
    if let Some(reason) = at_once {
        return Over::Ended(reason);
    }
    if let Some(bytes_per_second) = lane.plan.conduct.bytes_per_second {
        return Over::Ended(Box::pin(sip(lane, place, io, body, bytes_per_second)).await);
    }
    let mut leaving = stay.map(|stay| Box::pin(tokio::time::sleep(stay)));
    poll_fn(|cx| {
        if let Some(timer) = &mut leaving
            && timer.as_mut().poll(cx).is_ready()
        {
            leaving = None;
            if !lane.finishing.get() {
                return Poll::Ready(Over::Left);
            }
        }
        poll_feed(lane, place, &mut io, &mut body, cx).map(Over::Ended)
    })
    .await
}

/// Reads slowly; with a rate of zero not at all, and then only the end of the test ends it.
async fn sip(
    lane: &Lane,
    place: usize,
    mut io: Io,
    mut body: Body,
    bytes_per_second: u32,
) -> Reason {
    let sips_per_second = 10;
    let mut bytes = vec![0; bytes_per_second.div_ceil(sips_per_second) as usize];
    if bytes.is_empty() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(SIP).await;
        match io.read(&mut bytes).await {
            Err(error) => return reason("read", &error),
            Ok(0) => return closed(&body),
            Ok(count) => {
                if let Some(end) = feed(lane, place, &mut body, bytes.get(..count).unwrap_or(&[])) {
                    return end;
                }
            }
        }
    }
}

/// What the end of the connection means.
fn closed(body: &Body) -> Reason {
    if body.ends_by_close() {
        "closed by the server".into()
    } else {
        "cut by the server".into()
    }
}

/// Connects and asks; returns when the head is a 200 with an event stream.
async fn open(lane: &Lane, dial: &Dial, place: usize, visit: u32) -> Result<Opened, Reason> {
    let dialled_ns = clock::now_ns();
    let mut io = lane.dialler.dial(dial, visit).await?;
    let asked_ns = clock::now_ns();
    lane.roster
        .borrow_mut()
        .connected(Protocol::H1, asked_ns - dialled_ns);
    let plan = &lane.plan;
    let path = plan.path(&plan.h1_target, plan.first_of(dial));
    let asked = request(plan, &path, lane.roster.borrow().last_id(place));
    io.write_all(&asked)
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
        if let Some(body) = answer::take(&mut bytes)? {
            lane.roster
                .borrow_mut()
                .opened(place, first_byte_ns - asked_ns);
            return Ok(Opened {
                io,
                body,
                rest: bytes,
            });
        }
    }
}

/// The request's bytes: for `path` of the plan's HTTP/1 target.
#[must_use]
pub fn request(plan: &Plan, path: &str, last_event_id: Option<&str>) -> Vec<u8> {
    let target = &plan.h1_target;
    let mut out = Vec::with_capacity(256);
    // Writing into memory cannot fail.
    let _ = write!(
        out,
        "GET {} HTTP/1.1\r\nHost: {}\r\n",
        path,
        target.authority()
    );
    out.extend_from_slice(b"Accept: text/event-stream\r\n");
    for header in &plan.headers {
        let _ = write!(out, "{}: {}\r\n", header.name, header.value);
    }
    if let Some(id) = last_event_id {
        let _ = write!(out, "Last-Event-ID: {id}\r\n");
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
            return Poll::Ready(closed(body));
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
    Some(end.text().into())
}
