//! The stream under the h2 crate, by way of the [`Wire`].
//!
//! The crate flushes after each DATA frame of 256 bytes or more (1,024 without vectored writes), one
//! system call for each. Here a flush only promises: the connection's task writes for all when it has
//! polled the crate.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use pingora::protocols::{Ssl, UniqueID, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;
use crate::bare::bare_stream;

/// What the h2 crate reads from and writes to. The socket is closed with it.
pub struct H2Io(Arc<Mutex<Wire>>);

impl H2Io {
    pub(super) const fn new(wire: Arc<Mutex<Wire>>) -> Self {
        Self(wire)
    }
}

impl Drop for H2Io {
    fn drop(&mut self) {
        self.0.lock().close();
    }
}

impl AsyncRead for H2Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, buf)
    }
}

impl AsyncWrite for H2Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_shutdown(cx)
    }
}

impl fmt::Debug for H2Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Io").finish_non_exhaustive()
    }
}

impl UniqueID for H2Io {
    fn id(&self) -> UniqueIDType {
        self.0.lock().id()
    }
}

impl Ssl for H2Io {}

bare_stream!(H2Io);
