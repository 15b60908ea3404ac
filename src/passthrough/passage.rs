//! One request on its way through: where it goes, and how far it has come.

use std::{collections::VecDeque, sync::Arc};

use pingora::upstreams::peer::HttpPeer;

use super::pace::Watch;
use crate::{client::Client, config::model::Route, upstream::gate::Place};

/// What `decide` said about an HTTP/2 request: its driver has asked already, since it alone can
/// hand a stream over. Travels in the request's extensions.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The route.
    pub route: Arc<Route>,
    /// Proxy, or a stream of the client's own.
    pub kind: Kind,
    /// Who asks.
    pub client: Client,
    /// Told of the progress of a request body.
    pub watch: Option<Arc<Watch>>,
}

/// How a request passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary request.
    Proxy,
    /// A stream of one client's own: nothing on the way may buffer it.
    Stream,
}

/// State of one request on its way through.
#[derive(Debug, Default)]
pub struct Passage {
    pub(super) routed: Option<Routed>,
    /// The connection to the app, for as long as the exchange takes.
    pub(super) place: Option<Place>,
    /// The upstream's addresses, once they are resolved, without the one in use; those that did not
    /// answer are gone.
    pub(super) peers: VecDeque<HttpPeer>,
    /// On the current attempt the request head went out whole: the app may have acted on it.
    pub(super) sent: bool,
    /// The client has sent all of the request body.
    pub(super) received: bool,
}
