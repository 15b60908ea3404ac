//! The client's socket, and what waits for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pingora::protocols::{Stream, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::out::Out;

/// Open until it is closed.
pub(super) struct Socket {
    stream: Option<Stream>,
    /// Whole frames, but for one that the crate is about to end.
    pub(super) out: Out,
    /// It takes no more for now, and will wake the connection's task.
    blocked: bool,
}

impl Socket {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            out: Out::default(),
            blocked: false,
        }
    }

    pub(super) fn id(&self) -> UniqueIDType {
        self.stream.as_ref().map_or(-1, |stream| stream.id())
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Whether it takes no more for now.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Nothing: it is over.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Writes all of `out`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.poll_write_all(cx);
        self.blocked = written.is_pending();
        if self.blocked {
            self.out.settle();
        }
        written
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, self.out.rest()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        Pin::new(stream).poll_flush(cx)
    }

    /// Says that nothing more comes.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
