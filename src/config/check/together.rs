//! Settings that must fit together. They are judged as they are in force on a route: what contradicts
//! itself under `defaults` is well where the route says otherwise.

use std::time::Duration;

use super::{
    super::{
        event_cost,
        model::{Cors, Fanout, Ids, LateJoin, OnEnd, Origins, QuerySelection, RetryRange, Share},
        raw::{self, AllOr, Defaults},
        units::Time,
    },
    fanout::{Place, nested},
};

/// Longest id of an app that resumes by it: escaped threefold it is well within a request head.
const RESUMED_ID_BYTES_MAX: usize = 1 << 10;

/// Judges the settings of one route that fans out: what is in force, and where it was written.
pub(super) fn fanout(
    route: &Defaults,
    defaults: &Defaults,
    in_force: &Fanout,
    place: &Place<'_, '_>,
) {
    let Fanout { backoff, .. } = in_force;
    ordered("backoff", backoff.min, backoff.max, place);
    retry(&in_force.retry, place);
    match in_force.on_end {
        OnEnd::Final => one_answer(route, defaults, in_force, place),
        OnEnd::Pass | OnEnd::Reconnect => late_join(in_force, place),
    }
    identity(route, defaults, in_force.share, place);
    cors(route, defaults, in_force.cors.as_ref(), place);
    query(in_force, place);
    resumed_ids(in_force, place);
    one_event(in_force, place);
    slow(in_force, place);
    conflation(route, defaults, place);
}

/// Judges the range of reconnect times, which stream routes have as well.
pub(super) fn retry(retry: &RetryRange, place: &Place<'_, '_>) {
    ordered("retry", retry.min, retry.max, place);
}

fn ordered(range: &str, min: Duration, max: Duration, place: &Place<'_, '_>) {
    if min <= max {
        return;
    }
    let (min_at, max_at) = (place.of(&[range, "min"]), place.of(&[range, "max"]));
    let (min, max) = (Time(min), Time(max));
    if min_at.is_written() && max_at.is_written() {
        let message = format!("`max` ({max}) is below `min` ({min}); raise `max` or lower `min`");
        max_at.clash(&min_at, "`min` here", &message);
    } else if min_at.is_written() {
        min_at.problem(&format!(
            "`min` ({min}) is above the default of `max` ({max}); set `max` too"
        ));
    } else {
        max_at.problem(&format!(
            "`max` ({max}) is below the default of `min` ({min}); set `min` too"
        ));
    }
}

/// What makes no sense where the stream is one answer.
fn one_answer(route: &Defaults, defaults: &Defaults, in_force: &Fanout, place: &Place<'_, '_>) {
    // Of the route's own word only: what `defaults` say may be meant for other routes.
    let own = if route.on_end.is_some() {
        route
    } else {
        defaults
    };
    if route.late_join.or(own.late_join).is_some() {
        place.of(&["late_join"]).key_problem(
            "`late_join` has no effect under `on_end: final`: who comes late gets the whole answer; \
             leave one of the two out",
        );
    }
    if in_force.ids == Ids::Unique {
        place.of(&["ids"]).problem(
            "under `on_end: final` ids must tell who has the whole answer, and the app's may be \
             missing; write `ids: local`",
        );
    }
    let (kept, max) = (Time(in_force.linger), Time(in_force.retry.max));
    if kept.0 <= max.0 {
        let (linger, retry_max) = (place.of(&["linger"]), place.of(&["retry", "max"]));
        let at = if linger.is_written() {
            linger
        } else {
            retry_max
        };
        at.problem(&format!(
            "the answer is kept for {kept} (`linger`), and a browser may come back after {max} \
             (`retry.max`): the app would have to give it again; raise `linger`, or lower `retry.max`"
        ));
    }
}

fn late_join(in_force: &Fanout, place: &Place<'_, '_>) {
    let held = in_force.ring.events_max;
    if let LateJoin::Last(events) = in_force.late_join
        && usize::try_from(events).is_ok_and(|events| events > held)
    {
        place.of(&["late_join"]).problem(&format!(
            "the ring holds {held} events, fewer than {events}; raise `ring.events_max`, or write \
             `all`"
        ));
    }
}

