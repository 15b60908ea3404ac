//! Lets one HTTP/1 request through at a time.
//!
//! A [`Turnstile`] sits between the client's stream and pingora. Pingora reads through it the body
//! of the current request and not a byte more: what a client sends after it (a pipelined request,
//! or a smuggled one) waits here until the front has looked at it like at any other request. So a
//! disagreement about where a request ends cannot turn into a request that nobody checked.

use std::{
    any::Any,
    fmt, io,
    mem::{self, MaybeUninit},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use pingora::protocols::{ALPN, Ssl, Stream, UniqueID, UniqueIDType, tls::SslDigest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    framing::{BadFraming, Framing, Meter},
    linger::{Linger, Rest},
    pace::{TooSlow, Wait},
};
use crate::{
    bare::bare_stream, client::Client, config::model::Limits, decide::Decision,
    egress::sink::ClientSocket,
};

/// Bytes after the current request that wait here at most; beyond, the kernel's buffer holds them.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// Written bytes that are gathered at most: a head and a small body leave in one piece, which pingora
/// writes one after the other.
const GATHERED_BYTES_MAX: usize = 8 * 1024;

/// A client's HTTP/1 stream that ends, for the reader, with the current request.
pub struct Turnstile {
    stream: Stream,
    socket: Arc<dyn ClientSocket>,
    client: Client,
    /// What was said of the current request already, and of whom it comes from.
    decided: Option<(Client, Decision)>,
    /// Read from the stream and not yet handed out.
    waiting: BytesMut,
    meter: Meter,
    /// For the body of the current request, if it has one that is not complete.
    wait: Option<Wait>,
    /// The protocol was switched (101): everything passes. Set through a shared reference, since
    /// pingora owns us at that time.
    switched: AtomicBool,
    /// The client's FIN was seen.
    ended: bool,
    /// Written, and not yet handed down.
    gathered: BytesMut,
    /// Something was written since the last completed flush. Pingora does not flush bodies with a
    /// Content-Length until they are complete, so a part would be held back here, or by TLS. It polls
    /// our read side all the time, so that is where we flush.
    unflushed: bool,
    /// The end has begun.
    linger: Option<Linger>,
}

impl Turnstile {
    /// Wraps a fresh connection over `socket`; `waiting` was already read from it.
    #[must_use]
    pub fn new(
        stream: Stream,
        socket: Arc<dyn ClientSocket>,
        client: Client,
        waiting: BytesMut,
    ) -> Self {
        Self {
            stream,
            socket,
            client,
            decided: None,
            waiting,
            meter: Meter::new(Framing::None),
            wait: None,
            switched: AtomicBool::new(false),
            ended: false,
            gathered: BytesMut::new(),
            unflushed: false,
            linger: None,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn client(&self) -> Client {
        self.client
    }

    /// What was said of the current request already, and of whom it comes from. Nobody asks twice: that
    /// would count twice.
    #[must_use]
    pub const fn decided(&self) -> Option<&(Client, Decision)> {
        self.decided.as_ref()
    }

    /// This was said of the current request.
    pub fn note(&mut self, client: Client, decision: Decision) {
        self.decided = Some((client, decision));
    }

    /// The socket at the bottom of the stream.
    #[must_use]
    pub fn socket(&self) -> Arc<dyn ClientSocket> {
        self.socket.clone()
    }

    /// What was received and not yet taken by a request.
    pub const fn waiting(&mut self) -> &mut BytesMut {
        &mut self.waiting
    }

    /// Takes up to `n` of the waiting bytes off. The buffer's memory goes with the last of them: a
    /// request may take hours, and a connection may idle between two.
    pub fn take_waiting(&mut self, n: usize) -> BytesMut {
        if n < self.waiting.len() {
            self.waiting.split_to(n)
        } else {
            mem::take(&mut self.waiting)
        }
    }

    /// The stream underneath, for reading the next head.
    pub const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Lets the body of the next request through, if it does not come too slowly.
    pub fn admit(&mut self, framing: Framing, limits: &Limits) {
        self.decided = None;
        self.meter = Meter::new(framing);
        self.wait = (!self.meter.is_done()).then(|| Wait::new(limits));
    }

    /// From now on every byte passes: the app switched protocols.
    pub fn switch_protocol(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }

    /// Gives the stream back; what waits is dropped.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// The turnstile behind a stream that we gave to pingora, if it is one.
    #[must_use]
    pub fn of(stream: &Stream) -> Option<&Self> {
        stream.as_any().downcast_ref()
    }

    /// The turnstile behind a stream that pingora gave back.
    #[must_use]
    pub fn recover(stream: Stream) -> Option<Box<Self>> {
        let any: Box<dyn Any> = stream.into_any();
        any.downcast().ok()
    }

    /// Hands down what was gathered; its memory goes with it.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.gathered.advance(n),
            }
        }
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Everything that was written leaves. Pingora does so before it gives the stream back, and before
    /// it ends one.
    pub fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(self.poll_gathered(cx))?;
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads body bytes straight into the reader's buffer; what lies behind the body waits.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.waiting.is_empty() {
            if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
                read?;
            } else {
                ready!(self.poll_too_slow(cx));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, TooSlow)));
            }
            let received = buf.filled().get(before..).unwrap_or_default();
            let taken = self.meter.take(received).map_err(bad_framing)?;
            if let Some(wait) = &mut self.wait {
                wait.received(taken);
            }
            self.waiting
                .extend_from_slice(received.get(taken..).unwrap_or_default());
            buf.set_filled(before + taken);
        } else {
            let room = buf.remaining().min(self.waiting.len());
            let taken = self
                .meter
                .take(self.waiting.get(..room).unwrap_or_default())
                .map_err(bad_framing)?;
            buf.put_slice(&self.take_waiting(taken));
        }
        if self.meter.is_done() {
            self.wait = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.wait {
            Some(wait) => wait.poll_too_slow(cx),
            None => Poll::Pending,
        }
    }

    /// The request is complete: only the client's leaving is of interest, what it sends must wait.
    ///
    /// Beyond [`WAITING_BYTES_MAX`] nothing more is read, and so nothing wakes the reader any more.
    /// None is due: the answer goes on without it, and after it the front takes what waits. That the
    /// client left is then noticed by writing to it, or by the app's `read_timeout`.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [MaybeUninit::uninit(); 1024];
        while !self.ended {
            if self.waiting.len() >= WAITING_BYTES_MAX {
                return Poll::Pending;
            }
            let mut buf = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            self.ended = buf.filled().is_empty();
            self.waiting.extend_from_slice(buf.filled());
        }
        Poll::Ready(Ok(()))
    }
}

