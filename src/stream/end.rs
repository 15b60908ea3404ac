//! How an answer ends. Over HTTP/2 what was written last may still stand in the queue of the h2 crate,
//! where a reset would drop it: there the end goes out behind all the rest, and is waited for.

use std::time::Duration;

use bytes::Bytes;
use pingora::{Result, protocols::http::ServerSession};

use crate::egress::sink::{EndKind, Sink};

/// The answer is whole. Over HTTP/2 that is waited for no longer than `patience`.
///
/// # Errors
/// The client did not take it.
pub(super) async fn complete(session: &mut ServerSession, patience: Duration) -> Result<()> {
    let Some(sink) = h2(session) else {
        return session.write_response_body(Bytes::new(), true).await;
    };
    sink.end(EndKind::Complete, patience).await;
    Ok(())
}

/// The answer broke off, and its client must see that. Over HTTP/1 it does when the session is dropped.
pub(super) async fn cut(session: &mut ServerSession, patience: Duration) {
    if let Some(sink) = h2(session) {
        // Whoever does not take it in time is cut off all the same.
        sink.end(EndKind::Cut, patience).await;
    }
}

/// The stream of an answer that was begun.
fn h2(session: &mut ServerSession) -> Option<Sink> {
    let ServerSession::H2(session) = session else {
        return None;
    };
    session.take_response_body_writer().map(Sink::h2)
}
