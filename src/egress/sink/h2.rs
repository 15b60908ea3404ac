//! The sending half of one HTTP/2 stream. Its head is the h2 crate's, all else is written here.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::SendStream;

use super::EndKind;
use crate::egress::h2::{Connection, Key};

/// A stream that a response is written to.
pub struct H2Sink {
    connection: Arc<Connection>,
    /// `None`: it was closed when we took it over.
    key: Option<Key>,
    /// Held while the request may go on: the crate resets a stream that nobody holds.
    _crates: Option<SendStream<Bytes>>,
}

impl H2Sink {
    /// Takes over a stream whose response head was just given to the crate as all that there is.
    pub(super) fn new(
        crates: SendStream<Bytes>,
        connection: Arc<Connection>,
        request_may_go_on: bool,
    ) -> Self {
        let key = connection.adopt(crates.stream_id().as_u32());
        Self {
            connection,
            key,
            _crates: request_may_go_on.then_some(crates),
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
        &self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        match self.key {
            Some(key) => self.connection.poll_push(key, bytes, cx.waker()),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.key {
            Some(key) => self.connection.poll_closed(key, cx.waker()),
            None => Poll::Ready(()),
        }
    }

    pub(super) fn poll_end(&self, cx: &mut Context<'_>, kind: EndKind) -> Poll<()> {
        match (self.key, kind) {
            (None, _) => Poll::Ready(()),
            (Some(key), EndKind::Complete) => self.connection.poll_complete(key, cx.waker()),
            (Some(key), EndKind::Cut) => self.connection.poll_cut(key, cx.waker()),
        }
    }
}

impl Drop for H2Sink {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.connection.release(key);
        }
    }
}
