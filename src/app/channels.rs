//! The registry as the admin service's `/channels` wants it.

use std::sync::Arc;

use crate::{
    admin::channels::{ChannelRow, ChannelSource, IdentityHash},
    channel::{
        registry::Registry,
        shared::Channel,
        state::{Outcome, Phase},
    },
};

/// Rows of live channels.
pub(super) struct Channels {
    registry: Arc<Registry>,
    identity: IdentityHash,
}

impl Channels {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            identity: IdentityHash::default(),
        }
    }

    fn row(&self, channel: &Channel) -> ChannelRow {
        let row = channel.row();
        ChannelRow {
            route: channel.key.route.clone(),
            host: channel.key.host.clone(),
            target: channel.key.target.clone(),
            identity: self.identity.of(&channel.key.headers),
            state: word(row.phase),
            subscribers: row.subscribers,
            ring_events: row.ring_events,
            ring_bytes: row.ring_bytes,
            epoch: channel.epoch.to_string(),
            head_sequence: row.head,
            upstream_since: row.live_since,
            reconnects: row.reconnects,
        }
    }
}

impl ChannelSource for Channels {
    fn channels(&self, limit: usize) -> (Vec<ChannelRow>, usize) {
        let rows = self
            .registry
            .list(limit)
            .iter()
            .map(|channel| self.row(channel))
            .collect();
        (rows, self.registry.len())
    }
}

const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Opening => "opening",
        Phase::Live => "live",
        Phase::Over(Outcome::Lingered) => "over: lingered",
        Phase::Over(Outcome::Refused) => "over: refused",
        Phase::Over(Outcome::Unreachable) => "over: unreachable",
        Phase::Over(Outcome::Retired) => "over: retired",
        Phase::Over(Outcome::Broken) => "over: broken",
    }
}
