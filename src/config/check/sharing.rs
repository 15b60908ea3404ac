//! Who shares, who may join, and for how long.

use std::time::Duration;

use super::{
    super::{
        defaults,
        model::{OnEnd, Share},
        raw::{Defaults, TimeOrOff},
    },
    fanout::{DAY, MS, Place},
};

pub(super) fn strict(
    route: &Defaults,
    defaults: &Defaults,
    share: Share,
    place: &Place<'_, '_>,
) -> bool {
    if share == Share::Credentials {
        if route.strict == Some(true) {
            place.of(&["strict"]).key_problem(
                "`strict` has no effect under `share: credentials`, which shares with one identity \
                 only; leave it out",
            );
        }
        return false;
    }
    route.strict.or(defaults.strict).unwrap_or(false)
}

pub(super) fn reauth(
    route: &Defaults,
    defaults: &Defaults,
    share: Share,
    on_end: OnEnd,
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
        // The app would begin to give the answer once more.
        None if on_end == OnEnd::Final => None,
        Some(TimeOrOff(None)) => None,
        Some(TimeOrOff(time)) => Some(at.time(time, defaults::REAUTH, 100 * MS..=DAY)),
        None => Some(defaults::REAUTH),
    }
}
