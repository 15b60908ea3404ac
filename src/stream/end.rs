//! How an answer ends. Over HTTP/2 what was written last may still stand in the queue of the h2 crate,
//! where a reset would drop it: there the end goes out behind all the rest, and is waited for. Over
//! HTTP/1.0 it may stand in the kernel's, and is waited for there.

use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::Version;
use pingora::{Result, protocols::http::ServerSession};
use tokio::{sync::oneshot, time::timeout};

use crate::{egress::sink::arrived, passthrough::turnstile::Turnstile};

/// An answer over HTTP/1.0 begins whose length nobody is told: it ends where the connection does. Only a
/// reset shows that it is not whole, also when we panic.
pub fn unframed(session: &ServerSession) {
    reset_on_close(session, true);
}

/// After [`unframed`]: the client has all of it.
pub fn whole(session: &ServerSession) {
    reset_on_close(session, false);
}

fn reset_on_close(session: &ServerSession, reset: bool) {
    if let Some(turnstile) = session.stream().and_then(Turnstile::of) {
        turnstile.socket().reset_on_close(reset);
    }
}

/// The answer is whole. Over HTTP/2 that is waited for no longer than `patience`.
///
/// # Errors
/// The client did not take it.
pub(super) async fn complete(session: &mut ServerSession, patience: Duration) -> Result<()> {
    let Some(mut send) = h2(session) else {
        session.write_response_body(Bytes::new(), true).await?;
        whole(session);
        return Ok(());
    };
    // After that it goes out in the crate's own time.
    last_frame(&mut send, true, patience).await;
    Ok(())
}

/// The answer broke off, and its client must see that, behind what it is sent already. Over HTTP/1 it does
/// when the session is dropped.
pub async fn cut(session: &mut ServerSession, patience: Duration) {
    if let Some(mut send) = h2(session) {
        // Whoever does not take it in time is cut off all the same.
        last_frame(&mut send, false, patience).await;
        send.send_reset(Reason::CANCEL);
    } else if session.req_header().version == Version::HTTP_10
        && let Some(stream) = session.stream()
    {
        arrived(stream, patience).await;
    }
}

/// The stream of an answer that was begun.
fn h2(session: &mut ServerSession) -> Option<SendStream<Bytes>> {
    let ServerSession::H2(session) = session else {
        return None;
    };
    session.take_response_body_writer()
}

/// Queues an empty frame behind all else, and waits until the crate has written it.
async fn last_frame(send: &mut SendStream<Bytes>, ends: bool, patience: Duration) {
    let (tail, written) = oneshot::channel();
    let tail = Bytes::from_owner(Tail(tail));
    // An error means that the stream is closed already. It drops the frame as well.
    let _closed = send.send_data(tail, ends);
    let _in_time = timeout(patience, written).await;
}

/// An empty payload. The crate drops it when it has written the frame, or has no use for it any more.
struct Tail(#[expect(dead_code, reason = "held for its drop")] oneshot::Sender<()>);

impl AsRef<[u8]> for Tail {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}
