//! A client's socket as the bottom of pingora's stream stack.
//!
//! Pingora's own layer-4 stream carries buffers, digests and timers (close to 800 bytes a
//! connection); 50,000 subscribers do not need them. A socket holds the permit that counts it, so
//! that a connection is counted for as long as it exists, wherever it was handed to.

use std::{
    fmt, io,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pingora::protocols::{Ssl, UniqueID, UniqueIDType};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{
    admission, bare::bare_stream, config::model::Limits, egress::sink::ClientSocket,
    metrics::cell::Held,
};

/// Probes of a silent peer before it counts as gone.
const PROBES: u32 = 4;

/// A socket between two threads: accepted, not yet registered with a reactor.
#[derive(Debug)]
pub(super) enum RawSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix domain.
    Unix(std::os::unix::net::UnixStream),
}

impl RawSocket {
    /// Sets what every client socket needs.
    ///
    /// # Errors
    /// The peer is gone already.
    pub(super) fn configure(&self, limits: &Limits) -> io::Result<()> {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
        };
        socket.set_nonblocking(true)?;
        socket.set_send_buffer_size(limits.tcp_send_buffer_bytes)?;
        if matches!(self, Self::Tcp(_)) {
            socket.set_tcp_nodelay(true)?;
            // Bytes that the peer does not acknowledge, or has no room for. Without it a client on
            // HTTP/2 that stops reading would keep its connection for ever.
            socket.set_tcp_user_timeout(Some(limits.client_timeout))?;
            socket.set_tcp_keepalive(&keepalive(limits.client_timeout))?;
        }
        Ok(())
    }
}

/// Probes that are over when `within` is: the kernel's user timeout cuts them short otherwise.
fn keepalive(within: Duration) -> TcpKeepalive {
    // The kernel counts both in whole seconds, from 1 on.
    let interval = (within / (2 * PROBES)).max(Duration::from_secs(1));
    let idle = within.saturating_sub(interval * PROBES);
    TcpKeepalive::new()
        .with_time(idle.max(Duration::from_secs(1)))
        .with_interval(interval)
        .with_retries(PROBES)
}

/// Counts one connection, in total and for its worker, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    /// At the client's address, if there is a cap.
    by_address: OnceLock<admission::Permit>,
    _place: admission::Permit,
    worker: Arc<AtomicUsize>,
    /// Closing resets the connection.
    reset: AtomicBool,
    /// The connection in the metrics, from the moment on at which its protocol is known.
    by_protocol: OnceLock<Held>,
}

impl Permit {
    /// Counts one more.
    #[must_use]
    pub(super) fn new(place: admission::Permit, worker: Arc<AtomicUsize>) -> Self {
        worker.fetch_add(1, Ordering::Relaxed);
        Self {
            _place: place,
            by_address: OnceLock::new(),
            worker,
            reset: AtomicBool::new(false),
            by_protocol: OnceLock::new(),
        }
    }

    /// Counts it at the client's address as well.
    pub(super) fn count_address(&self, place: Option<admission::Permit>) {
        if let Some(place) = place {
            let _ = self.by_address.set(place);
        }
    }

    /// The protocol was found out.
    pub(super) fn show(&self, held: Held) {
        let _ = self.by_protocol.set(held);
    }
}

impl ClientSocket for Permit {
    fn reset_on_close(&self, reset: bool) {
        self.reset.store(reset, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A client's socket on its worker.
pub(super) struct Socket {
    io: Io,
    /// None for a connection that is only told to go away.
    permit: Option<Arc<Permit>>,
}

impl Socket {
    /// Registers the socket with the current thread's reactor.
    ///
    /// # Errors
    /// The reactor refuses it.
    pub(super) fn register(raw: RawSocket, permit: Option<Arc<Permit>>) -> io::Result<Self> {
        let io = match raw {
            RawSocket::Tcp(stream) => Io::Tcp(TcpStream::from_std(stream)?),
            RawSocket::Unix(stream) => Io::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Self { io, permit })
    }

    /// What waits to be read, without taking it.
    ///
    /// # Errors
    /// Reading fails, or it is a unix socket.
    pub(super) async fn peek(&self, space: &mut [u8]) -> io::Result<usize> {
        match &self.io {
            Io::Tcp(stream) => stream.peek(space).await,
            Io::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let reset = |permit: &Arc<Permit>| permit.reset.load(Ordering::Relaxed);
        if let Io::Tcp(stream) = &self.io
            && self.permit.as_ref().is_some_and(reset)
        {
            // It fails when the connection is gone already.
            let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer on our side.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("fd", &self.id())
            .finish_non_exhaustive()
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        match &self.io {
            Io::Tcp(stream) => stream.as_raw_fd(),
            Io::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Ssl for Socket {}

bare_stream!(Socket);
