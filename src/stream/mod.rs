//! Streams of one client's own: a chat's answer to a POST, an MCP session.
//!
//! Each request has its own exchange with the app. One task per request, that of pingora's proxy,
//! moves the body up and the answer down, so whoever is slow makes the other side wait and nothing
//! is queued. What the app answers with an event stream is kept alive in the app's silence; any
//! other answer passes as it is.

mod answer;
pub mod boundary;
pub mod end;
mod events;
mod leave;
pub mod request;
mod upload;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Version,
    header::{CONTENT_LENGTH, ORIGIN},
};
use pingora::{
    Error, ErrorSource, ErrorType, Result, http::ResponseHeader, protocols::http::ServerSession,
    server::ShutdownWatch,
};
use tokio::time::{sleep, timeout};

use self::{
    answer::Form,
    events::{Counted, Events},
    leave::Leave,
    upload::{Upload, WaitsFor, left},
};
use crate::{
    admission::{self, Seat},
    answer::Answer,
    client::Client,
    clock,
    config::model::{Action, Route, Stream, Upstream},
    decide::{Reader, reader},
    error::{ConnectOutcome, RefuseReason},
    metrics::{RouteMetrics, labels::Protocol},
    subscribe::Hub,
    upstream::exchange::{Body, Dialer, Downlink, Heard, OpenError, Part},
};

/// Serves the requests of stream routes.
pub struct Streams {
    hub: Arc<Hub>,
    dialer: Arc<Dialer>,
    shutdown: ShutdownWatch,
}

/// What became of a request.
#[derive(Debug)]
pub enum Served {
    /// The client has the app's answer, all of it.
    Answered,
    /// The client is to get this instead; the app was not asked.
    TurnedAway(Answer),
}

impl Streams {
    /// Asks apps by `dialer`; `shutdown` turns true when the process is to leave.
    #[must_use]
    pub const fn new(hub: Arc<Hub>, dialer: Arc<Dialer>, shutdown: ShutdownWatch) -> Self {
        Self {
            hub,
            dialer,
            shutdown,
        }
    }

    /// Serves one request. Dropping the future gives the exchange with the app up.
    ///
    /// # Errors
    /// The app failed, or the client is gone. When the answer had begun, the client must see that it
    /// broke off.
    pub async fn serve(
        &self,
        session: &mut ServerSession,
        route: &Arc<Route>,
        settings: &Stream,
        client: Client,
    ) -> Result<Served> {
        let request = session.req_header();
        let headers = &request.headers;
        let is_endless = request.method == Method::GET && request::wants_events(headers);
        if is_endless && *self.shutdown.borrow() {
            return Ok(self.turn_away(headers, RefuseReason::Draining));
        }
        let _seat = match self.seat(route, client) {
            Ok(seat) => seat,
            Err(reason) => return Ok(self.turn_away(headers, reason)),
        };
        let exchanged = self.exchange(session, route, settings, client).await;
        // Who is gone, or takes nothing, is cut off at once.
        if let Err(error) = &exchanged
            && *error.esource() != ErrorSource::Downstream
        {
            end::cut(session, settings.stall_max).await;
        }
        exchanged.map(|()| Served::Answered)
    }

    /// Asks the app, and passes on what it answers.
    async fn exchange(
        &self,
        session: &mut ServerSession,
        route: &Arc<Route>,
        settings: &Stream,
        client: Client,
    ) -> Result<()> {
        let cells = self.hub.metrics.route(&route.name);
        let mut is_repeated = false;
        let (mut head, downlink, mut upload, _connection) = loop {
            let (error, is_whole) = match self.ask(session, &route.upstream, client).await? {
                Ok((mut downlink, mut upload)) => {
                    let connection = cells.upstream_connections.hold();
                    match heard(session, &mut downlink, &mut upload, &route.upstream).await? {
                        Ok(head) => break (head, downlink, upload, connection),
                        Err(error) => (error, !upload.is_begun()),
                    }
                }
                Err(error) => (error, true),
            };
            // By HTTP/2 the app says which requests it has not looked at (RFC 9113, section 8.7).
            if is_repeated || !is_whole || !matches!(error, OpenError::Untouched(_)) {
                cells.upstream_connects.inc(error.outcome());
                return Err(failed(&error));
            }
            is_repeated = true;
        };
        let mut body = Body::from(downlink);
        let form = answer::for_client(&mut head, session.req_header())?;
        if let Action::Fanout(settings) = &route.action
            && let Some(cors) = &settings.cors
        {
            let origin = session.req_header().headers.get(ORIGIN);
            answer::allow(&mut head, cors, origin.map(|origin| origin.as_bytes()))?;
        }
        if session.req_header().version == Version::HTTP_10 {
            session.set_keepalive(None);
            if !head.headers.contains_key(CONTENT_LENGTH) {
                end::unframed(session);
            }
        }
        match form {
            Form::Plain => {
                session.write_response_header(head).await?;
                let silence_max = route.upstream.read_timeout;
                pass(session, &mut upload, &mut body, silence_max).await?;
                end::complete(session, settings.stall_max).await
            }
            Form::Events => {
                cells.upstream_connects.inc(ConnectOutcome::Opened);
                self.events(session, route, settings, cells)
                    .run(session, head, &mut upload, &mut body)
                    .await
            }
        }
    }

