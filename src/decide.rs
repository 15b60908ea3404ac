//! Head + configuration -> what to do. One pure function for HTTP/1 and HTTP/2.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN, UPGRADE},
};

use crate::{
    answer::Answer,
    config::model::{Action, Config, Fanout, Route},
    cors,
    error::RefuseReason,
    route::key::{ChannelKey, Scheme, Target, is_ambiguous},
};

/// The id of the last event that a client has.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Longest last event id that we look at. Ours have 31 bytes; an app's are bounded by
/// `event.id_bytes_max`, and a longer one can be in no ring.
const LAST_EVENT_ID_BYTES_MAX: usize = 4096;

/// The parts of a request head that decide.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Method.
    pub method: &'a Method,
    /// Raw path and query as received (`/a?b`).
    pub target: &'a [u8],
    /// `Host` or `:authority`, port included; empty when an HTTP/1.0 client sent none.
    pub host: &'a str,
    /// The host that the client asked for, where a trusted proxy says so.
    pub forwarded_host: Option<&'a str>,
    /// The client's scheme.
    pub scheme: Scheme,
    /// Header fields.
    pub headers: &'a HeaderMap,
    /// A body is announced (Content-Length above 0, Transfer-Encoding, or no END_STREAM).
    pub has_body: bool,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Join a channel.
    FanOut(Box<FanOut>),
    /// Pass through to the route's upstream.
    Proxy(Arc<Route>),
    /// Pass through, as a stream of one client's own.
    Stream(Arc<Route>),
    /// Answer it here.
    Refuse(Refusal),
    /// Answer it here, and there is nothing wrong with it.
    Answer(Box<Answer>),
}

/// A request that joins a channel.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// The route taken.
    pub route: Arc<Route>,
    /// Its fan-out settings.
    pub settings: Arc<Fanout>,
    /// The channel.
    pub key: ChannelKey,
    /// Last event id by header, else by query; raw bytes, never empty.
    pub last_event_id: Option<Bytes>,
    /// What kind of client asks; shapes the form of answers, never rights.
    pub reader: Reader,
    /// The client's `Origin`, for answers of our own.
    pub origin: Option<Bytes>,
    /// The client's address.
    pub client: Option<IpAddr>,
}

impl FanOut {
    /// Lets the client's page read an answer with these fields, if its route says so.
    pub fn allow(&self, fields: &mut cors::Lines) {
        if let Some(cors) = &self.settings.cors {
            cors::apply(fields, cors, self.origin.as_deref());
        }
    }
}

/// What kind of client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// `Accept: text/event-stream` with `Cache-Control: no-cache`: a browser's native EventSource
    /// (HTML standard 9.2.2 sets the first, its fetch's cache mode `no-store` brings the second).
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
pub fn decide(request: &RequestView<'_>, config: &Config) -> Decision {
    let target = Target::new(request.target);
    if is_ambiguous(target.path) {
        return bad_request("the path holds a dot segment, a backslash or a NUL");
    }
    let path = String::from_utf8_lossy(target.path);
    if let Some(decision) = preflight(request, &path, config) {
        return decision;
    }
    let Some(route) = config.table.find(request.host, &path, request.method) else {
        return refuse(
            StatusCode::NOT_FOUND,
            RefuseReason::NoRoute,
            "no route matches this host, path and method",
        );
    };
    match &route.action {
        Action::Proxy => Decision::Proxy(route.clone()),
        Action::Stream(_) => Decision::Stream(route.clone()),
        // Only a GET is one stream for all. A WebSocket handshake is a GET too, but wants a
        // connection of its own.
        Action::Fanout(_) if request.method != Method::GET || wants_websocket(request.headers) => {
            Decision::Proxy(route.clone())
        }
        Action::Fanout(settings) => fan_out(request, &target, route, settings),
    }
}

