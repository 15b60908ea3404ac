//! Answers of our own on pingora's sessions: short plain text that says what was wrong, never how
//! we are built.

use http::{Method, StatusCode};
use pingora::{
    Error, ErrorSource, ErrorType,
    http::ResponseHeader,
    protocols::http::{ServerSession, v2::server::HttpSession as H2Session},
};

use super::{framing::BadFraming, pace::TooSlow};
use crate::{answer::Answer, decide::Refusal, error::RefuseReason};

/// What becomes of an HTTP/1 connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// It may carry the next request.
    Keep,
    /// It is closed: what follows on it cannot be trusted, or we want it gone.
    Close,
}

/// The answer to a request that `decide` refused.
#[must_use]
pub fn refusal(refusal: &Refusal) -> Answer {
    Answer::text(refusal.status, &refusal.text)
}

impl From<RefuseReason> for Connection {
    fn from(reason: RefuseReason) -> Self {
        match reason {
            RefuseReason::BadRequest | RefuseReason::Draining => Self::Close,
            RefuseReason::NoRoute
            | RefuseReason::ConnectionsMax
            | RefuseReason::SubscribersMax
            | RefuseReason::MemoryMax
            | RefuseReason::ChannelMax
            | RefuseReason::ChannelsMax
            | RefuseReason::UpstreamConnectionsMax
            | RefuseReason::RingBytesMax
            | RefuseReason::UpstreamUnreachable
            | RefuseReason::RouteMax
            | RefuseReason::AddressMax
            | RefuseReason::AddressConnectionsMax
            | RefuseReason::Reloaded
            | RefuseReason::Origin => Self::Keep,
        }
    }
}

/// The answer to a request that could not be proxied; `None` if the client is gone.
#[must_use]
pub(super) fn failure(error: &Error) -> Option<Answer> {
    let (status, text) = match error.esource() {
        ErrorSource::Upstream => upstream_failure(error.etype()),
        ErrorSource::Downstream => downstream_failure(error)?,
        ErrorSource::Internal | ErrorSource::Unset => {
            let status = if let ErrorType::HTTPStatus(code) = error.etype() {
                StatusCode::from_u16(*code).ok()
            } else {
                None
            };
            (
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                "the request could not be served",
            )
        }
    };
    Some(Answer::text(status, text))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "pingora's list grows; what is neither time, reach nor a hang-up is the app's doing"
)]
fn upstream_failure(kind: &ErrorType) -> (StatusCode, &'static str) {
    use ErrorType as E;
    match kind {
        E::ConnectTimedout | E::ReadTimedout | E::WriteTimedout | E::TLSHandshakeTimedout => (
            StatusCode::GATEWAY_TIMEOUT,
            "the app did not answer in time",
        ),
        E::ConnectRefused
        | E::ConnectNoRoute
        | E::ConnectError
        | E::BindError
        | E::SocketError
        | E::ConnectProxyFailure
        | E::InvalidCert
        | E::TLSHandshakeFailure
        | E::HandshakeError => (StatusCode::BAD_GATEWAY, "the app cannot be reached"),
        E::ConnectionClosed | E::ReadError | E::WriteError => (
            StatusCode::BAD_GATEWAY,
            "the app closed the connection before it answered",
        ),
        _ => (
            StatusCode::BAD_GATEWAY,
            "the app's answer is not valid HTTP",
        ),
    }
}

const SLOW_BODY: (StatusCode, &str) = (
    StatusCode::REQUEST_TIMEOUT,
    "the request body did not arrive in time",
);

fn downstream_failure(error: &Error) -> Option<(StatusCode, &'static str)> {
    use ErrorType as E;
    // What the turnstile had to say.
    let ours = error
        .root_cause()
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    let is_slow = ours.is_some_and(|inner| inner.is::<TooSlow>());
    let framing = ours.and_then(|inner| inner.downcast_ref::<BadFraming>());
    match (framing, error.etype()) {
        (Some(bad), _) => Some((StatusCode::BAD_REQUEST, bad.0)),
        (None, E::ReadTimedout) => Some(SLOW_BODY),
        (None, _) if is_slow => Some(SLOW_BODY),
        (None, E::ReadError | E::WriteError | E::WriteTimedout | E::ConnectionClosed) => None,
        (None, _) => Some((StatusCode::BAD_REQUEST, "the request is not valid HTTP")),
    }
}

fn head(answer: &Answer) -> pingora::Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 2))?;
    for (name, value) in &answer.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok(Box::new(head))
}

/// Sends an answer on a session of either protocol.
///
/// # Errors
/// The client is gone.
pub(super) async fn send(
    session: &mut ServerSession,
    answer: Answer,
    connection: Connection,
) -> pingora::Result<()> {
    if connection == Connection::Close {
        session.set_keepalive(None);
    }
    let has_body = session.req_header().method != Method::HEAD;
    session.write_response_header(head(&answer)?).await?;
    if has_body {
        session.write_response_body(answer.body, true).await?;
    }
    session.finish_body().await
}

/// Sends an answer on an HTTP/2 stream.
///
/// # Errors
/// The client is gone.
pub async fn send_h2(session: &mut H2Session, answer: Answer) -> pingora::Result<()> {
    let is_whole = session.req_header().method == Method::HEAD || answer.body.is_empty();
    session.write_response_header(head(&answer)?, is_whole)?;
    if is_whole {
        Ok(())
    } else {
        session.write_body(answer.body, true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(kind: ErrorType, source: ErrorSource) -> Option<u16> {
        let mut error = Error::new(kind);
        error.esource = source;
        failure(&error).map(|answer| answer.status.as_u16())
    }

    #[test]
    fn failures_map_to_gateway_statuses() {
        use ErrorSource::{Downstream, Internal, Upstream};
        for (kind, source, expected) in [
            (ErrorType::ConnectRefused, Upstream, Some(502)),
            (ErrorType::ConnectTimedout, Upstream, Some(504)),
            (ErrorType::ReadTimedout, Upstream, Some(504)),
            (ErrorType::ConnectionClosed, Upstream, Some(502)),
            (ErrorType::InvalidHTTPHeader, Upstream, Some(502)),
            (ErrorType::ReadTimedout, Downstream, Some(408)),
            (ErrorType::ConnectionClosed, Downstream, None),
            (ErrorType::InvalidHTTPHeader, Downstream, Some(400)),
            (ErrorType::InternalError, Internal, Some(500)),
            (ErrorType::HTTPStatus(503), Internal, Some(503)),
        ] {
            assert_eq!(
                status(kind.clone(), source.clone()),
                expected,
                "{kind:?} {source:?}"
            );
        }
    }

    #[test]
    fn a_broken_chunk_is_told_to_the_client() {
        let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, BadFraming("bad chunk"));
        let mut error = Error::because(ErrorType::ReadError, "reading body", cause);
        error.esource = ErrorSource::Downstream;
        let answer = failure(&error).unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.body, "bad chunk\n");
    }
}
