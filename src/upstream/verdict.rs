//! What the app's response head means for a channel. Pure.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};

/// An app may ask us to stay away for this long at most.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

/// What a response head means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An event stream.
    Stream,
    /// The app cannot now: try again.
    Retryable {
        /// What it asked for with `Retry-After`, at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
    },
    /// No event stream; asking again would not help.
    Refused,
}

/// Judges a response head. `wall` is the time of day, for a `Retry-After` that is a date.
#[must_use]
pub fn judge(status: StatusCode, headers: &HeaderMap, wall: SystemTime) -> Verdict {
    if is_retryable(status) {
        return Verdict::Retryable {
            retry_after: retry_after(headers, wall),
        };
    }
    let is_stream = status == StatusCode::OK && is_event_stream(headers) && is_identity(headers);
    if is_stream {
        Verdict::Stream
    } else {
        Verdict::Refused
    }
}

fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// `text/event-stream` in any case, with any parameters.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let essence = value
        .as_bytes()
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"text/event-stream")
}

/// No content coding: we asked for none, and cannot share what we cannot read.
fn is_identity(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .all(|coding| {
            let coding = coding.trim_ascii();
            coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
        })
}

/// Seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wanted = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(wall).unwrap_or_default()
    };
    Some(wanted.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Verdict = Verdict::Refused;

    fn retryable(seconds: impl Into<Option<u64>>) -> Verdict {
        Verdict::Retryable {
            retry_after: seconds.into().map(Duration::from_secs),
        }
    }

    #[track_caller]
    fn check(status: u16, fields: &[(&'static str, &str)], expected: Verdict) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        // 1994-11-06 08:49:00 GMT
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_740);
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            judge(status, &headers, wall),
            expected,
            "{status} {fields:?}"
        );
    }

    #[test]
    fn a_200_of_the_right_type_is_a_stream() {
        for value in [
            "text/event-stream",
            "TEXT/Event-Stream",
            "text/event-stream;charset=utf-8",
            "text/event-stream ; charset=windows-1251",
            " text/event-stream;",
        ] {
            check(200, &[("content-type", value)], Verdict::Stream);
        }
    }

    #[test]
    fn any_other_type_is_refused() {
        check(200, &[], REFUSED);
        for value in [
            "",
            "text/html",
            "text/event-streams",
            "text/event-stream, x",
            "x",
        ] {
            check(200, &[("content-type", value)], REFUSED);
        }
    }

    #[test]
    fn a_content_coding_other_than_identity_is_refused() {
        let kind = ("content-type", "text/event-stream");
        for value in ["identity", "Identity", "", "identity, identity"] {
            check(200, &[kind, ("content-encoding", value)], Verdict::Stream);
        }
        for value in ["gzip", "br", "identity, gzip", "x-anything"] {
            check(200, &[kind, ("content-encoding", value)], REFUSED);
        }
        let twice = [
            kind,
            ("content-encoding", "identity"),
            ("content-encoding", "gzip"),
        ];
        check(200, &twice, REFUSED);
    }

    #[test]
    fn an_answer_that_asking_again_will_not_change_is_refused() {
        let kind = [("content-type", "text/event-stream")];
        for status in [
            201, 202, 204, 205, 206, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404,
        ] {
            check(status, &kind, REFUSED);
        }
        for status in [
            405, 406, 409, 410, 415, 421, 422, 426, 428, 431, 451, 600, 999,
        ] {
            check(status, &kind, REFUSED);
        }
    }

    #[test]
    fn an_answer_that_says_later_is_retryable() {
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
            check(
                status,
                &[("content-type", "text/event-stream")],
                retryable(None),
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |value, expected| check(503, &[("retry-after", value)], retryable(expected));
        check("0", Some(0));
        check("120", Some(120));
        check(" 7 ", Some(7));
        check("301", Some(300));
        check("99999999999999999999999", Some(300));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(37));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(37));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("Sat, 06 Nov 2094 08:00:00 GMT", Some(300));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
    }
}
