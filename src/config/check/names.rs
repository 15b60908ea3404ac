//! Names of headers, cookies and query parameters: well formed, once each, and fit for their place.

use http::HeaderName;

use super::at::At;

/// Headers that tell nothing about a client, or that we set or strip ourselves.
const NOT_IDENTITY: [&str; 25] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "last-event-id",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Headers of an app's answer that are for one client or one connection only, or that we set.
const NOT_FOR_ALL: [&str; 20] = [
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "last-modified",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-accel-buffering",
];

/// Headers that make up a client's identity.
pub(super) fn identity_headers(names: &[String], at: &At<'_>) -> Vec<HeaderName> {
    headers(names, at, |name| match name {
        "cookie" => Some("cookies are chosen by `identity.cookies`; leave it out here".to_owned()),
        name if NOT_IDENTITY.contains(&name) => Some(format!(
            "`{name}` does not tell who a client is; leave it out"
        )),
        _ => None,
    })
}

/// Headers of an app's answer that go to every client.
pub(super) fn response_headers(names: Option<&Vec<String>>, at: &At<'_>) -> Vec<HeaderName> {
    headers(names.map_or(&[], Vec::as_slice), at, |name| {
        NOT_FOR_ALL
            .contains(&name)
            .then(|| format!("`{name}` of one answer must not go to every client; leave it out"))
    })
}

/// Headers that pages of other origins may set.
pub(super) fn cors_headers(names: &[String], at: &At<'_>) -> Vec<HeaderName> {
    headers(names, at, |_| None)
}

/// Parses header names; `refuse` says why one may not stand here.
fn headers(
    names: &[String],
    at: &At<'_>,
    refuse: impl Fn(&str) -> Option<String>,
) -> Vec<HeaderName> {
    let mut headers = Vec::new();
    for (index, text) in names.iter().enumerate() {
        let here = at.item(index);
        let Ok(name) = text.parse::<HeaderName>() else {
            here.problem(&format!(
                "`{}` is not a header name; use letters, digits and `-`",
                text.escape_debug()
            ));
            continue;
        };
        if let Some(why) = refuse(name.as_str()) {
            here.problem(&why);
        } else if headers.contains(&name) {
            here.problem(&format!("`{name}` stands twice; keep one"));
        } else {
            headers.push(name);
        }
    }
    headers
}

/// Names of cookies.
pub(super) fn cookies(names: &[String], at: &At<'_>) {
    let is_cookie_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'=' | b';'))
    };
    well_formed(names, at, "a cookie name", is_cookie_name);
}

/// Names of query parameters.
pub(super) fn query(names: &[String], at: &At<'_>) {
    well_formed(names, at, "a query parameter", is_query_name);
}

/// Whether a query parameter can have this name, as it is sent.
pub(super) fn is_query_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'=' | b'#'))
}

fn well_formed(names: &[String], at: &At<'_>, what: &str, is_it: impl Fn(&str) -> bool) {
    for (index, name) in names.iter().enumerate() {
        let here = at.item(index);
        if !is_it(name) {
            let shown = name.escape_debug();
            here.problem(&format!(
                "`{shown}` is not {what}; write it as clients send it"
            ));
        } else if names.iter().take(index).any(|other| other == name) {
            here.problem(&format!("`{name}` stands twice; keep one"));
        }
    }
}