/// Answers the question whether a page of another origin may ask for a stream (Fetch standard,
/// section 3.2.2), on routes that say so. About other methods the app is asked, since it serves them.
fn preflight(request: &RequestView<'_>, path: &str, config: &Config) -> Option<Decision> {
    let origin = request.headers.get(ORIGIN)?.as_bytes();
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if request.method != Method::OPTIONS || method.as_bytes() != b"GET" {
        return None;
    }
    let route = config.table.find(request.host, path, &Method::GET)?;
    let Action::Fanout(settings) = &route.action else {
        return None;
    };
    let cors = settings.cors.as_ref()?;
    Some(if cors::is_listed(cors, origin) {
        Decision::Answer(Box::new(cors::preflight(cors, origin)))
    } else {
        foreign()
    })
}

fn foreign() -> Decision {
    refuse(
        StatusCode::FORBIDDEN,
        RefuseReason::Origin,
        "pages of this origin may not read this stream",
    )
}

fn fan_out(
    request: &RequestView<'_>,
    target: &Target<'_>,
    route: &Arc<Route>,
    settings: &Arc<Fanout>,
) -> Decision {
    if request.has_body {
        return bad_request("a GET for an event stream carries no body");
    }
    if let (Some(cors), Some(origin)) = (&settings.cors, request.headers.get(ORIGIN))
        && !cors::is_listed(cors, origin.as_bytes())
        && !cors::is_own(origin.as_bytes(), request.host)
    {
        return foreign();
    }
    let key = ChannelKey::of(
        &route.name,
        settings,
        target,
        request.host,
        request.scheme,
        request.headers,
    );
    let key = match key {
        Ok(key) => key.forwarded_from(request.forwarded_host),
        Err(error) => return bad_request(error.text()),
    };
    Decision::FanOut(Box::new(FanOut {
        route: route.clone(),
        settings: settings.clone(),
        key,
        last_event_id: last_event_id(request.headers, target, &settings.last_event_id_query),
        reader: reader(request.headers),
        origin: request
            .headers
            .get(ORIGIN)
            .map(|v| Bytes::copy_from_slice(v.as_bytes())),
        client: request.client,
    }))
}

fn bad_request(text: &'static str) -> Decision {
    refuse(StatusCode::BAD_REQUEST, RefuseReason::BadRequest, text)
}

fn refuse(status: StatusCode, reason: RefuseReason, text: &'static str) -> Decision {
    Decision::Refuse(Refusal {
        status,
        reason,
        text: Cow::Borrowed(text),
    })
}

/// It asks for a WebSocket, which is a connection of its own.
#[must_use]
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(UPGRADE)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What kind of client sent these fields.
#[must_use]
pub fn reader(headers: &HeaderMap) -> Reader {
    let is = |name: HeaderName, wanted: &[u8]| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted))
    };
    if is(ACCEPT, b"text/event-stream") && is(CACHE_CONTROL, b"no-cache") {
        Reader::EventSource
    } else {
        Reader::Other
    }
}

/// The id of the last event that a client has, from its header or a parameter of its query; never
/// empty. The header wins: a browser that reconnects sends it, while the query of its URL is the old one.
#[must_use]
pub fn last_event_id(headers: &HeaderMap, target: &Target<'_>, parameter: &str) -> Option<Bytes> {
    let id = match headers.get(LAST_EVENT_ID) {
        Some(value) => value.as_bytes().to_vec(),
        None => form_decoded(
            target
                .query?
                .split(|byte| *byte == b'&')
                .find_map(|pair| pair.strip_prefix(parameter.as_bytes())?.strip_prefix(b"="))?,
        ),
    };
    if id.is_empty() || id.contains(&0) {
        return None;
    }
    // Cut, not dropped: it is an id all the same, so its bearer must be told of a gap.
    let looked_at = id.get(..LAST_EVENT_ID_BYTES_MAX).unwrap_or(&id);
    Some(Bytes::copy_from_slice(looked_at))
}

/// WHATWG URL section 5.1, for one value: `+` is a space, a stray percent sign is itself.
fn form_decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        (rest, _) = match escape {
            Some(byte) => (tail.get(2..).unwrap_or_default(), out.push(byte)),
            None => (tail, out.push(if byte == b'+' { b' ' } else { byte })),
        };
    }
    out
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
