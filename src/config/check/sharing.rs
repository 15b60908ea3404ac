//! Who shares, who may join, and for how long.

use std::time::Duration;

use super::{
    super::{
        defaults,
        model::Share,
        raw::{Defaults, TimeOrOff},
    },
    fanout::{DAY, MS, Place},
};

pub(super) fn reauth(
    route: &Defaults,
    defaults: &Defaults,
    share: Share,
    place: &Place<'_, '_>,
) -> Option<Duration> {
    let at = place.of(&["reauth"]);
    if share == Share::Public {
        if route.reauth.is_some() {
            at.key_problem(
                "`reauth` has no effect under `share: public`, which sends no credentials; leave \
                 one of the two out",
            );
        }
        return None;
    }
    match route.reauth.or(defaults.reauth) {
        Some(TimeOrOff(None)) => None,
        Some(TimeOrOff(time)) => Some(at.time(time, defaults::REAUTH, 100 * MS..=DAY)),
        None => Some(defaults::REAUTH),
    }
}
