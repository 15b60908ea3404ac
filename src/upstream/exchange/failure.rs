//! How an exchange fails: no head, or a body that is not whole.

use std::{fmt, io};

use pingora::{
    BError, ErrorType,
    upstreams::peer::{HttpPeer, Peer as _},
};

use crate::{error::ConnectOutcome, upstream::peer::PeerError};

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
    pub(super) fn from_pingora(error: &BError) -> Self {
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

    /// A stream that was reset, or whose connection is gone.
    pub(super) fn from_h2(error: &h2::Error) -> Self {
        let kind = match error.get_io().map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => CutKind::Truncated,
            Some(_) => CutKind::Connection,
            None if error.is_remote() => CutKind::Truncated,
            None => CutKind::Framing,
        };
        Self {
            kind,
            text: brief_h2(error),
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

/// What rustls says when the app refuses all that was offered by ALPN (RFC 7301, section 3.2).
const NO_COMMON_PROTOCOL: &str = "NoApplicationProtocol";

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
    /// Connected, and the app says that it has not looked at the request, which may be sent again
    /// (RFC 9113, section 8.7).
    Untouched(String),
}

impl OpenError {
    /// The metric label.
    #[must_use]
    pub fn outcome(&self) -> ConnectOutcome {
        match self {
            Self::Busy(_) => ConnectOutcome::Busy,
            Self::Peer(_) | Self::Unreachable(_) => ConnectOutcome::Unreachable,
            Self::Request(_) | Self::NoHead(_) | Self::Untouched(_) => ConnectOutcome::NoHead,
        }
    }

    pub(super) fn unreachable(peer: &HttpPeer, error: &BError) -> Self {
        // What a failed handshake is about stands in the context alone; it is rustls' text.
        let mut problem = match &error.context {
            Some(context) if matches!(error.etype(), ErrorType::TLSHandshakeFailure) => context
                .as_str()
                .rsplit("cause: ")
                .next()
                .unwrap_or_default()
                .to_owned(),
            _ => brief(error),
        };
        if problem.contains(NO_COMMON_PROTOCOL) {
            problem.push_str(" (it speaks another HTTP than this upstream's `http` says)");
        }
        Self::Unreachable(format!("{}: {problem}", peer.address()))
    }

    pub(super) fn no_head(error: BError) -> Self {
        Self::NoHead(brief(&error))
    }

    /// A request by HTTP/2 that was not answered. Of the requests on a connection with a GOAWAY the
    /// h2 crate fails with it those alone that are not among the ones which the app may have seen.
    pub(super) fn from_h2(error: &h2::Error) -> Self {
        let text = brief_h2(error);
        let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if error.is_remote() && (error.is_go_away() || is_refused) {
            Self::Untouched(text)
        } else {
            Self::NoHead(text)
        }
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
            Self::Untouched(problem) => write!(f, "the app did not take the request: {problem}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// The kind of an error of the h2 crate. What the app says of itself in a GOAWAY is left out: it may
/// be as long as a frame.
pub(super) fn brief_h2(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_go_away() => {
            let how = if error.is_remote() {
                "received"
            } else {
                "detected"
            };
            format!("connection error {how}: {reason}")
        }
        Some(_) | None => error.to_string(),
    }
}

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
