//! One HTTP/2 connection: the h2 crate speaks the protocol, this task drives it, decides about each
//! request, and hands fan-out streams to the hub and the rest to pingora's proxy.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora::{
    apps::HttpServerApp,
    protocols::{
        Digest, Stream,
        http::{
            ServerSession,
            v2::server::{H2Accept, H2Options, HttpSession, default_h2_options},
        },
    },
};
use tokio::time::{sleep, timeout};

use super::{
    Core,
    h2io::{H2Io, Outbox},
    head::{Fault, is_host, is_target},
};
use crate::{
    answer::Answer,
    config::model::Limits,
    decide::{Decision, decide},
    metrics::labels::HandshakeFailure,
    passthrough::{Kind, Routed, reply, request::view, turnstile::Client},
    subscribe::Downstream,
};

type H2Connection = h2::server::Connection<Stream, Bytes>;

/// Malformed requests that one connection may send. Pingora's own budget of the same size starts
/// anew with each call of `from_h2_conn`, so it is counted here.
const MALFORMED_MAX: u32 = 32;
/// Windows for request bodies: uploads pass through, they need no megabytes in flight.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Response bytes that one stream may have queued inside the h2 crate. 10,000 streams that stand
/// still, on connections that do, are to cost less than 160 MiB.
const SEND_BUFFER_BYTES: usize = 12 * 1024;

/// How long a client may take to answer our GOAWAY once it has no streams.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long an answer of ours may wait for the client's window.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the accept loop woke up for.
#[expect(
    clippy::large_enum_variant,
    reason = "matched where it is made; a box would cost an allocation for each request"
)]
enum Step {
    Accepted(pingora::Result<Option<H2Accept>>),
    /// The process wants to go.
    Leave,
    /// Nothing happened for a while.
    Quiet,
}

/// Serves one connection until it ends. `received` was already read from `stream`.
pub(super) async fn serve(stream: Stream, received: BytesMut, client: Client, core: Arc<Core>) {
    let limits = core.limits();
    let (io, outbox) = H2Io::new(stream, received);
    let handshake = options(&limits).handshake::<Stream, Bytes>(Box::new(io));
    match timeout(limits.head_timeout, with_flush(handshake, &outbox)).await {
        // A task of its own, so that the state of the handshake is freed.
        Ok(Ok(connection)) => {
            core.contained(accept_loop(connection, outbox, client, core.clone()));
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
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}

/// Polls `work`, and then writes out in one go what all streams have put into the outbox.
async fn with_flush<T>(work: impl Future<Output = T>, outbox: &Outbox) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        outbox.flush(cx);
        polled
    })
    .await
}

async fn accept_loop(
    mut connection: H2Connection,
    outbox: Outbox,
    client: Client,
    core: Arc<Core>,
) {
    let digest = Arc::new(Digest::default());
    let mut shutdown = core.shutdown.clone();
    let (mut leaving, mut malformed) = (false, 0);
    loop {
        let patience = if leaving {
            GOODBYE
        } else {
            core.limits().keepalive_timeout
        };
        let step = tokio::select! {
            biased;
            // Also when the sender is gone: then nobody wants us to stay.
            _ = shutdown.wait_for(|down| *down), if !leaving => Step::Leave,
            accepted = with_flush(
                HttpSession::from_h2_conn(&mut connection, digest.clone()),
                &outbox,
            ) => Step::Accepted(accepted),
            () = sleep(patience) => Step::Quiet,
        };
        match step {
            // Long-lived streams keep a connection quiet and yet in use.
            Step::Quiet if connection.has_streams() => {}
            Step::Quiet if leaving => return,
            Step::Quiet | Step::Leave => {
                // GOAWAY; the streams that exist go on, and those on their way are still taken.
                connection.graceful_shutdown();
                leaving = true;
            }
            Step::Accepted(Ok(Some(H2Accept::Session(session)))) => take(session, client, &core),
            Step::Accepted(Ok(Some(H2Accept::Rejected))) => {
                core.metrics.bad_heads.inc();
                malformed += 1;
                if malformed >= MALFORMED_MAX {
                    return;
                }
            }
            // The client closed, the connection broke, or the crate ended it for abuse.
            Step::Accepted(Ok(None) | Err(_)) => return,
        }
    }
}

/// Decides about one request and hands it on. Nothing here waits: all streams of the connection
/// depend on it.
fn take(session: HttpSession, client: Client, core: &Arc<Core>) {
    let head = session.req_header();
    let request = view(head, client, !session.is_body_empty());
    if head.headers.len() > core.limits().head_fields_max {
        return refuse(session, TOO_MANY_FIELDS, core);
    }
    if !is_host(request.host.as_bytes()) || !is_target(request.method, request.target) {
        return refuse(session, MALFORMED, core);
    }
    let decision = decide(&request, &core.hub.config.load());
    match decision {
        Decision::FanOut(request) => {
            core.hub
                .subscribe(request, Downstream::h2(session), &core.shard);
        }
        Decision::Refuse(refusal) => {
            core.metrics.refused.inc(refusal.reason);
            answer(session, reply::refusal(&refusal), core);
        }
        Decision::Proxy(route) => pass(
            session,
            Routed {
                route,
                kind: Kind::Proxy,
                client,
            },
            core,
        ),
        Decision::Stream(route) => {
            pass(
                session,
                Routed {
                    route,
                    kind: Kind::Stream,
                    client,
                },
                core,
            );
        }
    }
}

const TOO_MANY_FIELDS: Fault = (
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request has too many header fields",
);
const MALFORMED: Fault = (
    StatusCode::BAD_REQUEST,
    "the request target or host is malformed",
);

fn refuse(session: HttpSession, (status, text): Fault, core: &Arc<Core>) {
    core.metrics.bad_heads.inc();
    answer(session, Answer::text(status, text), core);
}

/// In a task of its own, since the window may have no room for the text.
fn answer(mut session: HttpSession, answer: Answer, core: &Arc<Core>) {
    session.set_write_timeout(Some(ANSWER_TIMEOUT));
    core.contained(async move {
        // The client may be gone, which is no news.
        let _ = reply::send_h2(&mut session, answer).await;
    });
}

fn pass(mut session: HttpSession, routed: Routed, core: &Arc<Core>) {
    session.req_header_mut().extensions_mut().insert(routed);
    let (proxy, shutdown) = (core.proxy.clone(), core.shutdown.clone());
    core.contained(async move {
        proxy
            .process_new_http(ServerSession::new_http2(session), &shutdown)
            .await;
    });
}
