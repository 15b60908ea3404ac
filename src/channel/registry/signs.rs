//! What live channels say about the settings of their routes.

use std::{collections::HashMap, sync::Arc};

use super::Registry;
use crate::{
    channel::{head::Marks, shared::Channel},
    clock::Millis,
    config::model::{Action, CookieIdentity, Route, Share},
    hints::{self, split},
    metrics::labels::Hint,
};

/// Between two looks, in seconds.
pub(super) const LOOK_SECONDS: u64 = 5;

impl Registry {
    /// The hints that stand, for whoever asks.
    #[must_use]
    pub fn hints(&self) -> Vec<hints::Row> {
        self.hints.rows()
    }

    /// A client of `channel` brought an id of `given`.
    pub(super) fn note_stray(&self, channel: &Channel, given: &Channel, now: Millis) {
        // The same key: an earlier life of the channel.
        if given.key.route == channel.key.route && given.key != channel.key {
            self.hints
                .stray(&channel.route(), &channel.key, &given.key, now);
        }
    }

    /// A client brought an id that nothing proves, to a channel that is only being opened.
    pub(super) fn note_unproven(&self, channel: &Channel, now: Millis) {
        let detail = "clients brought ids to a channel that had none yet, and nothing proves them";
        let route = channel.route();
        self.hints
            .raise(&route, Hint::UnprovenIds, detail.to_owned(), now);
    }

    /// Compares what clients and apps send with what their routes are configured for.
    pub(super) fn look_for_signs(&self, now: Millis) {
        let channels = self.list(usize::MAX);
        let mut by_route: HashMap<&str, Vec<&Arc<Channel>>> = HashMap::new();
        for channel in &channels {
            let of_route = by_route.entry(&channel.key.route).or_default();
            of_route.push(channel);
        }
        for route in &self.config.load().routes {
            if let Some(channels) = by_route.get(route.name.as_str()) {
                self.look_at(route, channels, now);
            }
        }
        self.hints.tick(now);
    }

    fn look_at(&self, route: &Arc<Route>, channels: &[&Arc<Channel>], now: Millis) {
        let Action::Fanout(settings) = &route.action else {
            return;
        };
        match settings.share {
            Share::Public => {
                let marks = channels.iter().map(|channel| channel.marks());
                let marks = marks.fold(Marks::default(), Marks::or);
                if marks != Marks::default() {
                    let detail = format!("the app sends {marks}");
                    self.hints.raise(route, Hint::MarkedPrivate, detail, now);
                }
            }
            // Who has said which cookies tell clients apart means it.
            Share::Credentials if settings.identity.cookies == CookieIdentity::All => {
                if let Some(detail) = split(channels.iter().map(|channel| &channel.key)) {
                    self.hints.raise(route, Hint::IdentitySplit, detail, now);
                }
            }
            Share::Credentials => {}
        }
    }
}