fn identity(route: &Defaults, defaults: &Defaults, share: Share, place: &Place<'_, '_>) {
    let headers = nested!(route, defaults, identity.headers);
    let cookies = nested!(route, defaults, identity.cookies);
    let names_nobody =
        headers.as_ref().is_some_and(Vec::is_empty) && cookies == Some(AllOr::Names(Vec::new()));
    if share == Share::Credentials && names_nobody {
        place.of(&["identity"]).problem(
            "without a header or a cookie there is no identity: everybody would share; name what \
             tells clients apart, or write `share: public` if the stream is the same for everybody",
        );
    }
}

fn cors(route: &Defaults, defaults: &Defaults, in_force: Option<&Cors>, place: &Place<'_, '_>) {
    let is_written = route.cors.is_some() || defaults.cors.is_some();
    if is_written && nested!(route, defaults, cors.origins).is_none() {
        place.of(&["cors"]).missing(
            "origins",
            "key `origins` is missing; list them, as in `[https://app.example.com]`, or write \
             `origins: all`",
        );
    }
    if in_force.is_some_and(|cors| cors.credentials && cors.origins == Origins::All) {
        place.of(&["cors", "credentials"]).problem(
            "with `origins: all` any site could read what its visitors' cookies give them here; \
             list the origins, or leave `credentials` out",
        );
    }
}

fn query(in_force: &Fanout, place: &Place<'_, '_>) {
    let QuerySelection::Only(names) = &in_force.query else {
        return;
    };
    let name = &in_force.last_event_id_query;
    if let Some(index) = names.iter().position(|selected| selected == name) {
        place.of(&["query"]).item(index).problem(&format!(
            "`{name}` carries the last event id, which is never sent to the app; leave it out, or \
             change `last_event_id_query`"
        ));
    }
}

fn resumed_ids(in_force: &Fanout, place: &Place<'_, '_>) {
    if in_force.resume && in_force.event.id_bytes_max > RESUMED_ID_BYTES_MAX {
        place.of(&["event", "id_bytes_max"]).problem(&format!(
            "under `resume: true` clients send the app's ids back in a header, which takes \
             {RESUMED_ID_BYTES_MAX} bytes of them; lower it"
        ));
    }
}

fn one_event(in_force: &Fanout, place: &Place<'_, '_>) {
    let Fanout { ring, event, .. } = in_force;
    let fits = event_cost::bytes_that_fit(ring.bytes_max, event.fields_max, event.id_bytes_max);
    if event.bytes_max > fits {
        place.of(&["event", "bytes_max"]).problem(&format!(
            "an event of this size does not fit into the ring, which takes up to {fits} bytes of \
             the app's; lower it, or raise `ring.bytes_max`"
        ));
    }
}

fn slow(in_force: &Fanout, place: &Place<'_, '_>) {
    let Fanout {
        slow, ring, event, ..
    } = in_force;
    let bytes_at = place.of(&["slow", "bytes_max"]);
    if slow.events_max > ring.events_max {
        place.of(&["slow", "events_max"]).problem(&format!(
            "the ring holds {} events: a client that is {} behind has lost some already; lower it, \
             or raise `ring.events_max`",
            ring.events_max, slow.events_max
        ));
    }
    if slow.bytes_max > ring.bytes_max {
        bytes_at.problem(
            "the ring holds less: a client that is so far behind has lost events already; lower it, \
             or raise `ring.bytes_max`",
        );
    }
    let largest = event_cost::of_largest(event);
    if bytes_at.is_written() && slow.bytes_max < largest {
        bytes_at.problem(&format!(
            "one event may take {largest} bytes: a client that has only that one to take would be \
             too slow already; raise it, or lower `event.bytes_max`"
        ));
    }
}

fn conflation(route: &Defaults, defaults: &Defaults, place: &Place<'_, '_>) {
    let is_policy = nested!(route, defaults, slow.policy) == Some(raw::SlowPolicy::Conflate);
    let by = nested!(route, defaults, slow.conflate_by);
    if is_policy && by.is_none() {
        place.of(&["slow"]).missing(
            "conflate_by",
            "`policy: conflate` needs to know what makes two events the same thing at two moments; \
             add `conflate_by: event` (their type), `conflate_by: id`, or a JSON pointer into their \
             data such as `conflate_by: /symbol`",
        );
    }
    // What `defaults` say may be meant for other routes.
    let own = route.slow.as_ref();
    if own.is_some_and(|own| own.conflate_by.is_some()) && !is_policy {
        place.route.key("slow").key("conflate_by").key_problem(
            "`conflate_by` has an effect under `policy: conflate` only; leave it out, or set that",
        );
    }
}