fn bad_framing(error: BadFraming) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Turnstile {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(flushed) = this.poll_flushed(cx) {
            flushed?;
        }
        if this.switched.load(Ordering::Relaxed) {
            if this.waiting.is_empty() {
                let (before, room) = (buf.filled().len(), buf.remaining());
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.ended = room > 0 && buf.filled().len() == before;
                return Poll::Ready(Ok(()));
            }
            let n = buf.remaining().min(this.waiting.len());
            buf.put_slice(&this.take_waiting(n));
            return Poll::Ready(Ok(()));
        }
        if this.meter.is_done() {
            this.poll_gone(cx)
        } else {
            this.poll_body(cx, buf)
        }
    }
}

impl AsyncWrite for Turnstile {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unflushed = true;
        if this.gathered.len() + buf.len() > GATHERED_BYTES_MAX {
            ready!(this.poll_gathered(cx))?;
        }
        if buf.len() > GATHERED_BYTES_MAX {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        this.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    /// Pingora ends a connection by this, and drops it then.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            // An error means that nobody reads it.
            let _gone = ready!(this.poll_flushed(cx));
        }
        let linger = this.linger.get_or_insert_with(|| {
            // Else the client may be in the middle of a body that nobody wants any more, may have sent
            // a further request, or frames that cross with the app's last.
            Linger::new(if this.ended {
                Rest::Ignored
            } else {
                Rest::Drained
            })
        });
        linger.poll(&mut this.stream, cx).map(Ok)
    }
}

impl fmt::Debug for Turnstile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turnstile")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl UniqueID for Turnstile {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Turnstile {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

bare_stream!(Turnstile);

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::route::key::Scheme;

    struct NoSocket;

    impl ClientSocket for NoSocket {
        fn reset_on_close(&self, _: bool) {}
    }

    #[test]
    fn the_last_waiting_byte_takes_the_buffer_with_it() {
        let client = Client::peer(None, Scheme::Http);
        let waiting = BytesMut::from(&b"\r\nGET / HTTP/1.1\r\n\r\nGET"[..]);
        let stream = Box::new(Cursor::new(Vec::<u8>::new()));
        let mut turnstile = Turnstile::new(stream, Arc::new(NoSocket), client, waiting);
        assert_eq!(turnstile.take_waiting(2), "\r\n");
        assert_eq!(turnstile.take_waiting(18), "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(turnstile.waiting(), "GET");
        assert_eq!(turnstile.take_waiting(100), "GET");
        assert_eq!(turnstile.waiting().capacity(), 0);
    }

    #[tokio::test]
    async fn small_writes_leave_together_and_large_ones_after_them() {
        use tokio::io::AsyncReadExt as _;

        let (near, mut far) = tokio::io::duplex(1 << 20);
        let client = Client::peer(None, Scheme::Http);
        let socket = Arc::new(NoSocket);
        let mut turnstile = Turnstile::new(Box::new(near), socket, client, BytesMut::new());
        let mut space = vec![0; 100_000];
        turnstile.write_all(b"head").await.unwrap();
        turnstile.write_all(b"body").await.unwrap();
        turnstile.flush().await.unwrap();
        assert_eq!(far.read(&mut space).await.unwrap(), 8);
        turnstile.write_all(b"head").await.unwrap();
        turnstile.write_all(&[b'x'; 50_000]).await.unwrap();
        far.read_exact(&mut space[..50_004]).await.unwrap();
        assert!(space.starts_with(b"headxx"));
        turnstile.write_all(b"last").await.unwrap();
        let ended = turnstile.shutdown();
        let read = async {
            let read = far.read(&mut space).await.unwrap();
            drop(far);
            read
        };
        let (ended, read) = tokio::join!(ended, read);
        assert!(ended.is_ok());
        assert_eq!(read, 4);
        assert_eq!(turnstile.gathered.capacity(), 0);
    }
}
