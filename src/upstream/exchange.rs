//! One exchange with an app: connect, ask, read the head, read the body.
//!
//! What matters to a channel is how a body ends: the app's own end is one thing, a cut another. So
//! each read tells data, [`Part::End`] and [`Cut`] apart. Nothing here retries, and nothing keeps
//! time but for connecting: dropping a future or the [`Body`] closes the connection.

mod duplex;

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header::TRANSFER_ENCODING};
use pingora::{
    BError, ErrorType,
    connectors::http::Connector,
    http::RequestHeader,
    protocols::http::{client::HttpSession, v1::client::HttpSession as Http1Session},
    upstreams::peer::{HttpPeer, Peer},
};

pub use self::duplex::{Downlink, Heard, Uplink};
use super::{
    gate::{Place, Turn},
    peer::{PeerError, Peers, Purpose},
    request::UpstreamRequest,
    turns::Attempt,
};
use crate::{clock, config::model::Upstream, error::ConnectOutcome};

/// Bytes of a refusal's body that are kept for those who wait for the channel.
pub const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Heads of status 1xx that may come before the real one.
const INFORMATIONAL_HEADS_MAX: usize = 16;

/// Opens exchanges. One per process.
pub struct Dialer {
    connector: Connector,
    peers: Arc<Peers>,
}

impl Dialer {
    /// Reads the system's authorities, so it takes a few milliseconds.
    #[must_use]
    pub fn new(peers: Arc<Peers>) -> Self {
        Self {
            connector: Connector::new(None),
            peers,
        }
    }

    /// Waits for a turn, connects and asks.
    ///
    /// # Errors
    /// When no turn comes within `patience`, or the app cannot be reached within its
    /// `connect_timeout` (for each address), or does not take the request.
    pub async fn ask(
        &self,
        upstream: &Upstream,
        request: &UpstreamRequest,
        patience: Duration,
    ) -> Result<Asked, OpenError> {
        let head = Box::new(request.to_pingora().map_err(OpenError::Request)?);
        let gate = self.peers.gates.of(upstream);
        let turn = tokio::time::timeout(patience, gate.turn())
            .await
            .map_err(|_| OpenError::Busy(gate.crowd()))?;
        match self.reach(upstream, head).await {
            Ok(session) => Ok(Asked {
                session,
                turn,
                attempt_time_max: upstream.connect_timeout,
            }),
            Err(error) => {
                drop(turn.end(Attempt::Failed));
                Err(error)
            }
        }
    }

    async fn reach(
        &self,
        upstream: &Upstream,
        head: Box<RequestHeader>,
    ) -> Result<Box<Http1Session>, OpenError> {
        let peers = self
            .peers
            .resolve(upstream, Purpose::EventStream, clock::now())
            .await?;
        let mut session = self.connect(&peers).await?;
        session.read_timeout = None;
        session.write_timeout = Some(upstream.connect_timeout);
        session
            .write_request_header(head)
            .await
            .map_err(OpenError::no_head)?;
        Ok(session)
    }

