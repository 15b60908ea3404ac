//! The sending half of one HTTP/2 stream, by way of the h2 crate.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::EndKind;
use crate::egress::connection::Connection;

/// A stream that a response is written to.
pub struct H2Sink {
    send: SendStream<Bytes>,
    /// Set once the end is said: whether everything before it has gone out.
    flushed: Option<Arc<AtomicBool>>,
    connection: Option<Arc<Connection>>,
}

impl H2Sink {
    pub(super) const fn new(send: SendStream<Bytes>, connection: Option<Arc<Connection>>) -> Self {
        Self {
            send,
            flushed: None,
            connection,
        }
    }

    pub(super) const fn connection(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref()
    }

    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        let whole = bytes.len();
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
            // While the connection stands still a part stays in the crate's queue, and would keep
            // all of the buffer that it is a slice of.
            let part = if part.len() < whole {
                Bytes::copy_from_slice(&part)
            } else {
                part
            };
            self.send.send_data(part, false).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(|_| ())
    }

    /// The crate drops all that a stream has queued, response head included, when the stream is
    /// reset. So a last, empty frame goes first and tells when the queue in front of it is written.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, kind: EndKind) -> Poll<()> {
        let flushed = match &self.flushed {
            Some(flushed) => flushed,
            None => {
                let flushed = Arc::new(AtomicBool::new(false));
                let tail = Bytes::from_owner(Tail {
                    flushed: flushed.clone(),
                    waker: cx.waker().clone(),
                });
                // An error means that the stream is closed already. It drops the frame as well.
                let _closed = self.send.send_data(tail, kind == EndKind::Complete);
                self.flushed.insert(flushed)
            }
        };
        if !flushed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        if kind == EndKind::Cut {
            self.send.send_reset(Reason::CANCEL);
        }
        Poll::Ready(())
    }

    /// The crate is to write what it has in its own time.
    pub(super) fn leave_behind(mut self) {
        self.flushed = None;
    }
}

impl Drop for H2Sink {
    /// A client that does not take the end in time leaves nothing behind in the crate. Otherwise
    /// the crate itself resets what is dropped without an end.
    fn drop(&mut self) {
        if let Some(flushed) = &self.flushed
            && !flushed.load(Ordering::Acquire)
        {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// An empty payload that tells when the crate lets go of it: when it has written the frame, or has
/// no use for it any more.
struct Tail {
    flushed: Arc<AtomicBool>,
    waker: Waker,
}

impl AsRef<[u8]> for Tail {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.flushed.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}
