//! One exchange with an app: connect, ask, read the head, read the body.
//!
//! What matters to a channel is how a body ends: the app's own end is one thing, a cut another. So
//! each read tells data, [`Part::End`] and [`Cut`] apart. Nothing here retries, and nothing keeps
//! time but for connecting.
//!
//! By HTTP/1.1 an exchange has a connection of its own, by HTTP/2 a stream of a shared one. Dropping
//! a future or the [`Body`] closes the one and resets the other.

mod attempt;
mod call;
mod duplex;
mod failure;
mod line;
mod link;
mod trunk;
mod trunks;

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, uri::Scheme};
use pingora::{
    Error,
    connectors::TransportConnector,
    http::RequestHeader,
    protocols::{ALPN, Stream, http::v1::client::HttpSession as Http1Session},
    upstreams::peer::{HttpPeer, Peer as _},
};

pub use self::{
    attempt::once_more_if_untouched,
    duplex::Uplink,
    failure::{Cut, CutKind, OpenError},
    link::{Downlink, Heard},
};
use self::{
    attempt::{judged, outcome},
    call::Order,
    link::Link,
    trunk::Trunk,
    trunks::{Dialled, Trunks, Way},
};
use super::{
    gate::{Place, Turn},
    peer::{Peers, Purpose},
    request::UpstreamRequest,
};
use crate::{
    clock::{self, Millis},
    config::model::{AppHttp, Upstream},
};

/// Bytes of a refusal's body that are kept for those who wait for the channel.
pub const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// Nothing.
    None,
    /// As much as its `Content-Length` says.
    Sized,
    /// Nobody knows how much.
    Unsized,
}

/// Opens exchanges. One per process.
pub struct Dialer {
    transport: TransportConnector,
    trunks: Trunks,
    peers: Arc<Peers>,
}

impl Dialer {
    /// Reads the system's authorities, so it takes a few milliseconds.
    #[must_use]
    pub fn new(peers: Arc<Peers>) -> Self {
        Self {
            transport: TransportConnector::new(None),
            trunks: Trunks::default(),
            peers,
        }
    }

