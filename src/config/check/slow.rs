//! When a client is too slow, and what then.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        defaults,
        model::{RingLimits, SlowPolicy, SlowReader},
        raw::{self, Defaults},
    },
    fanout::{HOUR, MS, Place, nested},
};

pub(super) fn slow(
    route: &Defaults,
    defaults: &Defaults,
    ring: &RingLimits,
    place: &Place<'_, '_>,
) -> SlowReader {
    let events_at = place.of(&["slow", "events_max"]);
    let bytes_at = place.of(&["slow", "bytes_max"]);
    let events_max = events_at.count(
        nested!(route, defaults, slow.events_max),
        ring.events_max,
        1..=usize::MAX,
    );
    let bytes_max = bytes_at.size(
        nested!(route, defaults, slow.bytes_max),
        ring.bytes_max,
        1 << 10..=16 << 30,
    );
    SlowReader {
        policy: policy(route, defaults),
        events_max,
        bytes_max,
        stall_max: stall_max(route, defaults, place),
    }
}

/// Without a key to conflate by, which [`together`](super::together) misses, it is as the default.
fn policy(route: &Defaults, defaults: &Defaults) -> SlowPolicy {
    match nested!(route, defaults, slow.policy) {
        None | Some(raw::SlowPolicy::Disconnect) => SlowPolicy::Disconnect,
        Some(raw::SlowPolicy::Skip) => SlowPolicy::Skip,
        Some(raw::SlowPolicy::Conflate) => nested!(route, defaults, slow.conflate_by)
            .map_or(SlowPolicy::Disconnect, |by| {
                SlowPolicy::Conflate(Arc::new(by))
            }),
    }
}

pub(super) fn stall_max(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> Duration {
    place.of(&["slow", "stall_max"]).time(
        nested!(route, defaults, slow.stall_max),
        defaults::STALL_MAX,
        100 * MS..=HOUR,
    )
}
