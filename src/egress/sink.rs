//! Where a subscriber's bytes go: a hijacked HTTP/1 connection, or one HTTP/2 stream.
//!
//! The interface is what the shard needs and no more, so that HTTP/2 can be reworked underneath:
//! take bytes without waiting, say whether all taken bytes have left, say whether the client is
//! still there, end in one of two ways.

mod h1;
mod h2;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_LENGTH};
use pingora::{
    http::ResponseHeader,
    protocols::{
        Stream,
        http::{date::get_cached_date, v2::server::HttpSession as H2Session},
    },
};
use tokio::time::{sleep, timeout};

pub use self::h1::ClientSocket;
use self::{h1::H1Sink, h2::H2Sink};
use super::{
    batch::Framing,
    h2::{Connection, Key, Underway},
    opening,
};
use crate::{answer::Answer, metrics::labels::Protocol};

/// How long a client that has been told everything may take to close its side. Closing a socket
/// with unread bytes resets the connection, and the client would lose our last words.
pub const LINGER: Duration = Duration::from_secs(2);

/// How often an end is looked at that nobody will wake us for.
const LOOK: Duration = Duration::from_millis(50);

/// A client's connection or stream, taken over from pingora before anything was answered.
pub struct Downstream(Taken);

enum Taken {
    /// A whole HTTP/1 connection.
    H1(H1Sink),
    /// One HTTP/2 stream of a connection; its response head is not yet sent. On its way until somebody
    /// looks after it.
    H2(Box<H2Session>, Arc<Connection>, Option<Underway>),
}

impl Downstream {
    /// A hijacked connection, whose bytes go by way of `socket` in the end.
    #[must_use]
    pub fn h1(stream: Stream, http10: bool, socket: Arc<dyn ClientSocket>) -> Self {
        Self(Taken::H1(H1Sink::new(stream, http10, socket)))
    }

    /// A stream whose response head is not yet sent.
    #[must_use]
    pub fn h2(session: H2Session, connection: Arc<Connection>) -> Self {
        let underway = Underway::new(connection.clone());
        Self(Taken::H2(Box::new(session), connection, Some(underway)))
    }

    /// Ready when the client is gone. Registers the waker, also in place of the one that pingora's
    /// finished task left behind (which would keep that task's memory).
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Taken::H1(sink) => sink.poll_gone(cx),
            Taken::H2(session, _, underway) => {
                *underway = None;
                Pin::new(&mut session.idle()).poll(cx).map(|_| ())
            }
        }
    }

    /// Begins a response without a known length. The head is sent, or stands in the bytes returned.
    /// `None`: the client is gone.
    #[must_use]
    pub fn stream<'a>(
        self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Option<(Sink, BytesMut)> {
        self.respond(status, fields, Extent::Open)
    }

    /// Begins a response whose fields say how long its body is, or whose status that it has none.
    /// Otherwise as [`stream`](Self::stream).
    #[must_use]
    pub fn sized<'a>(
        self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Option<(Sink, BytesMut)> {
        self.respond(status, fields, Extent::Told)
    }

    fn respond<'a>(
        self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        extent: Extent,
    ) -> Option<(Sink, BytesMut)> {
        match self.0 {
            Taken::H1(mut sink) => {
                sink.begin(extent);
                let head = opening::h1_head(status, fields, &get_cached_date(), sink.framing());
                Some((Sink::H1(sink), head))
            }
            Taken::H2(session, connection, _) => {
                let sink = h2_begun(*session, connection, status, fields)?;
                Some((sink, BytesMut::new()))
            }
        }
    }

    /// Begins an answer that says how long it is; its body is the caller's to push. Otherwise as
    /// [`stream`](Self::stream).
    #[must_use]
    pub fn answer(self, answer: &Answer) -> Option<(Sink, Bytes)> {
        match self.0 {
            Taken::H1(sink) => Some((Sink::H1(sink), answer.http1_close_head())),
            Taken::H2(session, connection, _) => {
                let fields = answer.headers.iter().map(|(name, value)| (name, value));
                let sink = h2_begun(*session, connection, answer.status, fields)?;
                Some((sink, Bytes::new()))
            }
        }
    }
}

