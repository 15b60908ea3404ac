//! When a client is too slow, and what then.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        defaults, event_cost,
        model::{EventLimits, RingLimits, SlowPolicy, SlowReader},
        raw::{self, Defaults},
    },
    fanout::{HOUR, MS, Place, nested},
};

pub(super) fn slow(
    route: &Defaults,
    defaults: &Defaults,
    ring: &RingLimits,
    event: &EventLimits,
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
    if events_max > ring.events_max {
        events_at.problem(&format!(
            "the ring holds {} events: a client that is {events_max} behind has lost some already; \
             lower it, or raise `ring.events_max`",
            ring.events_max
        ));
    }
    if bytes_max > ring.bytes_max {
        bytes_at.problem(
            "the ring holds less: a client that is so far behind has lost events already; \
             lower it, or raise `ring.bytes_max`",
        );
    }
    let one_event = event_cost::of_largest(event);
    if bytes_at.is_written() && bytes_max < one_event {
        bytes_at.problem(&format!(
            "one event may take {one_event} bytes: a client that has only that one to take would be \
             too slow already; raise it, or lower `event.bytes_max`"
        ));
    }
    SlowReader {
        policy: policy(route, defaults, place),
        events_max,
        bytes_max,
        stall_max: stall_max(route, defaults, place),
    }
}

fn policy(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> SlowPolicy {
    let policy = nested!(route, defaults, slow.policy).unwrap_or(raw::SlowPolicy::Disconnect);
    if policy == raw::SlowPolicy::Conflate {
        if let Some(by) = nested!(route, defaults, slow.conflate_by) {
            return SlowPolicy::Conflate(Arc::new(by));
        }
        place.of(&["slow"]).missing(
            "conflate_by",
            "`policy: conflate` needs to know what makes two events the same thing at two moments; \
             add `conflate_by: event` (their type), `conflate_by: id`, or a JSON pointer into their \
             data such as `conflate_by: /symbol`",
        );
    }
    // What `defaults` say may be meant for other routes.
    let own = route.slow.as_ref();
    if own.is_some_and(|own| own.conflate_by.is_some()) && policy != raw::SlowPolicy::Conflate {
        place.route.key("slow").key("conflate_by").key_problem(
            "`conflate_by` has an effect under `policy: conflate` only; leave it out, or set that",
        );
    }
    match policy {
        raw::SlowPolicy::Skip => SlowPolicy::Skip,
        raw::SlowPolicy::Disconnect | raw::SlowPolicy::Conflate => SlowPolicy::Disconnect,
    }
}

pub(super) fn stall_max(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> Duration {
    place.of(&["slow", "stall_max"]).time(
        nested!(route, defaults, slow.stall_max),
        defaults::STALL_MAX,
        100 * MS..=HOUR,
    )
}
