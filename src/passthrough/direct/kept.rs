//! Connections to apps that wait for their next request; one worker's.

use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    task::unconstrained,
    time::sleep,
};

use crate::clock::{self, Millis};

/// How often those are looked for that are to be closed.
const ROUND: Duration = Duration::from_secs(1);

/// Idle connections by whom they lead to.
pub(super) struct Kept {
    idle: Mutex<Idle>,
    /// Of all apps.
    max: usize,
}

#[derive(Default)]
struct Idle {
    /// By peer; the one that was used last stands last.
    by_peer: HashMap<u64, Vec<Waiting>>,
    count: usize,
    /// A task goes its rounds.
    is_kept_clean: bool,
}

struct Waiting {
    stream: Stream,
    /// When it is closed.
    until: Millis,
}

impl Waiting {
    /// Neither over nor spoken to: who waits for a request has nothing to say.
    fn is_usable(&mut self, now: Millis) -> bool {
        let mut byte = [0; 1];
        let mut read = ReadBuf::new(&mut byte);
        let stream = &mut self.stream;
        // Without the task's share of turns: when that is used up, everything looks quiet.
        let heard = unconstrained(poll_fn(|cx| {
            Pin::new(&mut *stream).poll_read(cx, &mut read)
        }));
        let mut cx = Context::from_waker(Waker::noop());
        now < self.until && pin!(heard).poll(&mut cx).is_pending()
    }
}

impl Kept {
    /// At most `max`.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            max,
        })
    }

    /// Takes the connection to `peer` that was used last.
    pub(super) fn take(&self, peer: u64) -> Option<Stream> {
        let now = clock::now();
        let mut idle = self.idle.lock();
        loop {
            let mut waiting = idle.by_peer.get_mut(&peer)?.pop()?;
            idle.count -= 1;
            if waiting.is_usable(now) {
                return Some(waiting.stream);
            }
        }
    }

    /// Keeps a connection for as long as `patience`, in the place of the oldest if there are too many.
    /// Within a runtime.
    pub(super) fn put(self: &Arc<Self>, peer: u64, stream: Stream, patience: Duration) {
        let until = clock::now().after(patience);
        let mut idle = self.idle.lock();
        if self.max == 0 {
            return;
        }
        if idle.count >= self.max {
            idle.drop_oldest();
        }
        idle.by_peer
            .entry(peer)
            .or_default()
            .push(Waiting { stream, until });
        idle.count += 1;
        if !std::mem::replace(&mut idle.is_kept_clean, true) {
            tokio::spawn(rounds(Arc::downgrade(self)));
        }
    }
}

impl Idle {
    fn drop_oldest(&mut self) {
        let oldest = self
            .by_peer
            .iter()
            .filter_map(|(peer, waiting)| Some((waiting.first()?.until, *peer)))
            .min();
        if let Some((_, peer)) = oldest
            && let Some(waiting) = self.by_peer.get_mut(&peer)
        {
            waiting.remove(0);
            self.count -= 1;
        }
    }

    /// Closes what is not usable any more.
    fn clean(&mut self, now: Millis) {
        for waiting in self.by_peer.values_mut() {
            waiting.retain_mut(|waiting| waiting.is_usable(now));
        }
        self.by_peer.retain(|_, waiting| !waiting.is_empty());
        self.count = self.by_peer.values().map(Vec::len).sum();
        self.is_kept_clean = self.count > 0;
    }
}

/// Goes on as long as there is something to look after.
async fn rounds(kept: Weak<Kept>) {
    loop {
        sleep(ROUND).await;
        let Some(kept) = kept.upgrade() else {
            return;
        };
        let mut idle = kept.idle.lock();
        idle.clean(clock::now());
        if !idle.is_kept_clean {
            return;
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3600);

    fn connection() -> (Stream, DuplexStream) {
        let (near, far) = duplex(64);
        (Box::new(near), far)
    }

    /// Which of the apps' ends is at the other one of a stream.
    async fn speaks_to(mut stream: Stream, apps: &mut [DuplexStream]) -> Vec<bool> {
        stream.write_all(b"?").await.unwrap();
        let mut byte = [0; 1];
        let mut cx = Context::from_waker(Waker::noop());
        apps.iter_mut()
            .map(|app| {
                let mut read = ReadBuf::new(&mut byte);
                Pin::new(app).poll_read(&mut cx, &mut read).is_ready() && !read.filled().is_empty()
            })
            .collect()
    }

    #[tokio::test]
    async fn the_last_one_used_is_taken_and_the_oldest_makes_room() {
        let kept = Kept::new(2);
        let mut apps = Vec::new();
        for peer in [1, 2, 1] {
            let (stream, app) = connection();
            kept.put(peer, stream, PATIENCE);
            apps.push(app);
        }
        assert_eq!(apps[0].read(&mut [0]).await.unwrap(), 0, "it was closed");
        let taken = kept.take(1).unwrap();
        assert_eq!(speaks_to(taken, &mut apps).await, [false, false, true]);
        assert!(kept.take(1).is_none());
        assert!(kept.take(2).is_some());
        assert!(kept.take(2).is_none());
    }

    #[tokio::test]
    async fn what_is_over_or_was_spoken_to_is_not_taken() {
        let kept = Kept::new(9);
        let (stream, gone) = connection();
        kept.put(1, stream, PATIENCE);
        drop(gone);
        let (stream, mut talks) = connection();
        kept.put(1, stream, PATIENCE);
        talks.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        let (stream, _old) = connection();
        kept.put(1, stream, Duration::ZERO);
        assert!(kept.take(1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_closed_without_being_asked_for() {
        let kept = Kept::new(9);
        let (stream, mut old) = connection();
        kept.put(1, stream, Duration::ZERO);
        let (stream, gone) = connection();
        kept.put(2, stream, PATIENCE);
        drop(gone);
        assert_eq!(old.read(&mut [0]).await.unwrap(), 0);
        sleep(ROUND).await;
        assert!(kept.idle.lock().by_peer.is_empty(), "and nobody goes on");
        assert!(!kept.idle.lock().is_kept_clean);
        let (stream, mut next) = connection();
        kept.put(1, stream, Duration::ZERO);
        assert_eq!(next.read(&mut [0]).await.unwrap(), 0, "another round");
    }
}
