//! Where a subscriber's bytes go: a hijacked HTTP/1 connection, or one HTTP/2 stream.
//!
//! The interface is what the shard needs and no more, so that HTTP/2 can be reworked underneath:
//! take bytes without waiting, say whether all taken bytes have left, say whether the client is
//! still there, end in one of two ways.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use pingora::protocols::{Stream, http::v2::server::HttpSession as H2Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::batch::Framing;
use crate::metrics::labels::Protocol;

/// Over TLS no more than one record's worth is handed down at a time: rustls takes all it is given
/// and would hold the ciphertext of a stalled reader in memory.
const TLS_WRITE_BYTES_MAX: usize = 16 * 1024;

/// What a client may send after its request before we stop humouring it. Nothing is expected.
const STRAY_BYTES_MAX: usize = 64 * 1024;

/// A client's connection or stream, taken over from pingora before anything was answered.
pub enum Downstream {
    /// A whole HTTP/1 connection.
    H1 {
        /// The hijacked stream.
        stream: Stream,
        /// HTTP/1.0: unframed body, closed at the end.
        http10: bool,
    },
    /// One HTTP/2 stream; its response head is not yet sent.
    H2(Box<H2Session>),
}

impl Downstream {
    /// HTTP version.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::H1 { .. } => Protocol::H1,
            Self::H2(_) => Protocol::H2,
        }
    }

    /// Ready when the client is gone. Registers the waker, also in place of the one that pingora's
    /// finished task left behind (which would keep that task's memory).
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1 { stream, .. } => poll_closed(stream, cx, &mut 0),
            Self::H2(session) => Pin::new(&mut session.idle()).poll(cx).map(|_| ()),
        }
    }
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// Last chunk, END_STREAM: the answer is whole.
    Complete,
    /// No last chunk, RST_STREAM CANCEL: a clean end would tell a fetch client that the answer is
    /// whole.
    Cut,
}

/// The writing side of an answered request.
pub enum Sink {
    /// HTTP/1.
    H1(H1Sink),
    /// HTTP/2.
    H2(H2Sink),
}

/// A hijacked connection.
pub struct H1Sink {
    stream: Stream,
    framing: Framing,
    tls: bool,
    /// Bytes are handed down but may not have left.
    unflushed: bool,
    stray: usize,
}

/// The sending half of a stream.
pub struct H2Sink {
    send: SendStream<Bytes>,
}

impl Sink {
    /// A connection whose response head is about to be written as bytes.
    #[must_use]
    pub fn h1(stream: Stream, framing: Framing) -> Self {
        let tls = stream.get_ssl_digest().is_some();
        Self::H1(H1Sink {
            stream,
            framing,
            tls,
            unflushed: false,
            stray: 0,
        })
    }

    /// A stream whose response head is sent.
    #[must_use]
    pub const fn h2(send: SendStream<Bytes>) -> Self {
        Self::H2(H2Sink { send })
    }

    /// How bytes for this sink are framed.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        match self {
            Self::H1(sink) => sink.framing,
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
    /// Ready: all is taken and has left. Pending: the waker is registered.
    pub fn poll_push(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        match self {
            Self::H1(sink) => sink.poll_push(cx, bytes),
            Self::H2(sink) => sink.poll_push(cx, bytes),
        }
    }

    /// Ready when the client is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(sink) => poll_closed(&mut sink.stream, cx, &mut sink.stray),
            Self::H2(sink) => sink.send.poll_reset(cx).map(|_| ()),
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

    /// Ends the stream; every byte before is pushed already. Pending: call again when woken.
    pub fn poll_end(&mut self, cx: &mut Context<'_>, kind: EndKind) -> Poll<()> {
        match (self, kind) {
            (Self::H1(sink), _) => Pin::new(&mut sink.stream).poll_shutdown(cx).map(|_| ()),
            (Self::H2(sink), EndKind::Complete) => {
                // An error means that the stream is closed already, which is what we want.
                let _closed = sink.send.send_data(Bytes::new(), true);
                Poll::Ready(())
            }
            (Self::H2(sink), EndKind::Cut) => {
                sink.send.send_reset(Reason::CANCEL);
                Poll::Ready(())
            }
        }
    }
}

impl H1Sink {
    fn poll_push(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        loop {
            if self.unflushed {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.unflushed = false;
            }
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let limit = if self.tls {
                TLS_WRITE_BYTES_MAX
            } else {
                usize::MAX
            };
            let chunk = bytes.get(..bytes.len().min(limit)).unwrap_or_default();
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, chunk))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes::Buf::advance(bytes, taken);
            // Plain TCP is unbuffered: what is taken is in the kernel.
            self.unflushed = self.tls;
        }
    }
}

impl H2Sink {
    fn poll_push(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            // The h2 crate queues without limit what it is given, so it gets only what fits.
            self.send.reserve_capacity(bytes.len());
            let mut room = self.send.capacity();
            if room == 0 {
                room = match ready!(self.send.poll_capacity(cx)) {
                    Some(room) => room.map_err(io::Error::other)?,
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                };
                if room == 0 {
                    // What was promised is taken again: no empty frame, wait on.
                    continue;
                }
            }
            let part = bytes.split_to(room.min(bytes.len()));
            self.send.send_data(part, false).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads and discards; ready when the peer closed, failed, or sent more than it should.
fn poll_closed(stream: &mut Stream, cx: &mut Context<'_>, stray: &mut usize) -> Poll<()> {
    let mut space = [0_u8; 256];
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() && *stray < STRAY_BYTES_MAX => {
                *stray += buffer.filled().len();
            }
            Ok(()) | Err(_) => return Poll::Ready(()),
        }
    }
}
