//! Channels for tests.

use std::sync::Arc;

use super::Channel;
use crate::{
    channel::id::Epoch,
    clock::Millis,
    config::{
        model::{Action, Fanout, Share},
        testing::{fanout, route},
    },
    metrics::Metrics,
    route::key::testing::key,
};

/// A channel that nobody has joined, of a route that shares with all.
pub(crate) fn channel(change: impl FnOnce(&mut Fanout)) -> Channel {
    let mut settings = fanout();
    settings.share = Share::Public;
    change(&mut settings);
    let settings = Arc::new(settings);
    let route = route("r", "/", Action::Fanout(settings.clone()));
    let metrics = Arc::new(Metrics::new());
    Channel::new(key("/"), Epoch::new(1), route, settings, metrics, Millis(0))
}
