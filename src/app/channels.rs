//! The registry as the admin service's `/channels` wants it.

use std::sync::Arc;

use crate::{
    admin::channels::{ChannelRow, ChannelSource, IdentityHash, Rows},
    channel::{
        registry::Registry,
        shared::Channel,
        state::{Outcome, Phase},
    },
    hints,
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
            target: without_values(&channel.key.target),
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
    fn channels(&self, limit: usize) -> (Rows<'_>, usize) {
        let listed = self.registry.list(limit).into_iter();
        let rows = listed.map(|channel| self.row(&channel));
        (Box::new(rows), self.registry.len())
    }

    fn hints(&self) -> Vec<hints::Row> {
        self.registry.hints()
    }
}

/// EventSource cannot set headers, so a token may stand in the query: its values are not shown.
fn without_values(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let names: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) => format!("{name}=..."),
            // A token may stand alone.
            None if parameter.is_empty() => String::new(),
            None => "...".to_owned(),
        })
        .collect();
    format!("{path}?{}", names.join("&"))
}

const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Opening => "opening",
        Phase::Live => "live",
        Phase::Complete => "complete",
        Phase::Over(Outcome::Lingered) => "over: lingered",
        Phase::Over(Outcome::Refused) => "over: refused",
        Phase::Over(Outcome::Unreachable) => "over: unreachable",
        Phase::Over(Outcome::Busy) => "over: busy",
        Phase::Over(Outcome::Cut) => "over: cut",
        Phase::Over(Outcome::Retired) => "over: retired",
        Phase::Over(Outcome::Revoked) => "over: revoked",
        Phase::Over(Outcome::Broken) => "over: broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_query_is_not_shown() {
        for (target, shown) in [
            ("/feed", "/feed"),
            (
                "/feed?access_token=secret&a=",
                "/feed?access_token=...&a=...",
            ),
            ("/feed?eyJhbGciOi", "/feed?..."),
            ("/feed?a=1&&secret", "/feed?a=...&&..."),
            ("/feed?", "/feed?"),
        ] {
            assert_eq!(without_values(target), shown);
        }
    }
}
