//! The app: it opens its stream, publishes, breaks, ends, and comes back.

use std::sync::Arc;

use bytes::Bytes;
use rand::{Rng, seq::IndexedRandom};

use super::{World, client};
use crate::{
    channel::{
        shared::Channel,
        state::{Next, Outcome},
    },
    clock,
    sse::event::Event,
};

/// The longest event, about.
const PADDING_BYTES_MAX: usize = 8_000;

/// The app's stream, as its reader would drive it.
pub(super) enum App {
    /// Nobody asked.
    Quiet,
    /// Asked, and not yet answered.
    Opening(Arc<Channel>),
    Live(Arc<Channel>),
}

impl World {
    pub(super) fn publish(&mut self) {
        let App::Live(channel) = &self.app else {
            return;
        };
        let count = self.random.random_range(1..=12);
        // At times it is more than a connection takes at once.
        let seldom = if self.heavy { 3 } else { 40 };
        let most = if self.random.random_ratio(1, seldom) {
            PADDING_BYTES_MAX
        } else {
            200
        };
        let events: Vec<Event> = (0..count)
            .map(|_| {
                let padding = " ".repeat(self.random.random_range(0..most));
                let event = Event {
                    name: client::key(self.next).into(),
                    data: Bytes::from(format!("{}{padding}", self.next)),
                    id: Some(Bytes::from(self.next.to_string())),
                };
                self.next += 1;
                event
            })
            .collect();
        channel.publish(&events, clock::now());
    }

    pub(super) fn app_opens(&mut self) {
        if let Some(channel) = self.rig.asked.0.lock().pop() {
            let before = std::mem::replace(&mut self.app, App::Opening(channel));
            assert!(matches!(before, App::Quiet), "one upstream at a time");
        }
        let now = clock::now();
        let App::Opening(channel) = &self.app else {
            return;
        };
        if self.random.random_ratio(1, 4) {
            if channel.failed(Outcome::Unreachable, now) == Next::Stop {
                self.app = App::Quiet;
            }
        } else if channel.opened(&http::HeaderMap::new(), now) {
            self.app = App::Live(channel.clone());
        } else {
            self.app = App::Quiet;
        }
    }

    pub(super) fn app_breaks(&mut self) {
        let now = clock::now();
        if let App::Live(channel) = &self.app {
            self.app = match channel.cut(now) {
                Next::Retry => App::Opening(channel.clone()),
                Next::Stop => App::Quiet,
            };
            // What it sends meanwhile nobody hears.
            self.next += self.random.random_range(0..3);
        }
    }

    pub(super) fn app_ends(&mut self) {
        let now = clock::now();
        if let App::Live(channel) = &self.app {
            self.ends.push(self.next);
            assert_eq!(channel.ended(now), Next::Stop);
            self.app = App::Quiet;
            self.next += self.random.random_range(0..3);
        }
    }

    /// The life of the channel ends under its readers.
    pub(super) fn channel_ends(&mut self) {
        let channel = match std::mem::replace(&mut self.app, App::Quiet) {
            App::Opening(channel) | App::Live(channel) => channel,
            App::Quiet => return,
        };
        let outcomes = [
            Outcome::Broken,
            Outcome::Refused,
            Outcome::Retired,
            Outcome::Revoked,
        ];
        channel.finish(*outcomes.choose(&mut self.random).expect("some"));
        // Those who come back by themselves get a whole end.
        for client in &mut self.clients {
            client.may_end_whole();
        }
        self.next += self.random.random_range(0..3);
    }
}
