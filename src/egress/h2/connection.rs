//! An HTTP/2 connection, as it is shared by the task that drives it and the shard that writes to its
//! streams.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::sync::Notify;

use super::{budget::Budget, io::H2Io, streams::Key, wire::Wire};

/// As long as a stream of a shard lives, the connection is the shard's to send away.
pub struct Connection {
    leave: Notify,
    wire: Arc<Mutex<Wire>>,
}

impl Connection {
    /// A connection of which `received` was read already, and what the h2 crate is to speak to.
    #[must_use]
    pub fn new(stream: Stream, received: &[u8], budget: Budget) -> (Self, H2Io) {
        let wire = Arc::new(Mutex::new(Wire::new(stream, received, budget)));
        let connection = Self {
            leave: Notify::new(),
            wire: wire.clone(),
        };
        (connection, H2Io::new(wire))
    }

    /// Has the connection's task send it away: its client asks elsewhere from then on. The streams that
    /// exist go on.
    pub fn leave(&self) {
        self.leave.notify_one();
    }

    /// Waits for that.
    pub async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// For the connection's task, when it has polled the crate and goes to sleep: writes out what was
    /// gathered, now or when the socket wakes the task again. Only so many requests come between two
    /// calls, and none before the shard has seen those of before; see [`Underway`].
    pub fn flush(&self, cx: &mut Context<'_>) {
        self.wire.lock().flush(cx);
    }

    /// Whether the client sent too many frames that ask for nothing.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.wire.lock().is_flooded()
    }

    /// Whether the client has more than `max` streams open. The crate counts only its own.
    #[must_use]
    pub fn is_above(&self, max: usize) -> bool {
        self.wire.lock().is_above(max)
    }

    /// Whether the client has said GOAWAY while it had streams. The crate is not told: it would close
    /// the connection as soon as it has no streams of its own.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.wire.lock().is_left()
    }

    /// What the client has not taken, of all that was written to it.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.wire.lock().unsent_bytes()
    }

    /// Says GOAWAY in place of the crate, which would close a connection that it has no streams on.
    pub fn say_go_away(&self) {
        self.wire.lock().say_go_away();
    }
}

/// A request that is on its way to the shard. The connection takes no more than a few of them at once:
/// what the crate needs for those that come together it keeps for good.
pub struct Underway(Arc<Connection>);

impl Underway {
    /// Until it is dropped.
    #[must_use]
    pub fn new(connection: Arc<Connection>) -> Self {
        connection.wire.lock().sent_on();
        Self(connection)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.wire.lock().arrived();
    }
}

/// Streams.
impl Connection {
    /// The caller takes over this stream, whose response head was given to the crate as all that there
    /// is and is not written: that it ends the stream does not reach the client, and the crate, for
    /// which the stream is over, forgets it. `None`: it is closed already.
    #[must_use]
    pub fn adopt(&self, stream: u32) -> Option<Key> {
        self.wire.lock().adopt(stream)
    }

    /// The caller is done with it. If it has not ended, it is reset, without what waits for room.
    pub fn release(&self, key: Key) {
        self.wire.lock().release(key);
    }

    /// Takes what it can of `bytes`. Ready: all of it. Pending: `waker` is told when it may take more. It
    /// is told in any case when the stream is closed.
    ///
    /// # Errors
    /// The stream or its connection is closed.
    pub fn poll_push(&self, key: Key, bytes: &mut Bytes, waker: &Waker) -> Poll<io::Result<()>> {
        self.wire.lock().poll_push(key, bytes, waker)
    }

    /// Gives `bytes` to many streams, and writes them, as far as the socket takes it: returns the first
    /// place in `keys`, from `next` on, that was not reached. Whose own window has no room for all of it
    /// gets nothing, and `lags` is told its place.
    pub fn sweep(&self, keys: &[Key], next: usize, bytes: &[u8], lags: impl FnMut(usize)) -> usize {
        self.wire.lock().sweep(keys, next, bytes, lags)
    }

    /// Wakes `waiter` when the socket takes more, or never will.
    pub fn when_there_is_room<W: Wake + Send + Sync + 'static>(&self, waiter: &Arc<W>) {
        self.wire.lock().when_there_is_room(waiter.clone().into());
    }

    /// Ends it as whole: with END_STREAM. Ready: that goes out behind all that it was given, or it is
    /// closed.
    pub fn poll_complete(&self, key: Key, waker: &Waker) -> Poll<()> {
        self.wire.lock().poll_complete(key, waker)
    }

    /// As [`poll_complete`](Self::poll_complete), with a reset: it is not whole.
    pub fn poll_cut(&self, key: Key, waker: &Waker) -> Poll<()> {
        self.wire.lock().poll_cut(key, waker)
    }

    /// Ready when it is closed, or its connection.
    pub fn poll_closed(&self, key: Key, waker: &Waker) -> Poll<()> {
        self.wire.lock().poll_closed(key, waker)
    }
}