    /// An event stream that begins.
    fn events(
        &self,
        session: &ServerSession,
        route: &Arc<Route>,
        settings: &Stream,
        cells: Arc<RouteMetrics>,
    ) -> Events {
        let protocol = if session.is_http2() {
            Protocol::H2
        } else {
            Protocol::H1
        };
        let request = session.req_header();
        let leave = Leave::new(
            &request.method,
            route.clone(),
            settings,
            self.hub.clone(),
            self.shutdown.clone(),
        );
        Events::new(
            *settings,
            reader(&request.headers),
            leave,
            self.hub.metrics.clone(),
            Counted::new(cells, protocol),
        )
    }

    /// Places under the caps that streams of `route` count for.
    fn seat(&self, route: &Route, client: Client) -> std::result::Result<Seat, RefuseReason> {
        let route_max = match &route.action {
            Action::Fanout(settings) => settings.route_subscribers_max,
            Action::Stream(_) | Action::Proxy => usize::MAX,
        };
        let per_address = self.hub.config.load().limits.per_address;
        let admission = &self.hub.admission;
        admission.seat((&route.name, route_max), client.address, &per_address)
    }

    fn turn_away(&self, headers: &HeaderMap, reason: RefuseReason) -> Served {
        self.hub.metrics.refused.inc(reason);
        self.hub.metrics.shed.inc();
        Served::TurnedAway(admission::turn_away(
            &self.hub.admission,
            reader(headers) == Reader::EventSource,
            headers.get(ORIGIN).map(|origin| origin.as_bytes()),
            rand::random(),
            clock::now(),
        ))
    }

    /// Sends the request's head to the app.
    async fn ask(
        &self,
        session: &mut ServerSession,
        upstream: &Upstream,
        client: Client,
    ) -> Result<Result<(Downlink, Upload), OpenError>> {
        let has_body = !session.is_body_empty();
        let (head, follows) = request::for_app(session.req_header(), has_body, client, upstream)?;
        let body = if session.is_body_done() {
            upload::Body::Whole
        } else {
            upload::Body::UnderWay
        };
        let sent = tokio::select! {
            sent = self.dialer.send(upstream, head, follows, clock::now()) => sent,
            gone = left(session, body) => return Err(gone),
        };
        let limits = self.hub.config.load().limits;
        Ok(sent.map(|(downlink, uplink)| (downlink, Upload::new(uplink, session, &limits))))
    }
}

/// Moves the body up until the app's final head is there.
async fn heard(
    session: &mut ServerSession,
    downlink: &mut Downlink,
    upload: &mut Upload,
    upstream: &Upstream,
) -> Result<Result<Box<ResponseHeader>, OpenError>> {
    loop {
        let waits_for = upload.waits_for();
        let patience = match waits_for {
            WaitsFor::Room => upstream.write_timeout,
            WaitsFor::Client | WaitsFor::Answer => upstream.read_timeout,
        };
        tokio::select! {
            heard = downlink.heard() => match heard {
                // `100 Continue` among them, which a client may wait for.
                Ok(Heard::Informational(head)) => session.write_response_header(head).await?,
                Ok(Heard::Final(head)) => return Ok(Ok(head)),
                Err(error) => return Ok(Err(error)),
            },
            step = upload.step(session) => step?,
            () = sleep(patience) => {
                let error = Error::new(ErrorType::ReadTimedout);
                return Err(match waits_for {
                    WaitsFor::Client => error.into_down(),
                    WaitsFor::Room | WaitsFor::Answer => error.into_up(),
                });
            }
        }
    }
}

/// Passes an ordinary answer's body on, all but its end.
async fn pass(
    session: &mut ServerSession,
    upload: &mut Upload,
    body: &mut Body,
    silence_max: Duration,
) -> Result<()> {
    loop {
        let part = tokio::select! {
            left = upload.run(session) => return Err(left),
            part = timeout(silence_max, body.read()) => part,
        };
        match part {
            Ok(Ok(Part::Data(data))) => {
                let data = Bytes::copy_from_slice(data);
                session.write_response_body(data, false).await?;
            }
            Ok(Ok(Part::End)) => return Ok(()),
            Ok(Err(cut)) => {
                let error = Error::explain(ErrorType::ConnectionClosed, cut.to_string());
                return Err(error.into_up());
            }
            Err(_) => return Err(Error::new(ErrorType::ReadTimedout).into_up()),
        }
    }
}

fn failed(error: &OpenError) -> Box<Error> {
    let kind = match error {
        OpenError::Request(_) => ErrorType::InternalError,
        OpenError::Peer(_) | OpenError::Busy(_) | OpenError::Unreachable(_) => {
            ErrorType::ConnectError
        }
        OpenError::NoHead(_) | OpenError::Untouched(_) => ErrorType::ConnectionClosed,
    };
    Error::explain(kind, error.to_string()).into_up()
}
