//! The stream under the h2 crate: it gathers the frames of one round and writes them at once.
//!
//! The crate flushes after each DATA frame of 256 bytes or more (1,024 without vectored writes), one
//! system call for each stream's event. Here a flush only promises: the connection's task writes for
//! all streams when it has polled them ([`Outbox::flush`]).

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::frames::Budget;
use crate::clock;

/// Gathered bytes at which the crate has to wait for the socket: with it, what one connection holds
/// for a client that does not read.
const OUT_BYTES_MAX: usize = 64 * 1024;

struct Wire {
    stream: Stream,
    /// Read for detection and not yet handed to the crate.
    received: BytesMut,
    budget: Budget,
    /// The budget is spent. The crate gets nothing more to read.
    flooded: bool,
    out: BytesMut,
    /// Writing failed. The crate may not write again for long, so its next read tells it.
    broken: bool,
}

impl Wire {
    /// Writes all of `out`; gives its memory back once it is empty.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.poll_write_all(cx);
        if let Poll::Ready(outcome) = &written {
            self.broken |= outcome.is_err();
            if self.out.capacity() > 0 {
                self.out = BytesMut::new();
            }
        }
        written
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn check(&self) -> io::Result<()> {
        if self.broken {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }
}

/// The connection task's hand on what passes under the crate.
#[derive(Clone)]
pub(super) struct Outbox(Arc<Mutex<Wire>>);

impl Outbox {
    /// Writes what was gathered, now or when the socket wakes the task again. After a failure the
    /// task is woken once more, so that the crate learns of it by its next read.
    pub(super) fn flush(&self, cx: &mut Context<'_>) {
        let mut wire = self.0.lock();
        let was_broken = wire.broken;
        if let Poll::Ready(Err(_)) = wire.poll_out(cx)
            && !was_broken
        {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether the client sent too many frames that ask for nothing.
    pub(super) fn is_flooded(&self) -> bool {
        self.0.lock().flooded
    }
}

/// What the h2 crate reads from and writes to.
pub(super) struct H2Io(Arc<Mutex<Wire>>);

impl H2Io {
    /// Wraps a stream of which `received` was already read.
    pub(super) fn new(stream: Stream, received: BytesMut, budget: Budget) -> (Self, Outbox) {
        let wire = Arc::new(Mutex::new(Wire {
            stream,
            received,
            budget,
            flooded: false,
            out: BytesMut::new(),
            broken: false,
        }));
        (Self(wire.clone()), Outbox(wire))
    }
}

impl AsyncRead for H2Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        wire.check()?;
        if wire.flooded {
            // The connection's task looks after each poll, so nobody needs to be woken.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if wire.received.is_empty() {
            ready!(Pin::new(&mut wire.stream).poll_read(cx, buf))?;
        } else {
            let n = buf.remaining().min(wire.received.len());
            buf.put_slice(wire.received.get(..n).unwrap_or_default());
            wire.received.advance(n);
            if wire.received.is_empty() {
                wire.received = BytesMut::new();
            }
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        wire.flooded = !wire.budget.spend(read, clock::now);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock();
        wire.check()?;
        if wire.out.len() >= OUT_BYTES_MAX {
            ready!(wire.poll_out(cx))?;
        }
        wire.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        if wire.out.len() >= OUT_BYTES_MAX {
            wire.poll_out(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        ready!(wire.poll_out(cx))?;
        Pin::new(&mut wire.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for H2Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Io").finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for H2Io {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for H2Io {
    fn id(&self) -> UniqueIDType {
        self.0.lock().stream.id()
    }
}

impl Ssl for H2Io {}

impl GetTimingDigest for H2Io {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for H2Io {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for H2Io {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for H2Io {}