    /// Tries each address once, in order.
    async fn connect(&self, peers: &[HttpPeer]) -> Result<Box<Http1Session>, OpenError> {
        let mut failure = OpenError::Unreachable("it has no address".to_owned());
        for peer in peers {
            match Box::pin(self.connector.get_http_session(peer)).await {
                Ok((HttpSession::H1(session), _)) => return Ok(Box::new(session)),
                Ok((HttpSession::H2(_) | HttpSession::Custom(()), _)) => {
                    failure = OpenError::Unreachable("it insists on HTTP/2".to_owned());
                }
                Err(error) => failure = OpenError::unreachable(peer, &error),
            }
        }
        Err(failure)
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

/// A request that is with the app. Dropping it closes the connection.
pub struct Asked {
    session: Box<Http1Session>,
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
    /// When the app answers with something that is no HTTP/1 response, or not at all.
    pub async fn answer(self) -> Result<Opened, OpenError> {
        let Self {
            mut session,
            turn,
            attempt_time_max,
        } = self;
        let (head, place) = judged(read_head(&mut session), turn, attempt_time_max).await?;
        let body = Body {
            session,
            _place: place,
        };
        Ok(Opened { head, body })
    }
}

/// Ends the turn by what the head says, or by its absence.
async fn judged(
    head: impl Future<Output = Result<ResponseHead, OpenError>>,
    turn: Turn,
    wait: Duration,
) -> Result<(ResponseHead, Option<Place>), OpenError> {
    let mut head = pin!(head);
    let Ok(head) = tokio::time::timeout(wait, &mut head).await else {
        let place = turn.end(Attempt::Answered);
        return Ok((head.await?, place));
    };
    let is_well = head
        .as_ref()
        .is_ok_and(|head| !head.status.is_server_error());
    let attempt = if is_well {
        Attempt::Answered
    } else {
        Attempt::Failed
    };
    let place = turn.end(attempt);
    Ok((head?, place))
}

/// Reads heads until one is final.
async fn read_head(session: &mut Http1Session) -> Result<ResponseHead, OpenError> {
    for _ in 0..=INFORMATIONAL_HEADS_MAX {
        session.read_response().await.map_err(OpenError::no_head)?;
        let Some(head) = session.resp_header() else {
            break;
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(OpenError::NoHead(
                "it switched protocols unasked".to_owned(),
            ));
        }
        if !head.status.is_informational() {
            return checked_head(head.status, &head.headers);
        }
    }
    Err(OpenError::NoHead(
        "it sent informational heads without end".to_owned(),
    ))
}

/// Refuses a transfer coding that pingora would read as a body without framing: bytes that we
/// cannot decode, whose end we could not tell from a cut.
fn checked_head(status: StatusCode, headers: &HeaderMap) -> Result<ResponseHead, OpenError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if !is_plain {
        return Err(OpenError::NoHead(
            "it used a transfer coding other than chunked".to_owned(),
        ));
    }
    Ok(ResponseHead {
        status,
        headers: headers.clone(),
    })
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

/// A response body that is being read. Dropping it closes the connection.
pub struct Body {
    session: Box<Http1Session>,
    /// Behind the session, so that the connection is closed before its place is free.
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
    /// The app's own end: last chunk, content length reached, or a close where nothing else
    /// delimits the body.
    End,
}

impl Body {
    /// Waits for the next bytes. Cancel safe: a dropped call has lost nothing.
    ///
    /// # Errors
    /// When the connection broke before the body's end. Nothing can be read afterwards.
    pub async fn read(&mut self) -> Result<Part<'_>, Cut> {
        match self.session.read_body_ref().await {
            Ok(Some(data)) => Ok(Part::Data(data)),
            Ok(None) => Ok(Part::End),
            Err(error) => Err(Cut::from_pingora(&error)),
        }
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

/// The connection broke before the body's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What kind of break.
    pub kind: CutKind,
    /// For the log.
    pub text: String,
}

/// Ways of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutKind {
    /// The app closed in the middle of the body.
    Truncated,
    /// The connection failed: reset, timed out, TLS ended without a farewell.
    Connection,
    /// The chunks make no sense.
    Framing,
}

impl Cut {
    fn from_pingora(error: &BError) -> Self {
        let kind = if matches!(error.etype(), ErrorType::ConnectionClosed) {
            CutKind::Truncated
        } else if matches!(
            error.etype(),
            ErrorType::ReadError | ErrorType::ReadTimedout
        ) {
            CutKind::Connection
        } else {
            CutKind::Framing
        };
        Self {
            kind,
            text: brief(error),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            CutKind::Truncated => "the app closed in the middle of the stream",
            CutKind::Connection => "the connection to the app failed",
            CutKind::Framing => "the app sent a malformed body",
        };
        write!(f, "{what}: {}", self.text)
    }
}

impl std::error::Error for Cut {}

/// Why there is no response head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The request cannot be written. Names of fields, never values.
    Request(String),
    /// No turn came in time.
    Busy(String),
    /// The upstream has no address.
    Peer(PeerError),
    /// No connection.
    Unreachable(String),
    /// Connected, but no usable head came.
    NoHead(String),
}

impl OpenError {
    /// The metric label.
    #[must_use]
    pub fn outcome(&self) -> ConnectOutcome {
        match self {
            Self::Busy(_) => ConnectOutcome::Busy,
            Self::Peer(_) | Self::Unreachable(_) => ConnectOutcome::Unreachable,
            Self::Request(_) | Self::NoHead(_) => ConnectOutcome::NoHead,
        }
    }

    fn unreachable(peer: &HttpPeer, error: &BError) -> Self {
        // What a failed handshake is about stands in the context alone; it is rustls' text.
        let problem = match &error.context {
            Some(context) if matches!(error.etype(), ErrorType::TLSHandshakeFailure) => context
                .as_str()
                .rsplit("cause: ")
                .next()
                .unwrap_or_default()
                .to_owned(),
            _ => brief(error),
        };
        Self::Unreachable(format!("{}: {problem}", peer.address()))
    }

    fn no_head(error: BError) -> Self {
        Self::NoHead(brief(&error))
    }
}

impl From<PeerError> for OpenError {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(problem) => write!(f, "the request cannot be sent: {problem}"),
            Self::Busy(problem) => write!(f, "no turn to ask the app: {problem}"),
            Self::Peer(error) => error.fmt(f),
            Self::Unreachable(problem) => write!(f, "the app cannot be reached: {problem}"),
            Self::NoHead(problem) => write!(f, "the app gave no response head: {problem}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// The kind of a pingora error and its cause. Contexts are left out: of a bad head they quote every
/// byte.
fn brief(error: &BError) -> String {
    let kind = error.root_etype().as_str();
    let cause = error.root_cause();
    if cause.is::<pingora::Error>() {
        return kind.to_owned();
    }
    format!("{kind}: {cause}")
}

#[cfg(test)]
mod tests;
