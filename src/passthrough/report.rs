//! Log lines about requests that failed. Pingora's own are switched off: they hold the request line
//! and come one per request, however many there are.

use std::sync::atomic::{AtomicU64, Ordering};

use pingora::{Error, ErrorSource};

use super::Routed;
use crate::clock;

/// Least time between two warnings about one process's apps.
const WARNING_INTERVAL_MS: u64 = 1_000;

/// Logs a failed request: the app's failures as warnings, one a second at most, the rest at debug.
pub(super) fn failure(error: &Error, routed: Option<&Routed>) {
    static LAST_MS: AtomicU64 = AtomicU64::new(0);
    static UNREPORTED: AtomicU64 = AtomicU64::new(0);

    let route = routed.map_or("-", |routed| routed.route.name.as_str());
    let upstream = routed.map_or("-", |routed| routed.route.upstream.name.as_str());
    let kind = error.etype().as_str();
    if *error.esource() != ErrorSource::Upstream {
        tracing::debug!(route, upstream, kind, "request failed on the client's side");
        return;
    }
    let now = clock::now().0.max(1);
    let last = LAST_MS.load(Ordering::Relaxed);
    let due = last == 0 || now.saturating_sub(last) >= WARNING_INTERVAL_MS;
    let ours = due
        && LAST_MS
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if ours {
        let unreported = UNREPORTED.swap(0, Ordering::Relaxed);
        tracing::warn!(
            route,
            upstream,
            kind,
            unreported,
            "the app did not serve a request"
        );
    } else {
        UNREPORTED.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(route, upstream, kind, "the app did not serve a request");
    }
}
