//! What is published: one numbered feed per path, and the counters that `/stats` shows.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::{
    clock,
    payload::{self, Stamp},
};

/// Feeds at most.
const FEEDS_MAX: usize = 20_000;
/// Events that a connection may be behind before it is cut (and counted as overrun).
const BACKLOG_EVENTS: usize = 8_192;

/// All feeds of the app.
pub struct Feeds {
    feeds: Mutex<BTreeMap<String, Arc<Feed>>>,
    /// Number of the last event: feeds that run side by side are at the same one.
    seq: AtomicU64,
    kills: watch::Sender<u64>,
    connections_total: AtomicU64,
    overruns: AtomicU64,
    late_ns_max: AtomicU64,
}

/// The events of one path.
pub struct Feed {
    events: broadcast::Sender<Stamp>,
    connections: AtomicU64,
    channel: u32,
}

/// One reader's place in a feed; counts as a connection while it lives.
pub struct Reader {
    /// Events from here on.
    pub events: broadcast::Receiver<Stamp>,
    /// Changes when all connections are to be cut.
    pub kills: watch::Receiver<u64>,
    feed: Arc<Feed>,
}

/// What `/stats` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Streams open now.
    pub connections: u64,
    /// Streams opened since the start.
    pub connections_total: u64,
    /// Connections cut because they did not take their events.
    pub overruns: u64,
    /// The longest that an event left after its intended time, microseconds: the publisher's own
    /// share of any latency that clients see.
    pub late_us_max: u64,
    /// By path.
    pub feeds: BTreeMap<String, FeedStats>,
}

/// One path in [`Stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStats {
    /// Sequence number of the last event published.
    pub seq: u64,
    /// Streams open now.
    pub connections: u64,
}

impl Default for Feeds {
    fn default() -> Self {
        Self {
            feeds: Mutex::default(),
            seq: AtomicU64::new(0),
            kills: watch::Sender::new(0),
            connections_total: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            late_ns_max: AtomicU64::new(0),
        }
    }
}

impl Feeds {
    /// Joins the feed of a path, which begins with its first reader; `None` when there are too many.
    pub fn join(&self, path: &str) -> Option<Reader> {
        let feed = {
            let mut feeds = self.feeds.lock();
            if feeds.len() >= FEEDS_MAX && !feeds.contains_key(path) {
                return None;
            }
            Arc::clone(feeds.entry(path.to_owned()).or_insert_with(|| {
                Arc::new(Feed {
                    events: broadcast::Sender::new(BACKLOG_EVENTS),
                    connections: AtomicU64::new(0),
                    channel: payload::channel(path),
                })
            }))
        };
        self.connections_total.fetch_add(1, Ordering::Relaxed);
        feed.connections.fetch_add(1, Ordering::Relaxed);
        Some(Reader {
            events: feed.events.subscribe(),
            kills: self.kills.subscribe(),
            feed,
        })
    }

    /// Publishes the next event of every feed. Only the pacer calls this.
    pub fn publish(&self, sent_ns: u64) {
        let late_ns = clock::now_ns().saturating_sub(sent_ns);
        self.late_ns_max.fetch_max(late_ns, Ordering::Relaxed);
        let feeds = self.feeds.lock();
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        for feed in feeds.values() {
            // Nobody listens: the event is published all the same, that is what a gap is.
            let _ = feed.events.send(Stamp {
                seq,
                sent_ns,
                channel: feed.channel,
            });
        }
    }

    /// Goes on behind event number `seq`, for a publisher in the place of another.
    pub fn go_on(&self, seq: u64) {
        self.seq.fetch_max(seq, Ordering::Relaxed);
    }

    /// Cuts every stream.
    pub fn kill(&self) {
        self.kills.send_modify(|kills| *kills += 1);
    }

    /// A connection was cut because it was too far behind.
    pub fn count_overrun(&self) {
        self.overruns.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let seq = self.seq.load(Ordering::Relaxed);
        let feeds: BTreeMap<String, FeedStats> = self
            .feeds
            .lock()
            .iter()
            .map(|(path, feed)| {
                let connections = feed.connections.load(Ordering::Relaxed);
                (path.clone(), FeedStats { seq, connections })
            })
            .collect();
        Stats {
            connections: feeds.values().map(|feed| feed.connections).sum(),
            connections_total: self.connections_total.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            late_us_max: self.late_ns_max.load(Ordering::Relaxed) / 1_000,
            feeds,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
