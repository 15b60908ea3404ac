//! Keys for tests.

use super::{ChannelKey, Scheme};

/// The key of all who ask the route `r` for `target`, whoever they are.
pub(crate) fn key(target: &str) -> ChannelKey {
    ChannelKey {
        route: "r".to_owned(),
        scheme: Scheme::Http,
        host: "h".to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
    }
}
