//! The answer of an app that gave no event stream, in the form in which all who wait get it. Pure.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{
        ACCEPT_RANGES, AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, ETAG, EXPIRES,
        LAST_MODIFIED, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::exchange::{RefusalBody, ResponseHead, Rest};
use crate::{answer::Answer, channel::view::Refusal};

/// Fields of one connection, of its framing, or of one client.
const DROPPED: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The app's answer for all who wait: status, header fields less `Set-Cookie`, body.
///
/// A body that is too long to keep is asked for again by each client for itself. Half a body passes
/// for a whole one with nobody: when the connection broke, the status is handed on with what a
/// client acts on (`Location`, `Retry-After`, ...) and a line of our own; a success without its body
/// would be a lie, and becomes 502.
#[must_use]
pub fn refusal(head: &ResponseHead, body: RefusalBody) -> Refusal {
    match body.rest {
        Rest::None => whole(Answer::whole(
            head.status,
            client_headers(&head.headers),
            body.bytes,
        )),
        Rest::More => Refusal::TooLong,
        Rest::Cut if head.status.is_success() => whole(Answer::text(
            StatusCode::BAD_GATEWAY,
            "the app answered with something that is no event stream",
        )),
        Rest::Cut => {
            let mut answer = Answer::text(head.status, "the app refused, and its answer broke off");
            let about_request = |(name, _): &(HeaderName, _)| !is_about_body(name);
            let kept = client_headers(&head.headers)
                .into_iter()
                .filter(about_request);
            answer.headers.extend(kept);
            whole(answer)
        }
    }
}

fn whole(answer: Answer) -> Refusal {
    Refusal::Whole(Arc::new(answer))
}

/// Fields that describe the body they came with, or how long it may be kept.
fn is_about_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-")
        || [
            ACCEPT_RANGES,
            AGE,
            CACHE_CONTROL,
            ETAG,
            EXPIRES,
            LAST_MODIFIED,
        ]
        .contains(name)
}

/// What any client may get of an app's head: without the fields of one connection, of its framing,
/// and without `Set-Cookie`, which is one client's own.
#[must_use]
pub fn client_headers(headers: &HeaderMap) -> Vec<(HeaderName, http::HeaderValue)> {
    let named: Vec<&[u8]> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let is_named = |name: &HeaderName| {
        named
            .iter()
            .any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    headers
        .iter()
        .filter(|(name, _)| !DROPPED.contains(name) && !is_named(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answered(status: u16, fields: &[(&'static str, &str)], rest: Rest) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let head = ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
        };
        let body = RefusalBody {
            bytes: Bytes::from_static(b"body"),
            rest,
        };
        match refusal(&head, body) {
            Refusal::Whole(answer) => (*answer).clone(),
            Refusal::TooLong => panic!("to be asked for again"),
        }
    }

    fn names(answer: &Answer) -> Vec<&str> {
        answer
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    #[test]
    fn a_whole_refusal_is_handed_on_without_what_is_not_for_all() {
        let fields = [
            ("content-type", "text/plain"),
            ("www-authenticate", "Basic"),
            ("retry-after", "7"),
            ("location", "/login"),
            ("set-cookie", "session=secret"),
            ("content-length", "4"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("upgrade", "h2c"),
        ];
        let answer = answered(401, &fields, Rest::None);
        assert_eq!(answer.status, 401);
        assert_eq!(&answer.body[..], b"body");
        let expected = [
            "content-type",
            "www-authenticate",
            "retry-after",
            "location",
            "content-length",
        ];
        assert_eq!(names(&answer), expected);
        assert!(
            answer
                .headers
                .iter()
                .any(|(name, value)| name == CONTENT_LENGTH && value == "4")
        );
    }

    #[test]
    fn half_a_body_is_never_handed_on() {
        let answer = answered(404, &[("content-type", "text/html")], Rest::Cut);
        assert_eq!(answer.status, 404);
        assert!(!answer.body.starts_with(b"body"));
        assert_eq!(answered(200, &[], Rest::Cut).status, 502);
    }

    #[test]
    fn no_content_stays_without_content() {
        let answer = answered(204, &[], Rest::None);
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.body.len(),
                names(&answer).len()
            ),
            (204, 0, 0)
        );
    }
}
