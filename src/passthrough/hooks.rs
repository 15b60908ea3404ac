//! What pingora's proxy asks us on the way of a request.

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Version, header};
use pingora::{
    Error, ErrorSource, ErrorType, OrErr, Result, RetryType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::ALPN,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};

use super::{
    BODY_DRAIN_TIMEOUT, Kind, PassThrough, forward,
    passage::Passage,
    reply::{self, Connection},
    report,
    turnstile::Turnstile,
};
use crate::{clock, config::model::AppHttp, stream::end, upstream::peer::Purpose};

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
