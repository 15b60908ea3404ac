//! A complete answer that is no stream of ours: a refusal of the app's, a shed, an error.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// Status, headers and body; the protocol adds framing, `Date` and the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers, without framing and hop-by-hop ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whole body.
    pub body: Bytes,
}

impl Answer {
    /// One line of plain text.
    #[must_use]
    pub fn text(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            headers: vec![
                (
                    http::header::CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                ),
                (
                    http::header::CACHE_CONTROL,
                    HeaderValue::from_static("no-store"),
                ),
            ],
            body: Bytes::from(format!("{text}\n")),
        }
    }
}
