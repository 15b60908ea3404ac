//! The admin service, on loopback or a unix socket only.
//!
//! ```text
//! GET /livez      200, or 503 and what hangs or is down
//! GET /readyz     200, or 503 and the phase; notes for people
//! GET /metrics    OpenMetrics
//! GET /channels   ?limit=N
//! GET /config     what is in force, and what waits for a restart
//! POST /drain     202: all clients are moved away, the process stays; with `Sidestream-Command: drain`
//! ```
//!
//! With `metrics_address` there is a second service, for those outside: `/metrics` and nothing else.

pub mod beacon;
pub mod channels;
mod pages;
mod room;

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode, header::HOST};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    protocols::{Stream, http::ServerSession, l4::stream::Stream as L4Stream},
};
use tokio::time::timeout;
use tracing::{debug, warn};

pub use self::pages::COMMAND_HEADER;
use self::{
    channels::ChannelSource,
    pages::{Page, Peer, Question},
    room::{Guest, Room},
};
use crate::{
    admission::fd::{ADMIN_CONNECTIONS_MAX as CONNECTIONS_MAX, SCRAPES_MAX},
    clock,
    config::model::ListenAddress,
    lifecycle::Lifecycle,
    logging::Seldom,
    metrics::{Metrics, labels::PanicPlace},
    socket::{Accepted, Accepting, Listening},
    supervise::contained,
};

/// For the whole request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A pause after an accept that failed: out of descriptors, and trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the pages show.
pub struct Sources {
    /// Health.
    pub lifecycle: Arc<Lifecycle>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Channels.
    pub channels: Box<dyn ChannelSource>,
    /// The configuration in force as YAML, without secrets, and as comments what waits for a restart.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
}

/// What a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Every page, for those on this machine.
    All,
    /// The metrics alone, for anybody who reaches them.
    Metrics,
}

/// A bound admin service that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    socket: Accepting,
    address: ListenAddress,
    pages: Pages,
}

impl Admin {
    /// Binds `address`. To be called within a runtime.
    ///
    /// # Errors
    /// The address cannot be had; the error names it.
    pub fn bind(address: &ListenAddress, pages: Pages) -> io::Result<Self> {
        let named = |error: io::Error| {
            let service = match pages {
                Pages::All => "the admin service",
                Pages::Metrics => "the page of metrics",
            };
            let text = format!("{service} cannot listen on {address}: {error}");
            io::Error::new(error.kind(), text)
        };
        let socket = Listening::open(address).map_err(named)?;
        let bound = socket.tcp_address().map_err(named)?;
        Ok(Self {
            address: bound.map_or_else(|| address.clone(), ListenAddress::Tcp),
            socket: socket.register().map_err(named)?,
            pages,
        })
    }

    /// The address in use; port 0 has become a real one.
    #[must_use]
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Answers until `end` is ready. Answers under way are finished by their own tasks.
    pub async fn serve(&self, sources: Arc<Sources>, end: impl Future<Output = ()>) {
        let (peer, connections_max) = match (self.pages, &self.address) {
            (Pages::Metrics, _) => (Peer::Scraper, SCRAPES_MAX),
            (Pages::All, ListenAddress::Tcp(_)) => (Peer::Network, CONNECTIONS_MAX),
            (Pages::All, ListenAddress::Unix { .. }) => (Peer::File, CONNECTIONS_MAX),
        };
        tokio::select! {
            () = end => {}
            () = self.accept(Room::new(connections_max), &sources, peer) => {}
        }
    }

    async fn accept(&self, mut room: Room, sources: &Arc<Sources>, peer: Peer) {
        static FAILED: Seldom = Seldom::new(10);
        loop {
            match self.socket.accept().await {
                Ok(accepted) => {
                    let stream: Stream = Box::new(match accepted {
                        Accepted::Tcp(stream, _) => L4Stream::from(stream),
                        Accepted::Unix(stream) => L4Stream::from(stream),
                    });
                    let Some(guest) = room.enter().await else {
                        return;
                    };
                    let serve = serve_connection(stream, Arc::clone(sources), peer, guest);
                    contained(&sources.metrics, PanicPlace::Control, serve);
                }
                Err(error) => {
                    sources.metrics.accept_errors.inc();
                    if let Some(held_back) = FAILED.pass(clock::now()) {
                        warn!(%error, held_back, "the admin service cannot accept");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One request; the connection is closed after it.
async fn serve_connection(stream: Stream, sources: Arc<Sources>, peer: Peer, mut guest: Guest) {
    let mut session = ServerSession::new_http1(stream);
    let request = timeout(HEAD_TIMEOUT, session.read_request());
    let (page, body) = match guest.heard(request).await {
        Some(Ok(Ok(true))) => {
            let head = session.req_header().clone();
            let wanted = head.method != Method::HEAD;
            (
                answer(&head, &sources, peer).await,
                if wanted { Body::Sent } else { Body::Announced },
            )
        }
        Some(Ok(Err(_))) => (
            Page::text(StatusCode::BAD_REQUEST, "this is no HTTP request"),
            Body::Sent,
        ),
        // Left, or too slow to be a friend, or silent while others want to ask.
        Some(Ok(Ok(false)) | Err(_)) | None => return,
    };
    session.set_keepalive(None);
    match timeout(ANSWER_TIMEOUT, write(session, page, body)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin client left"),
        Err(_) => debug!("an admin client does not read"),
    }
    drop(guest);
}

async fn answer(head: &RequestHeader, sources: &Sources, peer: Peer) -> Page {
    let question = Question {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or(""),
        // With an absolute target, pingora has seen to it that the two agree.
        host: head.headers.get(HOST).map(http::HeaderValue::as_bytes),
        command: head
            .headers
            .get(COMMAND_HEADER)
            .map(http::HeaderValue::as_bytes),
        peer,
    };
    pages::answer(&question, sources, clock::now()).await
}

/// What becomes of a page's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Sent,
    /// HEAD: only its length is told.
    Announced,
}

async fn write(mut session: ServerSession, page: Page, body: Body) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(page.status, Some(6))?;
    head.insert_header("Content-Type", page.content_type)?;
    head.insert_header("Content-Length", page.body.len())?;
    head.insert_header("Cache-Control", "no-store")?;
    head.insert_header("X-Content-Type-Options", "nosniff")?;
    if page.status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert_header("Allow", page.allow)?;
    }
    session.write_response_header(Box::new(head)).await?;
    if body == Body::Sent {
        session
            .write_response_body(Bytes::from(page.body), true)
            .await?;
    }
    session.finish().await.map(drop)
}

#[cfg(test)]
mod tests;
