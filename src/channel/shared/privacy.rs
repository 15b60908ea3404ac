//! Streams that an app marks as one client's own.

use http::HeaderMap;

use super::Channel;
use crate::{
    channel::head::Marks,
    config::model::{Fanout, Share},
};

impl Channel {
    /// The app marks its stream as one client's own, and the route has that count: who is in stays,
    /// and nobody else joins.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.settings.load().strict && self.marks().is_private() && !self.is_over()
    }

    /// How the app marks its stream, on a `share: public` route.
    pub(in crate::channel) fn marks(&self) -> Marks {
        *self.marks.lock()
    }

    /// Notes how the stream that opens is marked; the last one counts.
    pub(super) fn note_privacy(&self, app: &HeaderMap, settings: &Fanout) {
        let marks = match settings.share {
            Share::Public => Marks::of(app),
            Share::Credentials => Marks::default(),
        };
        *self.marks.lock() = marks;
        if marks.is_private() && !settings.strict {
            self.route_metrics.private_responses_shared.inc();
        }
    }
}
