//! The direct way: a request without a body, from an HTTP/1.1 client to an app that speaks HTTP/1.1
//! without TLS. That is what most requests are, and they need little of what pingora's proxy can do.
//!
//! ```text
//! front::h1 -> asked (head) -> decide -> kept, or connect -> answer (head) -> exchange (body)
//! ```
//!
//! The head of the answer is looked at field by field and written anew; the body passes as it comes, with
//! its chunks, and is only measured. Requests that fan out leave for the hub at once. All else is for
//! pingora: it gets the head as if nobody had looked at it.

mod answer;
mod asked;
mod exchange;
mod kept;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Method;
use pingora::{Error, ErrorType, Result, server::ShutdownWatch};

use self::{answer::Then, asked::Asked, exchange::Exchange, kept::Kept};
use super::{Kind, Routed, forward, idle_max, reply, report, request, turnstile::Turnstile};
use crate::{
    answer::Answer,
    client::Client,
    config::model::{AppHttp, Route, Upstream},
    decide::Decision,
    egress::shard::ShardHandle,
    metrics::Metrics,
    subscribe::{Downstream, Hub},
    upstream::{exchange::Dialer, gate::Place, peer::Peers},
};

/// Serves requests by the direct way; one per worker.
pub struct Direct {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    peers: Arc<Peers>,
    dialer: Arc<Dialer>,
    shard: ShardHandle,
    shutdown: ShutdownWatch,
    kept: Arc<Kept>,
}

/// What became of a request, and of its client's connection.
#[derive(Debug)]
pub enum Outcome {
    /// It is served, and the client may ask again.
    Served(Box<Turnstile>),
    /// It is served as far as possible, and the connection ends.
    Last(Box<Turnstile>),
    /// The client is to be told this, and the connection ends.
    Failed(Box<Turnstile>, Answer),
    /// The connection is the hub's, or gone.
    Over,
    /// It is none for the direct way; with its head. Nothing was done; what was decided stands in the
    /// turnstile.
    Other(Box<Turnstile>, Bytes),
}

impl Direct {
    /// A worker's own. Apps are resolved by `Peers` and connected to by `Dialer`; `shutdown` turns true
    /// when clients are not to ask again.
    #[must_use]
    pub fn new(
        (hub, metrics): (Arc<Hub>, Arc<Metrics>),
        (peers, dialer): (Arc<Peers>, Arc<Dialer>),
        shard: ShardHandle,
        shutdown: ShutdownWatch,
    ) -> Self {
        let kept = Kept::new(idle_max(hub.config.load().threads));
        Self {
            hub,
            metrics,
            peers,
            dialer,
            shard,
            shutdown,
            kept,
        }
    }

    /// Serves the request whose head is `raw`. It has no body.
    pub async fn serve(&self, mut turnstile: Box<Turnstile>, raw: Bytes) -> Outcome {
        let Some(asked) = asked::parse(&raw) else {
            return Outcome::Other(turnstile, raw);
        };
        let (client, decision) = {
            let config = self.hub.config.load();
            let headers = &asked.head.headers;
            let client = turnstile.client().behind(headers, &config.trusted_proxies);
            let view = request::view(&asked.head, client, false);
            (client, self.hub.decide(&view, &config))
        };
        let route = match decision {
            Decision::FanOut(request) => {
                let socket = turnstile.socket();
                let downstream = Downstream::h1(turnstile.into_stream(), false, socket);
                self.hub.subscribe(request, downstream, &self.shard);
                return Outcome::Over;
            }
            Decision::Proxy(route) if is_plain(&route.upstream) => route,
            Decision::Proxy(_)
            | Decision::Stream(_)
            | Decision::Refuse(_)
            | Decision::Answer(_) => {
                turnstile.note(client, decision);
                return Outcome::Other(turnstile, raw);
            }
        };
        // Who cannot be served is turned away by the other way.
        let Some(place) = self.peers.gates.of(&route.upstream).place() else {
            turnstile.note(client, Decision::Proxy(route));
            return Outcome::Other(turnstile, raw);
        };
        // Answers may take hours.
        drop(raw);
        self.pass(turnstile, asked, client, route, place).await
    }

    /// Passes a request on to its app, and the answer back.
    async fn pass(
        &self,
        mut turnstile: Box<Turnstile>,
        asked: Asked,
        client: Client,
        route: Arc<Route>,
        place: Place,
    ) -> Outcome {
        let is_head = asked.head.method == Method::HEAD;
        let mut exchange = Exchange::new(self, &mut turnstile, &route.upstream, &asked);
        let served = match sent(asked, client, &route.upstream) {
            Ok(request) => exchange.run(&request).await,
            Err(error) => Err(error),
        };
        let (begun, then) = (exchange.begun, exchange.then());
        // What is left is between the client and us.
        drop(place);
        let cells = self.metrics.route(&route.name);
        if let Some(status) = begun {
            cells.passthrough_requests.inc(status.into());
        }
        let error = match served {
            Ok(()) if then == Then::Keep => return Outcome::Served(turnstile),
            Ok(()) => return Outcome::Last(turnstile),
            Err(error) => error,
        };
        match self.failed(&error, route, client) {
            Some(_) if begun.is_some() => Outcome::Last(turnstile),
            Some(mut answer) => {
                cells.passthrough_requests.inc(answer.status.into());
                if is_head {
                    answer.body.clear();
                }
                Outcome::Failed(turnstile, answer)
            }
            None => Outcome::Over,
        }
    }

    /// Logs a failure; what the client is to be told.
    fn failed(&self, error: &Error, route: Arc<Route>, client: Client) -> Option<Answer> {
        let routed = Routed {
            route,
            kind: Kind::Proxy,
            client,
            watch: None,
        };
        report::failure(error, Some(&routed), &self.peers.gates);
        reply::failure(error)
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

/// Whether an app is spoken to in HTTP/1.1 and without TLS.
fn is_plain(upstream: &Upstream) -> bool {
    upstream.tls.is_none() && upstream.http == AppHttp::One
}

/// The head that the app gets.
fn sent(asked: Asked, client: Client, upstream: &Upstream) -> Result<Bytes> {
    let mut head = asked.head;
    forward::request(&mut head, client, upstream)?;
    let wire = pingora::protocols::http::v1::client::http_req_header_to_wire(&head);
    let wire = wire.ok_or_else(|| Error::explain(ErrorType::InternalError, "unwritable head"))?;
    Ok(wire.freeze())
}
