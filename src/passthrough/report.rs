//! Log lines about requests that failed. Pingora's own are switched off: they hold the request line
//! and come one per request, however many there are.

use pingora::{Error, ErrorSource};

use super::Routed;
use crate::{clock, upstream::gate::Gates};

/// Logs a failed request: an app's failures as warnings, but seldom, the rest at debug.
pub(super) fn failure(error: &Error, routed: Option<&Routed>, gates: &Gates) {
    let kind = error.etype().as_str();
    let Some(Routed { route, .. }) = routed else {
        tracing::debug!(kind, "request failed before it had a route");
        return;
    };
    let (upstream, route) = (&route.upstream, &route.name);
    let name = &upstream.name;
    if *error.esource() != ErrorSource::Upstream {
        tracing::debug!(
            route,
            upstream = name,
            kind,
            "request failed on the client's side"
        );
    } else if let Some(held_back) = gates.of(upstream).unserved().pass(clock::now()) {
        tracing::warn!(
            route,
            upstream = name,
            kind,
            held_back,
            "the app did not serve a request"
        );
    } else {
        tracing::debug!(
            route,
            upstream = name,
            kind,
            "the app did not serve a request"
        );
    }
}
