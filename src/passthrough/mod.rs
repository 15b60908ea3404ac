//! Everything that is not fan-out: pingora's `HttpProxy` with our rules, and the hijack by which a
//! fan-out request leaves it.

mod claims;
pub mod direct;
pub mod forward;
pub mod framing;
pub mod linger;
pub mod pace;
mod passage;
pub mod reply;
mod report;
pub mod request;
pub mod turnstile;

use std::{io::Cursor, mem, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use pingora::{
    Error, ErrorSource, ErrorType, OrErr, Result, RetryType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::{ALPN, http::ServerSession},
    proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session},
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};

pub use self::passage::{Kind, Routed};
use self::{passage::Passage, reply::Connection, turnstile::Turnstile};
use crate::{
    admission::{self, fd},
    client::Client,
    clock,
    config::model::{Action, AppHttp, Stream},
    decide::{Decision, FanOut, Reader, reader},
    egress::shard::ShardHandle,
    error::RefuseReason,
    metrics::Metrics,
    route::key::Scheme,
    stream::{Served, Streams, end, request::is_streamed},
    subscribe::{Downstream, Hub},
    upstream::peer::{Peers, Purpose},
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

/// The client has the head of the answer: what follows it is the app's, also in another protocol.
fn has_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|head| {
        !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
    })
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage::default()
    }

    /// None: pingora's default adds a compression module to each request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut Passage) -> Result<()> {
        let client_timeout = self.hub.config.load().limits.client_timeout;
        // Pingora's own default is for ever.
        session.set_write_timeout(Some(client_timeout));
        // The turnstile and the watch know better how slowly a body may come.
        session.set_read_timeout(None);
        session.set_total_drain_timeout(Some(BODY_DRAIN_TIMEOUT));
        if session.req_header().version == Version::HTTP_10 {
            session.set_ignore_info_resp(true);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        if session.downstream_session.is_http2() {
            passage.routed = session.req_header_mut().extensions_mut().remove();
        } else if self.route_h1(session, passage).await? {
            return Ok(true);
        }
        Ok(self.admit(session, passage).await? || self.stream(session, passage).await?)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        passage: &mut Passage,
    ) -> Result<Box<HttpPeer>> {
        let Some(routed) = &passage.routed else {
            return Error::e_explain(ErrorType::InternalError, "request without a route");
        };
        passage.sent = false;
        if passage.peers.is_empty() {
            let upstream = &routed.route.upstream;
            let found = self
                .peers
                .resolve(upstream, Purpose::PassThrough, clock::now());
            passage.peers = found
                .await
                .or_err(ErrorType::ConnectError, "resolving the app's address")
                .map_err(Error::into_up)?
                .into();
            if upstream.http == AppHttp::Auto
                && session.req_header().headers.contains_key(header::UPGRADE)
            {
                // Only HTTP/1.1 switches protocols.
                for peer in &mut passage.peers {
                    peer.options.alpn = ALPN::H1;
                }
            }
        }
        match passage.peers.pop_front() {
            Some(peer) => Ok(Box::new(peer)),
            None => Error::e_explain(ErrorType::ConnectError, "no address").map_err(Error::into_up),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let Some(routed) = &passage.routed else {
            return Ok(());
        };
        // Pingora falls back to HTTP/1.1 when the app ignores ALPN.
        if routed.route.upstream.http == AppHttp::Two && head.version != Version::HTTP_2 {
            let text = "the app does not offer HTTP/2 (ALPN)";
            return Error::e_explain(ErrorType::ConnectError, text).map_err(Error::into_up);
        }
        if session.is_body_empty() {
            // Towards HTTP/2 the head is all there is, and no body goes through its filter.
            passage.received = true;
            passage.sent |= head.version == Version::HTTP_2;
        }
        if let Some(watch) = &routed.watch {
            watch.begin(clock::now());
        }
        forward::request(head, routed.client, &routed.route.upstream)
    }

    /// Called from the moment on at which the head is written. Towards HTTP/1.1 with an empty body
    /// too.
    async fn request_body_filter(
        &self,
        _: &mut Session,
        piece: &mut Option<Bytes>,
        is_last: bool,
        passage: &mut Passage,
    ) -> Result<()> {
        passage.sent = true;
        passage.received |= is_last;
        if let Some(watch) = passage.routed.as_ref().and_then(|r| r.watch.as_ref()) {
            watch.received(piece.as_ref().map_or(0, Bytes::len), is_last, clock::now());
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        _: &mut Passage,
    ) -> Result<()> {
        forward::response(head);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(turnstile) = session.downstream_session.stream().and_then(Turnstile::of)
        {
            turnstile.switch_protocol();
        }
        // Pingora frames every body of unknown length as chunked, which HTTP/1.0 does not know.
        if session.req_header().version == Version::HTTP_10
            && head.remove_header(&header::TRANSFER_ENCODING).is_some()
        {
            session.set_keepalive(None);
            end::unframed(&session.downstream_session);
        }
        if passage
            .routed
            .as_ref()
            .is_some_and(|routed| routed.kind == Kind::Stream)
        {
            forward::unbuffered(head)?;
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        passage: &mut Passage,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent: the next address of the name, if there is one, may do.
        error.set_retry(!passage.peers.is_empty());
        error
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut Passage,
        reused: bool,
    ) -> Box<Error> {
        // It can be reached, so a further attempt goes there.
        passage.peers.push_front(peer.clone());
        if *error.etype() == ErrorType::ReadTimedout && !passage.received {
            // An app that waits for the rest of the request is not to blame: its own slowness to take
            // what came is a write that timed out.
            error.as_down();
        }
        let is_body_kept = !session.retry_buffer_truncated();
        let repeatable = session.req_header().method.is_idempotent() && is_body_kept;
        // By HTTP/2 the app says which requests it has not looked at (RFC 9113, section 8.7).
        let is_untouched =
            *error.etype() == ErrorType::H2Error && matches!(error.retry, RetryType::Decided(true));
        // Else it is the client who took no more of the answer.
        let is_unwritten = *error.etype() == ErrorType::WriteError
            && *error.esource() == ErrorSource::Upstream
            && !passage.sent;
        if has_begun(session) {
            error.set_retry(false);
        } else if is_untouched && is_body_kept {
            error.set_retry(true);
        } else if reused && is_unwritten {
            // A pooled connection that was dead before the head was out: the app saw no request.
            error.set_retry(true);
        } else if repeatable {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut Passage,
    ) -> FailToProxy {
        report::failure(error, passage.routed.as_ref(), &self.peers.gates);
        let mut error_code = 0;
        if has_begun(session) {
            self.break_off(session, error, passage).await;
        } else if let Some(answer) = reply::failure(error) {
            error_code = answer.status.as_u16();
            if answer.status == StatusCode::REQUEST_TIMEOUT {
                self.metrics.slow_bodies.inc();
            }
            // The client may be gone by now, which is no news.
            let session = &mut session.downstream_session;
            let sent = reply::send(session, answer, Connection::Close).await;
            if sent.is_ok() && session.as_http1().is_some() {
                session.shutdown().await;
            }
        }
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Passage) {
        // What is left is between the client and us.
        passage.place = None;
        if error.is_none() {
            end::whole(&session.downstream_session);
        }
        // After a hijack there is neither a route nor an answer.
        if let (Some(routed), Some(head)) = (&passage.routed, session.response_written()) {
            let route = self.metrics.route(&routed.route.name);
            route.passthrough_requests.inc(head.status.into());
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Passage,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
