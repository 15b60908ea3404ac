//! What we say to pages of other origins in the app's place (Fetch standard, section 3.2). Pure.
//!
//! A route that says who may read needs no `Origin` in its channel key: clients of all origins share
//! the app's stream, and each gets the lines for its own.

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, VARY,
    },
};

use crate::{
    answer::Answer,
    config::model::{Cors, Origins},
};

/// Fields of an answer.
pub type Lines = Vec<(HeaderName, HeaderValue)>;

/// Whether `origin` may read the route's streams.
#[must_use]
pub fn is_listed(cors: &Cors, origin: &[u8]) -> bool {
    match &cors.origins {
        Origins::All => true,
        Origins::Listed(patterns) => patterns.iter().any(|pattern| pattern.matches(origin)),
    }
}

/// A page of the very host that was asked. It needs no leave of ours to read, and gets none: behind
/// a proxy that ends TLS we cannot tell whether its scheme is ours.
#[must_use]
pub fn is_own(origin: &[u8], host: &str) -> bool {
    let authority = [&b"https://"[..], b"http://"]
        .into_iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_bytes()))
}

/// The lines that let the page of one client read its answer.
#[must_use]
pub fn grant(cors: &Cors, origin: Option<&[u8]>) -> Lines {
    let Some(origin) = origin.filter(|origin| is_listed(cors, origin)) else {
        return Lines::new();
    };
    if cors.origins == Origins::All {
        let everybody = HeaderValue::from_static("*");
        return vec![(ACCESS_CONTROL_ALLOW_ORIGIN, everybody)];
    }
    let Ok(origin) = HeaderValue::from_bytes(origin) else {
        return Lines::new();
    };
    let mut lines = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin)];
    if cors.credentials {
        let yes = HeaderValue::from_static("true");
        lines.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
    }
    lines
}

/// A field by which an app, or another part of us, speaks of CORS.
#[must_use]
pub fn is_about(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

/// Puts the route's word in place of what the fields of an answer say about it.
pub fn apply(lines: &mut Lines, cors: &Cors, origin: Option<&[u8]>) {
    lines.retain(|(name, _)| !is_about(name));
    let says_so =
        |(name, value): &(HeaderName, HeaderValue)| name == VARY && lists(value, "origin");
    if cors.origins != Origins::All && !lines.iter().any(says_so) {
        lines.push((VARY, HeaderValue::from_static("Origin")));
    }
    lines.extend(grant(cors, origin));
}

/// Whether a field that is a list has this member.
fn lists(value: &HeaderValue, member: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
}

/// The answer to the question whether a page of `origin` may ask for a stream with headers of its
/// own. It is the same whatever headers it asks about.
#[must_use]
pub fn preflight(cors: &Cors, origin: &[u8]) -> Answer {
    let mut lines = Lines::new();
    apply(&mut lines, cors, Some(origin));
    lines.extend([
        (
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET"),
        ),
        (
            ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from(cors.max_age.as_secs()),
        ),
    ]);
    let names: Vec<&str> = cors.headers.iter().map(HeaderName::as_str).collect();
    // Names of fields, so it always is one.
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        lines.push((ACCESS_CONTROL_ALLOW_HEADERS, names));
    }
    Answer::whole(StatusCode::NO_CONTENT, lines, "")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::OriginPattern;

    fn listed(credentials: bool) -> Cors {
        let origin = OriginPattern::Exact("https://a.example".to_owned());
        Cors {
            origins: Origins::Listed(vec![origin]),
            credentials,
            max_age: Duration::from_secs(600),
            headers: vec![http::header::AUTHORIZATION, http::header::CACHE_CONTROL],
        }
    }

    fn all() -> Cors {
        Cors {
            origins: Origins::All,
            ..listed(false)
        }
    }

    fn text(lines: &Lines) -> String {
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_origin_gets_its_own_lines_or_none() {
        let (a, b) = (
            Some(&b"https://a.example"[..]),
            Some(&b"https://b.example"[..]),
        );
        for (cors, origin, expected) in [
            (
                listed(false),
                a,
                "access-control-allow-origin: https://a.example",
            ),
            (
                listed(true),
                a,
                "access-control-allow-origin: https://a.example\n\
                 access-control-allow-credentials: true",
            ),
            (listed(true), b, ""),
            (listed(true), None, ""),
            (all(), b, "access-control-allow-origin: *"),
            (all(), Some(&b"null"[..]), "access-control-allow-origin: *"),
            (all(), None, ""),
        ] {
            assert_eq!(text(&grant(&cors, origin)), expected, "{cors:?} {origin:?}");
        }
    }

    #[test]
    fn a_page_of_the_host_itself_is_no_stranger() {
        for (origin, host, expected) in [
            ("https://shop.example", "shop.example", true),
            ("http://shop.example:8080", "Shop.example:8080", true),
            ("https://shop.example", "shop.example:443", false),
            ("https://shop.example.evil", "shop.example", false),
            ("null", "", false),
            ("shop.example", "shop.example", false),
        ] {
            assert_eq!(is_own(origin.as_bytes(), host), expected, "{origin} {host}");
        }
    }

    #[test]
    fn an_answer_says_what_the_route_says() {
        let vary = (VARY, HeaderValue::from_static("Accept, origin"));
        let theirs = (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let mut answer = Answer::whole(StatusCode::UNAUTHORIZED, vec![vary, theirs], "");
        apply(
            &mut answer.headers,
            &listed(true),
            Some(b"https://a.example"),
        );
        let expected = "vary: Accept, origin\ncontent-length: 0\n\
             access-control-allow-origin: https://a.example\n\
             access-control-allow-credentials: true";
        assert_eq!(text(&answer.headers), expected);
        apply(&mut answer.headers, &all(), None);
        assert_eq!(
            text(&answer.headers),
            "vary: Accept, origin\ncontent-length: 0"
        );
    }

    #[test]
    fn a_preflight_is_told_what_a_page_may_send() {
        let answer = preflight(&listed(true), b"https://a.example");
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let expected = "vary: Origin\naccess-control-allow-origin: https://a.example\n\
             access-control-allow-credentials: true\n\
             access-control-allow-methods: GET\naccess-control-max-age: 600\n\
             access-control-allow-headers: authorization, cache-control";
        assert_eq!(text(&answer.headers), expected);
    }
}
