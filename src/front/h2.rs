//! One HTTP/2 connection: the h2 crate speaks the protocol, this task drives it, decides about each
//! request, and hands fan-out streams to the hub and the rest to pingora's proxy.

mod request;
mod tail;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use pingora::protocols::{
    Digest, Stream,
    http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options},
};
use tokio::time::{sleep, timeout};

use self::{request::take, tail::Tail};
use super::Core;
use crate::{
    client::Client,
    clock::{self, Millis},
    config::model::Limits,
    egress::h2::{Connection, RECEIVE_WINDOW_BYTES, budget::Budget},
    metrics::labels::HandshakeFailure,
};

/// In a box: a future has room for each place that a value moves to, and this is a large one.
type H2Connection = Box<h2::server::Connection<Stream, Bytes>>;

/// Malformed requests that one connection may send in a minute: a proxy's connection carries those of
/// many clients, and they are not to fall together for what one of them does in a week. What is
/// well-formed and breaks rules of ours is none of them: a proxy forwards it, and to refuse it costs
/// no more than a 404. Pingora's own budget of the same size starts anew with each call of
/// `from_h2_conn`, so it is counted here.
const MALFORMED_MAX: u32 = 32;
const MALFORMED_WINDOW: Duration = Duration::from_secs(60);
/// Window for a request body: uploads pass through, they need no megabytes in flight.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Response bytes that one stream may have queued inside the h2 crate. 10,000 streams that stand
/// still, on connections that do, are to cost less than 160 MiB.
const SEND_BUFFER_BYTES: usize = 12 * 1024;

/// How long a client may take to answer our GOAWAY once it has no streams and nothing to take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the accept loop woke up for.
#[expect(
    clippy::large_enum_variant,
    reason = "matched where it is made; a box would cost an allocation for each request"
)]
enum Step {
    Accepted(pingora::Result<Option<H2Accept>>),
    /// The process wants to go.
    Drain,
    /// It is this connection's turn, or its client goes.
    Leave,
    /// The shard has no streams here any more.
    Unshared,
    /// Nothing happened for a while.
    Quiet,
    /// The client sent more frames that ask for nothing than it may.
    Flood,
}

/// How long a connection is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// As long as its client wants.
    Settled,
    /// Until its turn comes in the drain.
    Draining,
    /// Until the streams of the shard have ended: its client was told to go at this time.
    Parting(Millis),
    /// Until the crate's streams have ended, and its client was told that as well.
    Leaving,
}

/// What a step says about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    Malformed,
}

/// Malformed requests of one connection.
#[derive(Debug, Default)]
struct Strikes {
    count: u32,
    since: Millis,
}

impl Strikes {
    /// One more; true when it is one too many.
    fn is_last(&mut self, now: Millis) -> bool {
        if now.since(self.since) > MALFORMED_WINDOW {
            *self = Self {
                count: 0,
                since: now,
            };
        }
        self.count += 1;
        self.count >= MALFORMED_MAX
    }
}

/// Serves one connection until it ends. `received` was already read from `stream`.
pub(super) async fn serve(stream: Stream, received: BytesMut, client: Client, core: Arc<Core>) {
    let limits = core.limits();
    let budget = Budget::new(&limits, clock::now());
    let (shared, io) = Connection::new(stream, &received, budget);
    drop(received);
    let handshake = options(&limits).handshake::<Stream, Bytes>(Box::new(io));
    match timeout(limits.head_timeout, with_flush(handshake, &shared)).await {
        // A task of its own, so that the state of the handshake is freed.
        Ok(Ok(connection)) => {
            let connection = Box::new(connection);
            core.contained(accept_loop(connection, shared, client, core.clone()));
        }
        Ok(Err(_)) => core.metrics.handshake_failures.inc(HandshakeFailure::H2),
        Err(_) => core
            .metrics
            .handshake_failures
            .inc(HandshakeFailure::Timeout),
    }
}

fn options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(RECEIVE_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}

/// Polls `work`, and then writes out in one go what was gathered for the client.
async fn with_flush<T>(work: impl Future<Output = T>, shared: &Connection) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        shared.flush(cx);
        polled
    })
    .await
}