fn h2_begun<'a>(
    mut session: H2Session,
    connection: Arc<Connection>,
    status: StatusCode,
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Option<Sink> {
    let mut head = ResponseHeader::build(status, None).ok()?;
    for (name, value) in fields {
        head.append_header(name, value).ok()?;
    }
    // For the crate, this is all.
    session.write_response_header(Box::new(head), true).ok()?;
    let half = session.take_response_body_writer()?;
    // A length of nothing, or the request would not be ours; and yet its end may be to come.
    let may_go_on = session.req_header().headers.contains_key(CONTENT_LENGTH);
    Some(Sink::H2(H2Sink::new(half, connection, may_go_on)))
}

/// Whether the head tells where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// By its length, or because there is none.
    Told,
    /// It ends where it ends.
    Open,
}

/// Waits until the client's kernel has all that ours was given, and no longer than `patience`: a reset
/// drops the rest.
pub async fn arrived(stream: &Stream, patience: Duration) {
    let arrived = async {
        while h1::is_underway(stream) {
            sleep(LOOK).await;
        }
    };
    let _in_time = timeout(patience, arrived).await;
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// Last chunk, END_STREAM, FIN over HTTP/1.0: the answer is whole.
    Complete,
    /// No last chunk, RST_STREAM CANCEL, RST over HTTP/1.0: a clean end would tell a fetch client
    /// that the answer is whole.
    Cut,
}

/// The writing side of an answered request.
pub enum Sink {
    /// HTTP/1.
    H1(H1Sink),
    /// HTTP/2.
    H2(H2Sink),
}

impl Sink {
    /// The connection that it shares with other streams.
    #[must_use]
    pub const fn connection(&self) -> Option<&Arc<Connection>> {
        match self {
            Self::H1(_) => None,
            Self::H2(sink) => Some(sink.connection()),
        }
    }

    /// Its stream on that connection.
    pub(super) const fn stream(&self) -> Option<(&Arc<Connection>, Key)> {
        match self {
            Self::H1(_) => None,
            Self::H2(sink) => sink.stream(),
        }
    }

    /// How the bytes of a stream are framed for this sink.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        match self {
            Self::H1(sink) => sink.framing(),
            Self::H2(_) => Framing::Plain,
        }
    }

    /// HTTP version.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::H1(_) => Protocol::H1,
            Self::H2(_) => Protocol::H2,
        }
    }

    /// Takes what it can of `bytes`, as often as it can; advances `bytes` past what it took.
    /// Ready: all is taken and has left. Pending: the waker is registered. Over HTTP/2 it is woken when
    /// the client is gone, whether there was anything to wait for or not.
    pub fn poll_push(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        match self {
            Self::H1(sink) => sink.poll_push(cx, bytes),
            Self::H2(sink) => sink.poll_push(cx, bytes),
        }
    }

    /// Ready when the client is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(sink) => sink.poll_gone(cx),
            Self::H2(sink) => sink.poll_gone(cx),
        }
    }

    /// The bytes that the framing puts at the end of a complete stream.
    #[must_use]
    pub const fn last_bytes(&self) -> Bytes {
        match self.framing() {
            Framing::Chunked => Bytes::from_static(b"0\r\n\r\n"),
            Framing::Plain => Bytes::new(),
        }
    }

    /// Says the end; every byte before is pushed already. Ready: it has gone out behind them, or
    /// the client is gone. Pending: call again when woken, and every now and then: nobody tells
    /// when a client's kernel has everything, which a reset over HTTP/1.0 waits for.
    pub fn poll_end(&mut self, cx: &mut Context<'_>, kind: EndKind) -> Poll<()> {
        match self {
            Self::H1(sink) => sink.poll_end(cx, kind),
            Self::H2(sink) => sink.poll_end(cx, kind),
        }
    }

    /// After [`poll_end`](Self::poll_end): ready when dropping the sink costs the client nothing.
    /// Not to be waited for longer than [`LINGER`].
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(sink) => sink.poll_closed(cx),
            Self::H2(_) => Poll::Ready(()),
        }
    }

    /// The end of a response outside of a shard: says it within `patience`, and lets the client
    /// close. What is whole is not cut for having been taken too slowly.
    pub async fn end(mut self, kind: EndKind, patience: Duration) {
        let said = async {
            while timeout(LOOK, poll_fn(|cx| self.poll_end(cx, kind)))
                .await
                .is_err()
            {}
        };
        if timeout(patience, said).await.is_ok() {
            let _in_time = timeout(LINGER, poll_fn(|cx| self.poll_closed(cx))).await;
        }
    }
}

#[cfg(test)]
mod tests;