    /// Waits for a turn for as long as `patience`, connects and asks.
    ///
    /// # Errors
    /// Those of [`Dialer::turn`] and [`Dialer::ask_in_turn`].
    pub async fn ask(
        &self,
        upstream: &Upstream,
        request: &UpstreamRequest,
        patience: Duration,
    ) -> Result<Asked, OpenError> {
        let turn = self.turn(upstream, patience).await?;
        self.ask_in_turn(turn, upstream, request).await
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When none comes within `patience`.
    pub async fn turn(&self, upstream: &Upstream, patience: Duration) -> Result<Turn, OpenError> {
        let gate = self.peers.gates.of(upstream);
        tokio::time::timeout(patience, gate.turn())
            .await
            .map_err(|_| OpenError::Busy(gate.crowd()))
    }

    /// Connects and asks.
    ///
    /// # Errors
    /// When the app cannot be reached within its `connect_timeout` (for each address), or does not
    /// take the request.
    pub async fn ask_in_turn(
        &self,
        turn: Turn,
        upstream: &Upstream,
        request: &UpstreamRequest,
    ) -> Result<Asked, OpenError> {
        let head = Box::new(request.to_pingora().map_err(OpenError::Request)?);
        match self.put(upstream, head).await {
            Ok(link) => Ok(Asked {
                downlink: Downlink::new(link),
                turn,
                attempt_time_max: upstream.connect_timeout,
            }),
            Err(error) => {
                drop(turn.end(outcome(Err(&error))));
                Err(error)
            }
        }
    }

    /// Sends a request that has no body.
    async fn put(&self, upstream: &Upstream, head: Box<RequestHeader>) -> Result<Link, OpenError> {
        let way = self.reach(upstream, &head, RequestBody::None, clock::now());
        let stream = match way.await? {
            Way::Own(stream) => stream,
            Way::Shared(call, _) => return Ok(Link::Shared(call)),
        };
        let mut session = Box::new(Http1Session::new(stream));
        session.write_timeout = Some(upstream.connect_timeout);
        session
            .write_request_header(head)
            .await
            .map_err(OpenError::no_head)?;
        Ok(Link::Own(session))
    }

    /// Finds a way to the app: tries each of its addresses once, in order. By HTTP/2 the head is sent
    /// with that.
    async fn reach(
        &self,
        upstream: &Upstream,
        head: &RequestHeader,
        body: RequestBody,
        now: Millis,
    ) -> Result<Way, OpenError> {
        let scheme = match upstream.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let order = match upstream.http {
            AppHttp::One => None,
            AppHttp::Two | AppHttp::Auto => {
                Some(Order::new(head, scheme, body).map_err(OpenError::Request)?)
            }
        };
        let resolving = self.peers.resolve(upstream, Purpose::EventStream, now);
        let mut failure = OpenError::Unreachable("it has no address".to_owned());
        for peer in &resolving.await? {
            let way = match &order {
                None => self.connect(peer).await.map(Way::Own),
                Some(order) => {
                    let dial = self.dial(upstream, peer);
                    self.trunks.way(peer.reuse_hash(), order, dial).await
                }
            };
            match way {
                Ok(way) => return Ok(way),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect(&self, peer: &HttpPeer) -> Result<Stream, OpenError> {
        let stream = self.stream(peer).await;
        stream.map_err(|error| OpenError::unreachable(peer, &error))
    }

    /// A fresh connection, for whoever speaks by himself.
    ///
    /// # Errors
    /// The app cannot be reached.
    pub async fn stream(&self, peer: &HttpPeer) -> pingora::Result<Stream> {
        let connecting = Box::pin(self.transport.new_stream(peer));
        connecting.await.map_err(Error::into_up)
    }

    /// Connects to an app that may speak HTTP/2.
    async fn dial(&self, upstream: &Upstream, peer: &HttpPeer) -> Result<Dialled, OpenError> {
        let unreachable =
            |problem: &str| OpenError::Unreachable(format!("{}: {problem}", peer.address()));
        let stream = self.connect(peer).await?;
        let is_agreed = match upstream.tls {
            Some(_) => stream.selected_alpn_proto() == Some(ALPN::H2),
            // Nothing was asked: the configuration says so.
            None => true,
        };
        match upstream.http {
            AppHttp::Two | AppHttp::Auto if is_agreed => {}
            AppHttp::One | AppHttp::Auto => return Ok(Dialled::One(stream)),
            AppHttp::Two => return Err(unreachable("it does not offer HTTP/2 (ALPN)")),
        }
        let counted = self.peers.gates.of(upstream).hold_shared();
        let opening = tokio::time::timeout(upstream.connect_timeout, Trunk::open(stream, counted));
        match opening.await {
            Ok(Ok(trunk)) => Ok(Dialled::Trunk(trunk)),
            Ok(Err(problem)) => Err(unreachable(&problem)),
            Err(_) => Err(unreachable("it does not answer in HTTP/2")),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// A request that is with the app. Dropping it gives the exchange up.
pub struct Asked {
    downlink: Downlink,
    turn: Turn,
    /// An app that is silent for longer holds no attempt any more: some send no head before their
    /// first event, which may be hours away.
    attempt_time_max: Duration,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl Asked {
    /// Waits for the head, for as long as it takes: some apps send it with their first event.
    ///
    /// # Errors
    /// When the app answers with something that is no HTTP response, or not at all.
    pub async fn answer(self) -> Result<Opened, OpenError> {
        let Self {
            mut downlink,
            turn,
            attempt_time_max,
        } = self;
        let (head, place) = judged(final_head(&mut downlink), turn, attempt_time_max).await?;
        let body = Body {
            link: downlink.into_link(),
            _place: place,
        };
        Ok(Opened { head, body })
    }
}

/// Reads heads until one is final.
async fn final_head(downlink: &mut Downlink) -> Result<ResponseHead, OpenError> {
    loop {
        if let Heard::Final(head) = downlink.heard().await? {
            return Ok(ResponseHead {
                status: head.status,
                headers: head.headers.clone(),
            });
        }
    }
}

/// An answered request.
#[derive(Debug)]
pub struct Opened {
    /// The final response head.
    pub head: ResponseHead,
    /// The body, none of it read.
    pub body: Body,
}

/// A response head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Status; never 1xx.
    pub status: StatusCode,
    /// Fields as received.
    pub headers: HeaderMap,
}

/// A response body that is being read. Dropping it gives the exchange up.
pub struct Body {
    link: Link,
    /// Behind the link, so that the exchange is over before its place is free.
    _place: Option<Place>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// What one read of a body gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Payload, free of HTTP framing; may be empty.
    Data(&'a [u8]),
    /// The app's own end: last chunk, END_STREAM, content length reached, or a close where nothing
    /// else delimits the body.
    End,
}

impl From<Downlink> for Body {
    /// The body behind the final head; its place is held by whoever serves the client.
    fn from(downlink: Downlink) -> Self {
        Self {
            link: downlink.into_link(),
            _place: None,
        }
    }
}

impl Body {
    /// Waits for the next bytes. Cancel safe: a dropped call has lost nothing.
    ///
    /// # Errors
    /// When the exchange broke off before the body's end. Nothing can be read afterwards.
    pub async fn read(&mut self) -> Result<Part<'_>, Cut> {
        self.link.read().await
    }

    /// Reads the start of a refusal's body, for as long as `wait`. What did not fit can be read on.
    pub async fn read_refusal(&mut self, wait: Duration) -> RefusalBody {
        let mut bytes = BytesMut::new();
        let reading = async {
            loop {
                match self.read().await {
                    Ok(Part::Data(data)) => bytes.extend_from_slice(data),
                    Ok(Part::End) => return Rest::None,
                    Err(_) => return Rest::Cut,
                }
                if bytes.len() > REFUSAL_BYTES_MAX {
                    return Rest::More;
                }
            }
        };
        let rest = tokio::time::timeout(wait, reading)
            .await
            .unwrap_or(Rest::Cut);
        RefusalBody {
            bytes: bytes.freeze(),
            rest,
        }
    }
}

/// The body of a refusal, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalBody {
    /// All that was read: more than [`REFUSAL_BYTES_MAX`] by one read at most.
    pub bytes: Bytes,
    /// What follows.
    pub rest: Rest,
}

/// What follows the read part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the body is whole.
    None,
    /// More: it is too long.
    More,
    /// The connection broke, or the rest is too slow: an ailing app is not to be asked by everyone.
    Cut,
}

#[cfg(test)]
mod tests;
