//! Everything that is not fan-out: pingora's `HttpProxy` with our rules, and the hijack by which a
//! fan-out request leaves it.

mod claims;
pub mod direct;
pub mod forward;
pub mod framing;
mod hooks;
pub mod linger;
pub mod pace;
mod passage;
pub mod reply;
mod report;
pub mod request;
pub mod turnstile;

use std::{io::Cursor, mem, sync::Arc, time::Duration};

use http::{HeaderValue, Version, header};
use pingora::{
    Error, ErrorSource, Result,
    protocols::http::ServerSession,
    proxy::{HttpProxy, Session},
    server::configuration::ServerConf,
};

pub use self::passage::{Kind, Routed};
use self::{passage::Passage, reply::Connection, turnstile::Turnstile};
use crate::{
    admission::{self, fd},
    client::Client,
    clock,
    config::model::{Action, Stream},
    decide::{Decision, FanOut, Reader, reader},
    egress::shard::ShardHandle,
    error::RefuseReason,
    metrics::Metrics,
    route::key::Scheme,
    stream::{Served, Streams, end, request::is_streamed},
    subscribe::{Downstream, Hub},
    upstream::peer::Peers,
};

/// How long an unwanted rest of a request body is read for the sake of the next request.
const BODY_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Upstream attempts for one request; pooled connections that died count.
const ATTEMPTS_MAX: usize = 8;

/// The proxy of one worker, with a connection pool of its own.
pub type Proxy = HttpProxy<PassThrough>;

/// Our rules for pingora's proxy; one per worker.
pub struct PassThrough {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    peers: Arc<Peers>,
    shard: ShardHandle,
    streams: Streams,
}

/// Builds the proxy of one worker.
#[must_use]
pub fn proxy(
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    peers: Arc<Peers>,
    shard: ShardHandle,
    streams: Streams,
) -> Arc<Proxy> {
    let threads = hub.config.load().threads;
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        max_retries: ATTEMPTS_MAX,
        upstream_keepalive_pool_size: idle_max(threads),
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(
        PassThrough {
            hub,
            metrics,
            peers,
            shard,
            streams,
        },
        Arc::new(conf),
    );
    proxy.handle_init_modules();
    Arc::new(proxy)
}

/// Connections to apps that wait in a worker, for its proxy and as many for the direct way.
#[must_use]
pub fn idle_max(threads: usize) -> usize {
    fd::idle_connections_max(fd::open_files_max(), threads).div_ceil(2)
}

impl PassThrough {
    /// Who sent an HTTP/1 request, and what is to become of it.
    fn decided(&self, session: &mut Session) -> (Client, Decision) {
        let has_body = !session.is_body_empty();
        let turnstile = session.downstream_session.stream();
        let turnstile = turnstile.and_then(Turnstile::of);
        if let Some(decided) = turnstile.and_then(Turnstile::decided) {
            return decided.clone();
        }
        let peer = turnstile.map_or(Client::peer(None, Scheme::Http), Turnstile::client);
        let config = self.hub.config.load();
        let head = session.req_header();
        let client = peer.behind(&head.headers, &config.trusted_proxies);
        let asked = request::view(head, client, has_body);
        (client, self.hub.decide(&asked, &config))
    }

    /// Decides about an HTTP/1 request; `true` when it is answered or gone.
    async fn route_h1(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        request::to_origin_form(session.req_header_mut())?;
        let (client, decision) = self.decided(session);
        let (route, kind) = match decision {
            Decision::FanOut(request) => {
                self.hijack(session, request);
                return Ok(true);
            }
            Decision::Refuse(refusal) => {
                self.metrics.refused.inc(refusal.reason);
                reply::send(
                    &mut session.downstream_session,
                    reply::refusal(&refusal),
                    refusal.reason.into(),
                )
                .await?;
                return Ok(true);
            }
            Decision::Answer(answer) => {
                reply::send(&mut session.downstream_session, *answer, Connection::Keep).await?;
                return Ok(true);
            }
            Decision::Proxy(route) => (route, Kind::Proxy),
            Decision::Stream(route) => (route, Kind::Stream),
        };
        passage.routed = Some(Routed {
            route,
            kind,
            client,
            watch: None,
        });
        Ok(false)
    }

    /// Takes a connection to the app for a request, or turns its client away; `true` when it is
    /// answered.
    async fn admit(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let Some(routed) = &passage.routed else {
            return Ok(false);
        };
        passage.place = self.peers.gates.of(&routed.route.upstream).place();
        if passage.place.is_some() {
            return Ok(false);
        }
        let reason = RefuseReason::UpstreamConnectionsMax;
        self.metrics.refused.inc(reason);
        self.metrics.shed.inc();
        let headers = &session.req_header().headers;
        let answer = admission::turn_away(
            &self.hub.admission,
            reader(headers) == Reader::EventSource,
            headers.get(header::ORIGIN).map(HeaderValue::as_bytes),
            rand::random(),
            clock::now(),
        );
        reply::send(&mut session.downstream_session, answer, reason.into()).await?;
        Ok(true)
    }

    /// Serves a request of a stream route; `true` when that was done, `false` when it is for
    /// pingora's proxy after all.
    async fn stream(&self, session: &mut Session, passage: &Passage) -> Result<bool> {
        let Some(Routed {
            route,
            client,
            kind: Kind::Stream,
            ..
        }) = &passage.routed
        else {
            return Ok(false);
        };
        let session = &mut *session.downstream_session;
        if !is_streamed(session.req_header()) {
            return Ok(false);
        }
        let settings = match &route.action {
            Action::Stream(settings) => **settings,
            Action::Fanout(settings) => {
                let parameter = &settings.last_event_id_query;
                request::to_apps_id(session.req_header_mut(), parameter)?;
                Stream::of(settings)
            }
            Action::Proxy => return Ok(false),
        };
        let serving = self.streams.serve(session, route, &settings, *client);
        // Boxed: other requests do not pay for its state.
        match Box::pin(serving).await? {
            Served::Answered => {}
            Served::TurnedAway(answer) => reply::send(session, answer, Connection::Keep).await?,
        }
        Ok(true)
    }

    /// An answer has broken off half way: its client gets what was passed on, and sees that it is not
    /// all. A stream sees to that itself.
    async fn break_off(&self, session: &mut Session, error: &Error, passage: &mut Passage) {
        let routed = passage.routed.as_ref();
        if *error.esource() == ErrorSource::Upstream
            && session.req_header().version == Version::HTTP_10
            && routed.is_some_and(|routed| routed.kind == Kind::Proxy)
        {
            passage.place = None;
            let patience = self.hub.config.load().limits.client_timeout;
            end::cut(&mut session.downstream_session, patience).await;
        }
    }

    /// Takes the connection away from pingora, which goes on with a dummy, finds that done, and
    /// frees all that it holds for the request.
    fn hijack(&self, session: &mut Session, request: Box<FanOut>) {
        let http10 = session.req_header().version == Version::HTTP_10;
        let dummy = ServerSession::new_http1(Box::new(Cursor::new(Vec::<u8>::new())));
        let ServerSession::H1(taken) = mem::replace(&mut *session.downstream_session, dummy) else {
            return;
        };
        if let Some(turnstile) = Turnstile::recover(taken.into_inner()) {
            let socket = turnstile.socket();
            let downstream = Downstream::h1(turnstile.into_stream(), http10, socket);
            self.hub.subscribe(request, downstream, &self.shard);
        }
    }
}
