//! Answers of our own: short plain text that says what was wrong, never how we are built.

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, header};
use pingora::{
    Error, ErrorSource, ErrorType, OrErr,
    http::ResponseHeader,
    protocols::http::{ServerSession, v2::server::HttpSession as H2Session},
};

use super::framing::BadFraming;
use crate::{decide::Refusal, error::RefuseReason};

/// An answer without an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// One line for the client.
    pub text: Cow<'static, str>,
    /// Whether an HTTP/1 connection ends with it.
    pub connection: Connection,
}

/// What becomes of an HTTP/1 connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It may carry the next request.
    Keep,
    /// It is closed: what follows on it cannot be trusted, or we want it gone.
    Close,
}

impl Answer {
    /// An answer that ends the connection.
    #[must_use]
    pub const fn closing(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            text: Cow::Borrowed(text),
            connection: Connection::Close,
        }
    }

    /// The answer to a request that `decide` refused.
    #[must_use]
    pub fn refusal(refusal: &Refusal) -> Self {
        let connection = match refusal.reason {
            RefuseReason::BadRequest | RefuseReason::Draining => Connection::Close,
            RefuseReason::NoRoute
            | RefuseReason::SubscribersMax
            | RefuseReason::ChannelMax
            | RefuseReason::ChannelsMax
            | RefuseReason::UpstreamUnreachable => Connection::Keep,
        };
        Self {
            status: refusal.status,
            text: refusal.text.clone(),
            connection,
        }
    }

    /// The answer to a request that could not be proxied; `None` if the client is gone.
    #[must_use]
    pub fn failure(error: &Error) -> Option<Self> {
        let (status, text) = match error.esource() {
            ErrorSource::Upstream => upstream_failure(error.etype()),
            ErrorSource::Downstream => return downstream_failure(error),
            ErrorSource::Internal | ErrorSource::Unset => match error.etype() {
                ErrorType::HTTPStatus(code) => (
                    StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    "the request could not be served",
                ),
                _ => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the request could not be served",
                ),
            },
        };
        Some(Self::closing(status, text))
    }

    /// The body: the text and a line feed.
    #[must_use]
    pub fn body(&self) -> Bytes {
        Bytes::from(format!("{}\n", self.text))
    }

    /// As raw bytes of HTTP/1.1, for connections that pingora has not seen.
    #[must_use]
    pub fn http1(&self) -> Bytes {
        let connection = match self.connection {
            Connection::Keep => "keep-alive",
            Connection::Close => "close",
        };
        let retry = if self.wants_retry() {
            "Retry-After: 5\r\n"
        } else {
            ""
        };
        Bytes::from(format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Cache-Control: no-store\r\n{retry}Content-Length: {}\r\nConnection: {connection}\r\n\r\n{}\n",
            self.status.as_u16(),
            self.status.canonical_reason().unwrap_or_default(),
            self.text.len() + 1,
            self.text,
        ))
    }

    fn wants_retry(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    fn head(&self) -> pingora::Result<Box<ResponseHeader>> {
        let mut head = ResponseHeader::build(self.status, Some(6))?;
        head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        head.insert_header(header::CONTENT_LENGTH, self.text.len() + 1)?;
        if self.wants_retry() {
            head.insert_header(header::RETRY_AFTER, "5")?;
        }
        Ok(Box::new(head))
    }

    /// Sends it on a session of either protocol.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send(&self, session: &mut ServerSession) -> pingora::Result<()> {
        if self.connection == Connection::Close {
            session.set_keepalive(None);
        }
        let head = self.head()?;
        let has_body = session.req_header().method != http::Method::HEAD;
        session.write_response_header(head).await?;
        if has_body {
            session.write_response_body(self.body(), true).await?;
        }
        session.finish_body().await
    }

    /// Sends it on an HTTP/2 stream.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send_h2(&self, session: &mut H2Session) -> pingora::Result<()> {
        let head_only = session.req_header().method == http::Method::HEAD;
        session.write_response_header(self.head()?, head_only)?;
        if !head_only {
            session
                .write_body(self.body(), true)
                .await
                .or_err(ErrorType::WriteError, "answering")?;
        }
        session.finish()
    }
}

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

fn downstream_failure(error: &Error) -> Option<Answer> {
    let framing = error
        .root_cause()
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<BadFraming>());
    let (status, text) = match (framing, error.etype()) {
        (Some(bad), _) => (StatusCode::BAD_REQUEST, bad.0),
        (None, ErrorType::ReadTimedout) => (
            StatusCode::REQUEST_TIMEOUT,
            "the request body did not arrive in time",
        ),
        (
            None,
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ConnectionClosed,
        ) => return None,
        (None, _) => (StatusCode::BAD_REQUEST, "the request is not valid HTTP"),
    };
    Some(Answer::closing(status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_form_states_its_length_and_closes() {
        let answer = Answer::closing(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
        let raw = String::from_utf8(answer.http1().to_vec()).unwrap();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "too many connections\n");
        assert!(
            head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{head}"
        );
        for field in ["Content-Length: 21", "Connection: close", "Retry-After: 5"] {
            assert!(head.lines().any(|line| line == field), "{field} in {head}");
        }
    }

    fn failure(kind: ErrorType, source: ErrorSource) -> Option<u16> {
        let mut error = Error::new(kind);
        error.esource = source;
        Answer::failure(&error).map(|answer| answer.status.as_u16())
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
                failure(kind.clone(), source.clone()),
                expected,
                "{kind:?} {source:?}"
            );
        }
    }
}
