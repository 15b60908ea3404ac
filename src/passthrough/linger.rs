//! Closing a connection in a way that lets the client read our last words.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pingora::protocols::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long, and for how many bytes, a client may go on sending after we said our last.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 2 << 20;
const READ_BYTES: usize = 4 * 1024;

/// What becomes of the bytes that a client still sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// None are expected.
    Ignored,
    /// They are taken, for a while. Closing a socket with unread bytes resets the connection, and the
    /// client may lose our answer (RFC 9112, 9.6).
    Drained,
}

/// The end of one stream. The client may be gone, or may never read what is still on its way, so
/// there is a deadline over it all.
#[derive(Debug)]
pub struct Linger {
    deadline: Pin<Box<Sleep>>,
    /// Our side is shut (over TLS with a close_notify).
    ended: bool,
    /// Bytes that may still come.
    left: usize,
}

impl Linger {
    /// Begins now.
    #[must_use]
    pub fn new(rest: Rest) -> Self {
        Self {
            deadline: Box::pin(sleep(LINGER)),
            ended: false,
            left: match rest {
                Rest::Ignored => 0,
                Rest::Drained => LINGER_BYTES_MAX,
            },
        }
    }

    /// Ready when the stream can be dropped. Neither an error nor the deadline changes anything: the
    /// connection ends here.
    pub fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !self.ended {
            if ready!(Pin::new(&mut *stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.ended = true;
        }
        let mut chunk = [0_u8; READ_BYTES];
        while self.left > 0 {
            let mut unwanted = ReadBuf::new(&mut chunk);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut unwanted));
            let received = unwanted.filled().len();
            if read.is_err() || received == 0 {
                break;
            }
            self.left = self.left.saturating_sub(received);
        }
        Poll::Ready(())
    }
}

/// Ends our side of the stream.
pub async fn end(stream: &mut Stream, rest: Rest) {
    let mut linger = Linger::new(rest);
    poll_fn(|cx| linger.poll(stream, cx)).await;
}
