//! The settings of a stream route: those of fan-out that make sense for a stream of one client's own.

use super::{
    super::{
        model::{Stream, Watchdog},
        raw::Defaults,
    },
    fanout::{Place, heartbeat, retry, watchdog},
    slow::stall_max,
};

/// The settings that have an effect; of `slow` only `stall_max`.
pub(super) const KEYS: [&str; 4] = ["heartbeat", "watchdog", "retry", "slow"];

/// Checks the settings of one route. `defaults` may hold all others too, for routes that fan out.
pub(super) fn stream(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) -> Stream {
    for key in route.fanout_keys() {
        if !KEYS.contains(&key) {
            place.route.key(key).key_problem(&format!(
                "`{key}` has no effect under `action: stream`; leave it out, or write \
                 `action: fanout`"
            ));
        }
    }
    if let Some(slow) = &route.slow {
        for (key, is_written) in [
            ("policy", slow.policy.is_some()),
            ("conflate_by", slow.conflate_by.is_some()),
            ("events_max", slow.events_max.is_some()),
            ("bytes_max", slow.bytes_max.is_some()),
        ] {
            if is_written {
                place.route.key("slow").key(key).key_problem(&format!(
                    "`{key}` has no effect under `action: stream`, which keeps no events; leave it \
                     out, or write `action: fanout`"
                ));
            }
        }
    }
    Stream {
        heartbeat: heartbeat(route, defaults, place),
        stall_max: stall_max(route, defaults, place),
        silence_max: match watchdog(route, defaults, place) {
            Watchdog::After(silence_max) => Some(silence_max),
            // What the app's pace is, nobody listens for: its bytes pass as they are.
            Watchdog::Auto | Watchdog::Off => None,
        },
        retry: retry(route, defaults, place),
    }
}
