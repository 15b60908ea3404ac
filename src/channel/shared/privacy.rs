//! Streams that an app marks as one client's own.

use std::sync::atomic::Ordering;

use http::HeaderMap;

use super::Channel;
use crate::{
    channel::head::marked_private,
    clock,
    config::model::{Fanout, Share},
    logging::Seldom,
};

/// Marked streams are counted; a line about them is written at most this often, in seconds.
static MARKED: Seldom = Seldom::new(60);

impl Channel {
    /// The app marks its stream as one client's own, and the route has that count: who is in stays,
    /// and nobody else joins.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.is_private.load(Ordering::Acquire) && self.settings.load().strict && !self.is_over()
    }

    /// Notes whether the stream that opens is marked; the last one counts.
    pub(super) fn note_privacy(&self, app: &HeaderMap, settings: &Fanout) {
        let is_private = settings.share == Share::Public && marked_private(app);
        self.is_private.store(is_private, Ordering::Release);
        if !is_private {
            return;
        }
        if !settings.strict {
            self.route_metrics.private_responses_shared.inc();
        }
        if let Some(held_back) = MARKED.pass(clock::now()) {
            let advice = if settings.strict {
                "further clients get streams of their own (`strict`)"
            } else {
                "it is shared all the same; `strict: true` would not do so"
            };
            tracing::warn!(
                route = self.key.route,
                held_back,
                advice,
                "on a `share: public` route the app marks a stream as one client's own"
            );
        }
    }
}
