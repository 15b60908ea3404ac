//! The sending half of one HTTP/2 stream. Its DATA frames are written here; its head and its end are
//! the h2 crate's.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::EndKind;
use crate::egress::h2::{Connection, Key};

/// A stream that a response is written to.
pub struct H2Sink {
    send: SendStream<Bytes>,
    connection: Arc<Connection>,
    /// `None`: it was closed when we took it over.
    key: Option<Key>,
    end: End,
}

/// How far the end of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not said.
    Ahead,
    /// The crate has it.
    Said,
    /// It has passed.
    Over,
}

impl H2Sink {
    /// Takes over a stream whose response head is sent, or queued.
    pub(super) fn new(send: SendStream<Bytes>, connection: Arc<Connection>) -> Self {
        let key = connection.adopt(send.stream_id().as_u32());
        Self {
            send,
            connection,
            key,
            end: End::Ahead,
        }
    }

    pub(super) const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(super) const fn stream(&self) -> Option<(&Arc<Connection>, Key)> {
        match self.key {
            Some(key) => Some((&self.connection, key)),
            None => None,
        }
    }

    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        match self.key {
            Some(key) => self.connection.poll_push(key, bytes, cx.waker()),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(|_| ())
    }

    /// The crate drops a head that it has not written when the stream is reset, and what it writes of
    /// an end must not overtake what waits for the client's window.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, kind: EndKind) -> Poll<()> {
        let Some(key) = self.key else {
            return Poll::Ready(());
        };
        if self.end == End::Ahead {
            ready!(self.connection.poll_ordered(key, cx.waker()));
            match kind {
                EndKind::Cut => {
                    self.send.send_reset(Reason::CANCEL);
                    self.end = End::Over;
                }
                EndKind::Complete => {
                    // An error means that the stream is closed already, which the next step sees.
                    let _closed = self.send.send_data(Bytes::new(), true);
                    self.end = End::Said;
                }
            }
        }
        if self.end == End::Said {
            ready!(self.connection.poll_ended(key, cx.waker()));
            self.end = End::Over;
        }
        Poll::Ready(())
    }
}

impl Drop for H2Sink {
    /// An end that is said goes out in its time. What is dropped without one, the crate resets.
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.connection.release(key);
        }
    }
}
