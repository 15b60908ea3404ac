//! The answer of an app that gave no event stream, in the form in which all who wait get it. Pure.

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{
        ACCEPT_RANGES, AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, ETAG, EXPIRES,
        LAST_MODIFIED, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::exchange::{RefusalBody, ResponseHead, Rest};
use crate::answer::Answer;

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
/// Half a body passes for a whole one with nobody. So when there is more of it than is kept, the
/// status is handed on with what a client acts on (`Location`, `Retry-After`, ...) and a line of our
/// own; a success without its body would be a lie, and becomes 502.
#[must_use]
pub fn answer(head: &ResponseHead, body: RefusalBody) -> Answer {
    match body.rest {
        Rest::None => Answer::whole(head.status, shared_headers(&head.headers), body.bytes),
        Rest::More | Rest::Cut if head.status.is_success() => Answer::text(
            StatusCode::BAD_GATEWAY,
            "the app answered with something that is no event stream",
        ),
        Rest::More | Rest::Cut => {
            let text = "the app refused, with an answer too long to share";
            let mut answer = Answer::text(head.status, text);
            let about_request = |(name, _): &(HeaderName, _)| !is_about_body(name);
            let kept = shared_headers(&head.headers)
                .into_iter()
                .filter(about_request);
            answer.headers.extend(kept);
            answer
        }
    }
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

fn shared_headers(headers: &HeaderMap) -> Vec<(HeaderName, http::HeaderValue)> {
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
        answer(
            &head,
            RefusalBody {
                bytes: Bytes::from_static(b"body"),
                rest,
            },
        )
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
        for rest in [Rest::More, Rest::Cut] {
            let answer = answered(404, &[("content-type", "text/html")], rest);
            assert_eq!(answer.status, 404);
            assert!(!answer.body.starts_with(b"body"));
            assert_eq!(answered(200, &[], rest).status, 502);
        }
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
