//! What `/channels` shows. The registry knows nothing of this page; whoever puts the process
//! together implements [`ChannelSource`] for it.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use http::HeaderName;
use serde_json::{Value, json};

use crate::{
    clock::Millis,
    hints::{self, advice},
    logging::Clip,
    metrics::labels::Label,
};

/// Rows that are made when they are asked for.
pub type Rows<'a> = Box<dyn Iterator<Item = ChannelRow> + Send + 'a>;

/// Gives the rows of `/channels`.
pub trait ChannelSource: Send + Sync {
    /// At most `limit` channels, which are looked at one by one, and how many there are.
    fn channels(&self, limit: usize) -> (Rows<'_>, usize);

    /// The hints that stand.
    fn hints(&self) -> Vec<hints::Row>;
}

/// One channel.
#[derive(Debug, Clone)]
pub struct ChannelRow {
    /// Name of the route.
    pub route: String,
    /// Host that the clients asked for.
    pub host: String,
    /// Path and query; shown clipped.
    pub target: String,
    /// From [`IdentityHash`]; `None`: no identity, everyone shares.
    pub identity: Option<String>,
    /// State in one word.
    pub state: &'static str,
    /// Subscribers now.
    pub subscribers: usize,
    /// Events in the ring.
    pub ring_events: usize,
    /// Bytes of the ring, as accounted.
    pub ring_bytes: usize,
    /// Epoch as it stands in ids.
    pub epoch: String,
    /// Sequence of the newest event.
    pub head_sequence: u64,
    /// When the present upstream stream opened, if one is open.
    pub upstream_since: Option<Millis>,
    /// Times that the upstream was opened again.
    pub reconnects: u64,
}

pub(super) fn to_json(row: &ChannelRow, now: Millis) -> Value {
    json!({
        "route": row.route,
        "host": Clip::new(&row.host).to_string(),
        "target": Clip::new(&row.target).to_string(),
        "identity": row.identity,
        "state": row.state,
        "subscribers": row.subscribers,
        "ring_events": row.ring_events,
        "ring_bytes": row.ring_bytes,
        "epoch": row.epoch,
        "head_sequence": row.head_sequence,
        "upstream_seconds": row.upstream_since.map(|since| now.since(since).as_secs_f64()),
        "reconnects": row.reconnects,
    })
}

pub(super) fn hint_to_json(hint: &hints::Row, now: Millis) -> Value {
    json!({
        "route": hint.route,
        "hint": hint.hint.as_label(),
        "detail": hint.detail,
        "advice": advice(hint.hint),
        "since_seconds": now.since(hint.since).as_secs(),
        "seen_seconds": now.since(hint.seen).as_secs(),
    })
}

/// Tells identities apart without showing them. The key is random for each process: a hash that
/// anybody could compute would let short secrets be guessed from the page.
#[derive(Debug, Default)]
pub struct IdentityHash(RandomState);

impl IdentityHash {
    /// Eight hex digits; `None` without identity.
    #[must_use]
    pub fn of(&self, headers: &[(HeaderName, Bytes)]) -> Option<String> {
        (!headers.is_empty()).then(|| format!("{:08x}", self.0.hash_one(headers) >> 32))
    }
}
