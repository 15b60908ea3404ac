//! Head + configuration -> what to do. One pure function for HTTP/1 and HTTP/2.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::{
    config::model::{Config, Route},
    error::RefuseReason,
    route::key::{ChannelKey, Scheme},
};

/// The parts of a request head that decide.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Method.
    pub method: &'a Method,
    /// Raw path and query as received (`/a?b`).
    pub target: &'a [u8],
    /// `Host` or `:authority`, port included; empty when an HTTP/1.0 client sent none.
    pub host: &'a str,
    /// Scheme by the listener.
    pub scheme: Scheme,
    /// Header fields.
    pub headers: &'a HeaderMap,
    /// A body is announced (Content-Length above 0, Transfer-Encoding, or no END_STREAM).
    pub has_body: bool,
    /// The peer's address, if it has one.
    pub client: Option<IpAddr>,
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Join a channel.
    FanOut(FanOut),
    /// Pass through to the route's upstream.
    Proxy(Arc<Route>),
    /// Pass through, as a stream of one client's own.
    Stream(Arc<Route>),
    /// Answer it here.
    Refuse(Refusal),
}

/// A request that joins a channel.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// The route taken.
    pub route: Arc<Route>,
    /// The channel.
    pub key: ChannelKey,
    /// Last event id by header, else by query; raw bytes, never empty.
    pub last_event_id: Option<Bytes>,
    /// What kind of client asks; shapes the form of answers, never rights.
    pub reader: Reader,
    /// The client's `Origin`, for answers of our own.
    pub origin: Option<Bytes>,
    /// The peer's address.
    pub client: Option<IpAddr>,
}

/// What kind of client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// `Accept: text/event-stream` with `Cache-Control: no-cache`: a browser's native EventSource.
    EventSource,
    /// Anything else.
    Other,
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// Metric label.
    pub reason: RefuseReason,
    /// One short line for the client: what was wrong and what to do. No secrets, no internals.
    pub text: Cow<'static, str>,
}

/// Decides what happens to a request.
#[must_use]
pub fn decide(_request: &RequestView<'_>, _config: &Config) -> Decision {
    Decision::Refuse(Refusal {
        status: StatusCode::NOT_FOUND,
        reason: RefuseReason::NoRoute,
        text: Cow::Borrowed("no route matches this host and path"),
    })
}
