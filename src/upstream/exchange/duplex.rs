//! An exchange of one client's own: the request's body goes up while the answer comes down.
//!
//! pingora's client session cannot write and be read at the same time. An app may well answer
//! before it has taken the whole body (413), or not take the rest until its answer is read. So the
//! session reads and sends the head, and the body goes beside it, down the same connection.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use http::StatusCode;
use parking_lot::Mutex;
use pingora::{
    http::{RequestHeader, ResponseHeader},
    protocols::{
        GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        Stream, TimingDigest, UniqueID, UniqueIDType,
        http::v1::client::HttpSession as Http1Session, raw_connect::ProxyDigest,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Body, Dialer, INFORMATIONAL_HEADS_MAX, OpenError, checked_head};
use crate::{clock::Millis, config::model::Upstream, upstream::peer::Purpose};

impl Dialer {
    /// Connects and sends a request head. What follows it goes by the [`Uplink`].
    ///
    /// # Errors
    /// As for [`Dialer::ask`].
    pub async fn send(
        &self,
        upstream: &Upstream,
        head: Box<RequestHeader>,
        now: Millis,
    ) -> Result<(Downlink, Uplink), OpenError> {
        let peers = self
            .peers
            .resolve(upstream, Purpose::EventStream, now)
            .await?;
        let line = Line::new(self.connect(&peers).await?.into_inner());
        let mut session = Box::new(Http1Session::new(Box::new(line.clone())));
        session.read_timeout = None;
        session.write_timeout = Some(upstream.write_timeout);
        session
            .write_request_header(head)
            .await
            .map_err(OpenError::no_head)?;
        let uplink = Uplink {
            line,
            waiting: Bytes::new(),
            unflushed: false,
        };
        let downlink = Downlink {
            session,
            informational: 0,
        };
        Ok((downlink, uplink))
    }
}

/// A head of an answer, as received.
#[derive(Debug)]
pub enum Heard {
    /// 1xx: another head follows.
    Informational(Box<ResponseHeader>),
    /// The answer's own.
    Final(Box<ResponseHeader>),
}

/// The way down for the answer: first its heads, then its body. When it and the [`Uplink`] are
/// dropped, the connection closes.
pub struct Downlink {
    session: Box<Http1Session>,
    /// Heads of status 1xx so far.
    informational: usize,
}

impl Downlink {
    /// Waits for the next head. Cancel safe: the session keeps what it has read of it.
    ///
    /// # Errors
    /// When the app answers with something that is no HTTP/1 response, or not at all.
    pub async fn heard(&mut self) -> Result<Heard, OpenError> {
        self.session
            .read_response()
            .await
            .map_err(OpenError::no_head)?;
        let head = self.session.resp_header().cloned().map(Box::new);
        let head = head.ok_or_else(|| OpenError::NoHead("it sent nothing".to_owned()))?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let text = "it switched protocols unasked";
            return Err(OpenError::NoHead(text.to_owned()));
        }
        if head.status.is_informational() {
            self.informational += 1;
            if self.informational > INFORMATIONAL_HEADS_MAX {
                let text = "it sent informational heads without end";
                return Err(OpenError::NoHead(text.to_owned()));
            }
            return Ok(Heard::Informational(head));
        }
        checked_head(head.status, &head.headers)?;
        Ok(Heard::Final(head))
    }

    /// The body, once the final head was heard.
    #[must_use]
    pub fn into_body(self) -> Body {
        Body {
            session: self.session,
            // Held by whoever serves the client.
            _place: None,
        }
    }
}

impl fmt::Debug for Downlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downlink").finish_non_exhaustive()
    }
}

/// The way up for a request's body, framed by the caller. It holds one piece at a time: whoever
/// reads the body from the client waits until the app has taken it.
pub struct Uplink {
    line: Line,
    waiting: Bytes,
    /// Something was handed down that may not have left.
    unflushed: bool,
}

impl Uplink {
    /// Takes the next piece; only when [`is_idle`](Self::is_idle).
    pub fn put(&mut self, piece: Bytes) {
        debug_assert!(self.is_idle(), "one piece at a time");
        self.unflushed = !piece.is_empty();
        self.waiting = piece;
    }

    /// Everything so far has left.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unflushed
    }

    /// Waits until the app has taken some of the piece, or all of it has left. Cancel safe.
    ///
    /// # Errors
    /// The app takes no more. It may have answered all the same.
    pub async fn sent(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.line.0.lock();
        if !self.waiting.is_empty() {
            let taken = ready!(Pin::new(&mut *stream).poll_write(cx, &self.waiting))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(taken);
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

/// One connection in two hands: the session's, which reads, and the uplink's, which writes. Both
/// belong to one task, so nobody ever waits for the lock.
#[derive(Clone)]
struct Line(Arc<Mutex<Stream>>);

impl Line {
    fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_shutdown(cx)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for Line {
    async fn shutdown(&mut self) {
        // The connection ends either way.
        let _ended = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Line {
    fn id(&self) -> UniqueIDType {
        self.0.lock().id()
    }
}

impl GetTimingDigest for Line {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Line {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Line {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Ssl for Line {}

impl Peek for Line {}
