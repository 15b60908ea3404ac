//! A hijacked HTTP/1 connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use pingora::protocols::{SocketDigest, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{EndKind, Extent};
use crate::egress::batch::Framing;

/// Over TLS no more than one record's worth is handed down at a time: rustls takes all it is given
/// and would hold the ciphertext of a stalled reader in memory.
const TLS_WRITE_BYTES_MAX: usize = 16 * 1024;

/// What a client may send after its request before we stop humouring it. Nothing is expected.
const STRAY_BYTES_MAX: usize = 64 * 1024;

/// The socket under a client's connection. It may lie far below: under TLS, and under what else
/// pingora and we put on it.
pub trait ClientSocket: Send + Sync {
    /// Whether closing it resets the connection; at first it does not.
    fn reset_on_close(&self, reset: bool);
}

/// A connection that a response is written to. It is closed at the response's end.
pub struct H1Sink {
    stream: Stream,
    socket: Arc<dyn ClientSocket>,
    http10: bool,
    extent: Extent,
    tls: bool,
    /// Bytes are handed down but may not have left.
    unflushed: bool,
    /// Our side is closed.
    shut: bool,
    /// Bytes that came after the request.
    stray: usize,
}

impl H1Sink {
    pub(super) fn new(stream: Stream, http10: bool, socket: Arc<dyn ClientSocket>) -> Self {
        let tls = stream.get_ssl_digest().is_some();
        Self {
            stream,
            socket,
            http10,
            extent: Extent::Open,
            tls,
            unflushed: false,
            shut: false,
            stray: 0,
        }
    }

    /// A response begins. Over HTTP/1.0 a body of unknown length ends where the connection does, and
    /// only a reset shows that it is not whole: also when we panic, or drop the sink in haste.
    pub(super) fn begin(&mut self, extent: Extent) {
        self.extent = extent;
        self.socket
            .reset_on_close(self.http10 && extent == Extent::Open);
    }

    pub(super) const fn framing(&self) -> Framing {
        match self.extent {
            Extent::Open if !self.http10 => Framing::Chunked,
            Extent::Open | Extent::Told => Framing::Plain,
        }
    }

    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<io::Result<()>> {
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
            bytes.advance(taken);
            // Plain TCP is unbuffered: what is taken is in the kernel.
            self.unflushed = self.tls;
        }
    }

    /// Reads and discards; ready when the peer closed, failed, or sent more than it should.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0_u8; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            self.stray += buffer.filled().len();
            if read.is_err() || buffer.filled().is_empty() || self.stray > STRAY_BYTES_MAX {
                return Poll::Ready(());
            }
        }
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, kind: EndKind) -> Poll<()> {
        if self.http10 && kind == EndKind::Cut {
            // The reset drops what the client's kernel does not have yet.
            return if is_underway(&self.stream) {
                Poll::Pending
            } else {
                Poll::Ready(())
            };
        }
        if !self.shut {
            // An error means that the connection is gone, and with it who might be deceived.
            let _gone = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.shut = true;
            self.socket.reset_on_close(false);
        }
        Poll::Ready(())
    }

    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shut {
            self.poll_gone(cx)
        } else {
            Poll::Ready(())
        }
    }
}

/// Whether bytes are on their way that the client's kernel has not acknowledged. Only TCP tells;
/// over a unix socket they are there as soon as they are written.
pub(super) fn is_underway(stream: &Stream) -> bool {
    let info = SocketDigest::from_raw_fd(stream.id()).tcp_info();
    info.is_some_and(|info| info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0)
}
