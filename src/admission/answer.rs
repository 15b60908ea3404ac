//! What a client is told that is turned away, in a form that it survives.
//!
//! A native EventSource gives up for good on any status but 200 (HTML standard, section 9.2.3), so
//! it gets a stream that ends at once and says when to come back. Everyone else gets a plain 503.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE,
        RETRY_AFTER, VARY,
    },
};

use crate::answer::Answer;

/// For a native EventSource: it reconnects by itself after `retry`.
///
/// There is no id, so the client keeps the one it has. With an `origin` the answer is readable by
/// it, credentials or not: a CORS failure would be as final as a 503, and the body holds nothing.
#[must_use]
pub fn event_source(retry: Duration, origin: Option<&[u8]>) -> Answer {
    // No blank line: it would be an empty event to some clients.
    let body = format!(
        "retry: {}\n:at capacity, come back later\n",
        retry.as_millis()
    );
    let mut headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (
            CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        ),
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_bytes(origin).ok()) {
        headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, origin));
        headers.push((
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        ));
        headers.push((VARY, HeaderValue::from_static("Origin")));
    }
    Answer::whole(StatusCode::OK, headers, body)
}

/// For any other client: 503 with Retry-After and one line of text.
#[must_use]
pub fn unavailable(retry: Duration) -> Answer {
    let seconds = retry.as_millis().div_ceil(1_000).max(1);
    let headers = vec![
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            RETRY_AFTER,
            HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
        ),
    ];
    let body = format!("at capacity, come back in {seconds} s\n");
    Answer::whole(StatusCode::SERVICE_UNAVAILABLE, headers, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &Answer, expected: &str) {
        let bytes = answer.to_http1_close();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            expected.replace('\n', "\r\n").replace("~", "\n")
        );
    }

    #[test]
    fn event_source_gets_a_stream_that_ends_and_a_time_to_come_back() {
        check(
            &event_source(Duration::from_millis(12_345), None),
            "HTTP/1.1 200 OK\ncontent-type: text/event-stream\n\
             cache-control: no-store, no-transform\nx-accel-buffering: no\ncontent-length: 43\n\
             connection: close\n\nretry: 12345~:at capacity, come back later~",
        );
    }

    #[test]
    fn a_cross_origin_event_source_may_read_it() {
        check(
            &event_source(Duration::from_secs(10), Some(b"https://shop.example")),
            "HTTP/1.1 200 OK\ncontent-type: text/event-stream\n\
             cache-control: no-store, no-transform\nx-accel-buffering: no\n\
             access-control-allow-origin: https://shop.example\n\
             access-control-allow-credentials: true\nvary: Origin\ncontent-length: 43\n\
             connection: close\n\nretry: 10000~:at capacity, come back later~",
        );
    }

    #[test]
    fn an_origin_that_no_header_may_carry_is_left_out() {
        let plain = event_source(Duration::from_secs(10), None);
        for origin in [&b"a\r\nset-cookie: x"[..], b"a\0b", b"\n"] {
            assert_eq!(event_source(Duration::from_secs(10), Some(origin)), plain);
        }
    }

    #[test]
    fn others_get_503_with_retry_after_in_whole_seconds() {
        check(
            &unavailable(Duration::from_millis(12_345)),
            "HTTP/1.1 503 Service Unavailable\ncontent-type: text/plain; charset=utf-8\n\
             cache-control: no-store\nretry-after: 13\ncontent-length: 31\nconnection: close\n\n\
             at capacity, come back in 13 s~",
        );
        assert!(
            unavailable(Duration::ZERO)
                .headers
                .contains(&(RETRY_AFTER, 1.into()))
        );
    }
}
