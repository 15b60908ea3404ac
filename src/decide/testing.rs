//! Requests for tests.

use std::sync::Arc;

use super::{FanOut, Reader};
use crate::{
    config::model::{Action, Route},
    route::key::ChannelKey,
};

/// A request for a channel of `route`, of a client that is no page and nowhere in particular.
pub(crate) fn fan_out(route: &Arc<Route>, key: ChannelKey) -> FanOut {
    let Action::Fanout(settings) = &route.action else {
        panic!("{} does not fan out", route.name);
    };
    FanOut {
        route: route.clone(),
        settings: settings.clone(),
        key,
        last_event_id: None,
        reader: Reader::Other,
        origin: None,
        client: None,
    }
}
