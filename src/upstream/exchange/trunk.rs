//! One HTTP/2 connection to an app, which many exchanges share.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, Connection, SendRequest},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Cut, CutKind, OpenError, failure::brief_h2};
use crate::{
    metrics::cell::Held,
    upstream::peer::{KEEPALIVE_IDLE, UNACKNOWLEDGED_MAX, WINDOW_BYTES},
};

/// All streams together: as many as the protocol can say, so that one whose reader does not read
/// fills its own window and takes no room from the others. What they may hold is bounded by their
/// number, and that by `connections_max`.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// What small DATA frames may cost in memory beyond their bytes, over all streams, before the h2
/// crate takes the app for an attacker. Its own measure follows the connection's window, which says
/// nothing here. Enough for 250,000 frames that nobody has read.
const FRAMES_OVERHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What may wait for the app to take it, for each stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Fields of a response head together.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// A connection that is driven by a task of its own. Each exchange on it holds it; with the last one
/// it closes.
pub(super) struct Trunk {
    requests: SendRequest<Bytes>,
    /// The app no longer answers.
    is_silent: Arc<AtomicBool>,
    /// The app turned the last request away here without a look at it.
    is_averse: AtomicBool,
    _counted: Held,
}

impl Trunk {
    /// Says hello, and waits until the app's settings are known.
    ///
    /// # Errors
    /// What speaks there does not speak HTTP/2, or takes no request. The text goes on after its
    /// address.
    pub(super) async fn open<S>(stream: S, counted: Held) -> Result<Arc<Self>, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let foreign = |error: h2::Error| format!("it does not speak HTTP/2: {}", brief_h2(&error));
        let handshake = settings().handshake::<_, Bytes>(stream);
        let (requests, mut connection) = handshake.await.map_err(foreign)?;
        let mut pings = connection.ping_pong().ok_or("it cannot be pinged")?;
        // The app's settings come before anything else that it says, so before this answer. Until
        // they are there nobody knows how many streams it takes, and what is over that would wait
        // in the h2 crate for one of the others to end.
        tokio::select! {
            biased;
            ended = &mut connection => {
                return Err(ended.err().map_or("it closed at once".to_owned(), foreign));
            }
            pong = pings.ping(Ping::opaque()) => pong.map_err(foreign)?,
        };
        if requests.current_max_send_streams() == 0 {
            return Err("it takes no request (SETTINGS_MAX_CONCURRENT_STREAMS is 0)".to_owned());
        }
        let is_silent = Arc::new(AtomicBool::new(false));
        tokio::spawn(drive(connection, pings, is_silent.clone()));
        Ok(Arc::new(Self {
            requests,
            is_silent,
            is_averse: AtomicBool::new(false),
            _counted: counted,
        }))
    }

    /// How many exchanges the app takes on this connection at once.
    pub(super) fn exchanges_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether one more finds room. Whoever asks holds it, too.
    pub(super) fn has_room(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) <= self.exchanges_max()
    }

    /// Whether the next request had better go elsewhere: the app turned one away here, perhaps since
    /// it is about to leave.
    pub(super) fn is_averse(&self) -> bool {
        self.is_averse.load(Ordering::Relaxed)
    }

    /// One request went elsewhere, so that an app that turns all away is not dialled for all of them.
    pub(super) fn forgive(&self) {
        self.is_averse.store(false, Ordering::Relaxed);
    }

    /// To send a request by.
    pub(super) fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// What a stream's error says of its end.
    pub(super) fn cut(&self, error: &h2::Error) -> Cut {
        if self.is_silent() {
            return Cut {
                kind: CutKind::Connection,
                text: unanswered(),
            };
        }
        Cut::from_h2(error)
    }

    /// As [`Trunk::cut`], of a request that has no answer yet.
    pub(super) fn no_head(&self, error: &h2::Error) -> OpenError {
        if self.is_silent() {
            return OpenError::NoHead(unanswered());
        }
        let error = OpenError::from_h2(error);
        if matches!(error, OpenError::Untouched(_)) {
            self.is_averse.store(true, Ordering::Relaxed);
        }
        error
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Trunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trunk").finish_non_exhaustive()
    }
}

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings
        .enable_push(false)
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .data_frame_budget(FRAMES_OVERHEAD_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX);
    settings
}

/// Moves frames until the connection ends, or the app is found dead.
async fn drive<S>(mut connection: Connection<S>, mut pings: PingPong, is_silent: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        // Its streams are told why by the h2 crate.
        _ended = &mut connection => {}
        () = silence(&mut pings) => is_silent.store(true, Ordering::Relaxed),
    }
}

/// Waits until a PING is not answered. The kernel's own probes find a dead machine; an app that
/// hangs answers those, and would keep all who share the connection waiting.
async fn silence(pings: &mut PingPong) {
    loop {
        tokio::time::sleep(KEEPALIVE_IDLE).await;
        match tokio::time::timeout(UNACKNOWLEDGED_MAX, pings.ping(Ping::opaque())).await {
            Ok(Ok(_pong)) => {}
            // The connection is ending, and knows better why.
            Ok(Err(_)) => return pending().await,
            Err(_) => return,
        }
    }
}

fn unanswered() -> String {
    format!("no answer to a PING in {UNACKNOWLEDGED_MAX:?}")
}

#[cfg(test)]
mod tests;