/// The next request, unless the client overdid it.
async fn next(
    connection: &mut H2Connection,
    digest: Arc<Digest>,
    shared: &Arc<Connection>,
    stay: Stay,
) -> Step {
    let mut accepted = pin!(HttpSession::from_h2_conn(connection, digest));
    poll_fn(|cx| {
        let polled = accepted.as_mut().poll(cx);
        // What is taken now is answered in the turns of others, and more may follow at once.
        if !matches!(polled, Poll::Ready(Ok(Some(_)))) {
            shared.flush(cx);
        }
        match (polled, stay) {
            _ if shared.is_flooded() => Poll::Ready(Step::Flood),
            (Poll::Ready(accepted), _) => Poll::Ready(Step::Accepted(accepted)),
            (Poll::Pending, Stay::Parting(_)) if !is_shared(shared) => Poll::Ready(Step::Unshared),
            (Poll::Pending, Stay::Settled | Stay::Draining) if shared.is_left() => {
                Poll::Ready(Step::Leave)
            }
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

async fn accept_loop(
    mut connection: H2Connection,
    shared: Connection,
    client: Client,
    core: Arc<Core>,
) {
    let digest = Arc::new(Digest::default());
    let mut shutdown = core.shutdown.clone();
    // Held by the streams that a shard writes to.
    let shared = Arc::new(shared);
    let (mut stay, mut malformed) = (Stay::Settled, Strikes::default());
    let mut tail = Tail::default();
    loop {
        // The shard that has streams here says when; without any it is now, however busy the
        // connection is with other requests.
        if matches!(stay, Stay::Draining | Stay::Parting(_)) && !is_shared(&shared) {
            connection.graceful_shutdown();
            stay = Stay::Leaving;
        }
        let patience = match stay {
            Stay::Settled => core.limits().keepalive_timeout,
            Stay::Draining | Stay::Parting(_) | Stay::Leaving => GOODBYE,
        };
        let step = tokio::select! {
            biased;
            // Also when the sender is gone: then nobody wants us to stay.
            _ = shutdown.wait_for(|down| *down), if stay == Stay::Settled => Step::Drain,
            () = shared.told_to_leave(), if matches!(stay, Stay::Settled | Stay::Draining) => Step::Leave,
            step = next(&mut connection, digest.clone(), &shared, stay) => step,
            () = sleep(patience) => Step::Quiet,
        };
        let verdict = match step {
            Step::Drain => {
                stay = Stay::Draining;
                Verdict::Fine
            }
            Step::Unshared => Verdict::Fine,
            Step::Quiet if matches!(stay, Stay::Draining | Stay::Parting(_)) => Verdict::Fine,
            Step::Quiet if stay == Stay::Leaving && !connection.has_streams() => {
                let patience = core.limits().client_timeout;
                if tail.is_over(shared.unsent_bytes(), clock::now(), patience) {
                    return;
                }
                Verdict::Fine
            }
            // Long-lived streams keep a connection quiet and yet in use.
            Step::Quiet if connection.has_streams() || is_shared(&shared) => Verdict::Fine,
            Step::Leave if is_shared(&shared) => {
                shared.say_go_away();
                stay = Stay::Parting(clock::now());
                Verdict::Fine
            }
            Step::Quiet | Step::Leave => {
                // GOAWAY; the streams that exist go on, and those on their way are still taken.
                connection.graceful_shutdown();
                stay = Stay::Leaving;
                Verdict::Fine
            }
            Step::Flood => return calm(connection, &shared, &core).await,
            Step::Accepted(Ok(Some(H2Accept::Session(session)))) => {
                take(session, client, stay, &shared, &core);
                Verdict::Fine
            }
            Step::Accepted(Ok(Some(H2Accept::Rejected))) => {
                core.metrics.bad_heads.inc();
                Verdict::Malformed
            }
            // The client closed, or the connection broke.
            Step::Accepted(Ok(None)) => return,
            Step::Accepted(Err(error)) => {
                if is_calmed(&error) {
                    core.metrics.calmed_connections.inc();
                }
                return;
            }
        };
        if verdict == Verdict::Malformed && malformed.is_last(clock::now()) {
            return calm(connection, &shared, &core).await;
        }
    }
}

/// A shard has streams of it.
fn is_shared(connection: &Arc<Connection>) -> bool {
    Arc::strong_count(connection) > 1
}

/// Ends a connection whose client asks too much, and tells it so.
async fn calm(mut connection: H2Connection, shared: &Connection, core: &Core) {
    core.metrics.calmed_connections.inc();
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let closed = poll_fn(|cx| connection.poll_closed(cx));
    // What it does not take within this time it will not take at all.
    let _ = timeout(GOODBYE, with_flush(closed, shared)).await;
}

/// The crate has ended the connection for a flood that it guards against itself.
fn is_calmed(error: &pingora::Error) -> bool {
    error
        .root_cause()
        .downcast_ref::<h2::Error>()
        .is_some_and(|error| {
            error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_malformed_requests_in_a_minute_are_too_many_and_in_a_week_are_not() {
        for (every_ms, expected) in [(0, Some(31)), (1_000, Some(31)), (2_000, None)] {
            let mut strikes = Strikes::default();
            let last = (0..1_000).position(|n| strikes.is_last(Millis(n * every_ms)));
            assert_eq!(last, expected, "one each {every_ms} ms");
        }
    }
}
