//! A complete answer that is no stream of ours: an error, a shed, a refusal of the app's.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Header fields in order, Content-Length among them where one is allowed. None is hop-by-hop,
    /// so that they fit HTTP/1 and HTTP/2.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// An answer with its length. A status that has no body (RFC 9110 sections 15.2, 15.3.5 and
    /// 15.4.5) gets neither.
    #[must_use]
    pub fn whole(
        status: StatusCode,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        body: impl Into<Bytes>,
    ) -> Self {
        let mut body = body.into();
        if matches!(status.as_u16(), 100..=199 | 204 | 304) {
            body.clear();
        } else {
            headers.push((CONTENT_LENGTH, HeaderValue::from(body.len())));
        }
        Self {
            status,
            headers,
            body,
        }
    }

    /// One line of plain text.
    #[must_use]
    pub fn text(status: StatusCode, text: &str) -> Self {
        let headers = vec![
            (
                CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            ),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Self::whole(status, headers, format!("{text}\n"))
    }

    /// The bytes on an HTTP/1 connection that is closed afterwards.
    #[must_use]
    pub fn to_http1_close(&self) -> Bytes {
        [self.http1_close_head(), self.body.clone()].concat().into()
    }

    /// The same without the body, which many clients may share.
    #[must_use]
    pub fn http1_close_head(&self) -> Bytes {
        let mut head = format!("HTTP/1.1 {}", self.status.as_u16());
        // RFC 9112 section 4: the space stays when the reason is empty.
        let reason = self.status.canonical_reason().unwrap_or_default();
        let _grown = write!(head, " {reason}\r\n");
        let mut bytes = head.into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"connection: close\r\n\r\n");
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_framed_by_its_length() {
        let later = Answer::text(StatusCode::SERVICE_UNAVAILABLE, "later");
        assert_eq!(
            later.to_http1_close(),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
             cache-control: no-store\r\ncontent-length: 6\r\nconnection: close\r\n\r\nlater\n"
        );
    }

    #[test]
    fn a_status_without_body_has_no_length() {
        let nothing = Answer::whole(StatusCode::NO_CONTENT, Vec::new(), "ignored");
        assert_eq!(
            nothing.to_http1_close(),
            "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
        );
    }
}
