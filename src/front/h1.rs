//! One HTTP/1 connection: head by head through the gate, each request through pingora's proxy.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;
use pingora::{
    apps::HttpServerApp,
    protocols::{Shutdown, Stream, http::ServerSession},
    server::ShutdownWatch,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    Core,
    head::{Fault, Gate, Head, Progress},
};
use crate::{
    answer::Answer,
    clock::{self, Millis},
    config::model::Limits,
    passthrough::{
        direct::Outcome,
        framing::Framing,
        linger::{self, Rest},
        turnstile::Turnstile,
    },
};

/// Bytes taken from a socket at once while a head arrives. On the stack: a connection that waits
/// for its next request holds no buffer.
const READ_BYTES: usize = 4096;
/// How long a client may take to accept a refusal of a few hundred bytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How waiting for a request ended.
enum Next {
    Request(Head),
    Refused(Fault),
    /// The client left, or has nothing to say, or we are shutting down.
    Over,
}

/// When the head must be complete.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// The first request of a connection: counted from accept.
    From(Millis),
    /// A further request: idle first, then counted from its first byte.
    Idle,
}

/// Serves `turnstile` until either side is done with it.
pub(super) async fn serve(mut turnstile: Box<Turnstile>, accepted: Millis, core: Arc<Core>) {
    let mut shutdown = core.shutdown.clone();
    let mut patience = Patience::From(accepted);
    loop {
        let limits = core.limits();
        let head = match next(&mut turnstile, &limits, patience, &mut shutdown).await {
            Next::Request(head) => head,
            Next::Refused((status, text)) => {
                core.metrics.bad_heads.inc();
                tracing::debug!(status = status.as_u16(), text, "refused a request head");
                return farewell(turnstile.into_stream(), &Answer::text(status, text)).await;
            }
            Next::Over => return linger::end(turnstile.stream(), Rest::Ignored).await,
        };
        turnstile.take_waiting(head.skip);
        let mut raw_head = turnstile.take_waiting(head.len);
        turnstile.admit(head.framing, &limits);
        if head.framing == Framing::None {
            match Box::pin(core.direct.serve(turnstile, raw_head.freeze())).await {
                Outcome::Served(back) => {
                    turnstile = back;
                    patience = Patience::Idle;
                    continue;
                }
                Outcome::Last(mut last) => return Shutdown::shutdown(&mut *last).await,
                Outcome::Failed(last, answer) => {
                    return farewell(last.into_stream(), &answer).await;
                }
                Outcome::Over => return,
                Outcome::Other(back, raw) => (turnstile, raw_head) = (back, raw.into()),
            }
        }
        let mut session = ServerSession::new_http1(turnstile);
        // Pingora parses what we checked before it reads anything itself.
        session.set_pipelined_prefix(raw_head);
        let reused = core.proxy.process_new_http(session, &shutdown).await;
        let Some(back) = reused.and_then(|reused| Turnstile::recover(reused.consume().0)) else {
            return;
        };
        turnstile = back;
        patience = Patience::Idle;
    }
}

/// Waits for the next complete head.
async fn next(
    turnstile: &mut Turnstile,
    limits: &Limits,
    patience: Patience,
    shutdown: &mut ShutdownWatch,
) -> Next {
    let mut begun = match patience {
        Patience::From(accepted) => Some(accepted),
        Patience::Idle => None,
    };
    let mut gate = Gate::new(limits);
    loop {
        let waiting = turnstile.waiting();
        if !waiting.is_empty() {
            match gate.advance(waiting) {
                Progress::More => {}
                Progress::Complete(head) => return Next::Request(head),
                Progress::Refused(fault) => return Next::Refused(fault),
            }
            begun.get_or_insert_with(clock::now);
        }
        let read = match begun {
            Some(begun) => {
                let left = limits
                    .head_timeout
                    .saturating_sub(clock::now().since(begun));
                timeout(left, receive(turnstile)).await
            }
            None => tokio::select! {
                biased;
                read = timeout(limits.keepalive_timeout, receive(turnstile)) => read,
                // Also when the sender is gone: then nobody wants us to stay.
                _ = shutdown.wait_for(|down| *down) => return Next::Over,
            },
        };
        match read {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Next::Over,
            Err(_) if turnstile.waiting().is_empty() => return Next::Over,
            Err(_) => return Next::Refused(TOO_SLOW),
        }
    }
}

const TOO_SLOW: Fault = (
    StatusCode::REQUEST_TIMEOUT,
    "the request head did not arrive in time",
);

/// Appends what the client sent to the waiting bytes; 0 at the end of the stream.
async fn receive(turnstile: &mut Turnstile) -> io::Result<usize> {
    poll_fn(|cx| poll_receive(turnstile, cx)).await
}

fn poll_receive(turnstile: &mut Turnstile, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    ready!(turnstile.poll_flushed(cx))?;
    let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
    let mut buf = ReadBuf::uninit(&mut chunk);
    ready!(Pin::new(turnstile.stream()).poll_read(cx, &mut buf))?;
    turnstile.waiting().extend_from_slice(buf.filled());
    Poll::Ready(Ok(buf.filled().len()))
}

/// Answers and closes, in a way that lets the client read the answer.
pub(super) async fn farewell(mut stream: Stream, answer: &Answer) {
    let answered = timeout(ANSWER_TIMEOUT, async {
        stream.write_all(&answer.to_http1_close()).await?;
        stream.flush().await
    });
    if let Ok(Ok(())) = answered.await {
        linger::end(&mut stream, Rest::Drained).await;
    }
}
