//! What the app is asked: the client's request, less what concerns its connection to us. Pure.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::{Result, http::RequestHeader};

use crate::{
    client::Client, config::model::Upstream, decide::wants_websocket, passthrough::forward,
    upstream::exchange::RequestBody,
};

/// Fields that concern one connection only, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The head for the app, without the framing of the body that follows.
///
/// # Errors
/// A value cannot stand in a header field.
pub(super) fn for_app(
    given: &RequestHeader,
    has_body: bool,
    client: Client,
    upstream: &Upstream,
) -> Result<(Box<RequestHeader>, RequestBody)> {
    let mut head = given.clone();
    head.set_version(Version::HTTP_11);
    let authority = given.uri.authority().map(ToString::to_string);
    if let Some(host) = authority {
        head.insert_header(header::HOST, host)?;
    }
    for name in nominated(&given.headers) {
        head.remove_header(&name);
    }
    for name in &HOP_BY_HOP {
        head.remove_header(name);
    }
    // Only an answer that nobody compressed can be kept alive by comments.
    if wants_events(&given.headers) {
        head.insert_header(header::ACCEPT_ENCODING, "identity")?;
    }
    forward::request(&mut head, client, upstream)?;
    let body = match (has_body, head.headers.contains_key(header::CONTENT_LENGTH)) {
        (false, _) => RequestBody::None,
        (true, true) => RequestBody::Sized,
        (true, false) => RequestBody::Unsized,
    };
    Ok((Box::new(head), body))
}

/// The fields that `Connection` names, less those that a request cannot do without.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect()
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let tokens = value.as_bytes().split(|byte| *byte == b',');
    tokens.map(<[u8]>::trim_ascii)
}

/// The client says that it reads event streams.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| token.split(|byte| *byte == b';').next())
        .any(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

/// Whether requests like this one are streamed. Those without an answer's body, and WebSockets, are for
/// the pass-through. Any other protocol that a client offers stays behind like its connection.
#[must_use]
pub fn is_streamed(head: &RequestHeader) -> bool {
    let plain = ![
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ]
    .contains(&head.method);
    plain && !wants_websocket(&head.headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::testing, route::key::Scheme};

    fn head(method: &str, fields: &[(&str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, b"/chat?a=1", None).unwrap();
        for (name, value) in fields {
            head.append_header((*name).to_owned(), (*value).to_owned())
                .unwrap();
        }
        head
    }

    fn asked(given: &RequestHeader, has_body: bool) -> (Box<RequestHeader>, RequestBody) {
        let client = Client::peer("192.0.2.7".parse().ok(), Scheme::Https);
        for_app(given, has_body, client, &testing::upstream(1)).unwrap()
    }

    #[test]
    fn what_concerns_the_clients_connection_stays_behind() {
        let given = head(
            "POST",
            &[
                ("Host", "shop.example"),
                (
                    "Connection",
                    "keep-alive, X-Hop, Host, Content-Length, Upgrade",
                ),
                ("Upgrade", "h2c"),
                ("Keep-Alive", "5"),
                ("X-Hop", "1"),
                ("TE", "trailers"),
                ("Transfer-Encoding", "chunked"),
                ("Mcp-Session-Id", "s"),
                ("Last-Event-ID", "7"),
                ("Expect", "100-continue"),
                ("X-Forwarded-For", "6.6.6.6"),
            ],
        );
        let (head, body) = asked(&given, true);
        assert_eq!(body, RequestBody::Unsized);
        for gone in [
            "connection",
            "keep-alive",
            "x-hop",
            "te",
            "transfer-encoding",
            "upgrade",
        ] {
            assert!(!head.headers.contains_key(gone), "{gone}");
        }
        for (name, value) in [
            ("host", "shop.example"),
            ("mcp-session-id", "s"),
            ("last-event-id", "7"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
        ] {
            assert_eq!(head.headers.get(name).unwrap(), value, "{name}");
        }
        assert_eq!(head.raw_path(), b"/chat?a=1");
    }

    #[test]
    fn what_follows_is_known_by_its_length_or_not_at_all() {
        for (fields, has_body, expected) in [
            (&[("Content-Length", "5")][..], true, RequestBody::Sized),
            (&[], true, RequestBody::Unsized),
            (&[], false, RequestBody::None),
            (&[("Content-Length", "0")], false, RequestBody::None),
        ] {
            let (_, body) = asked(&head("POST", fields), has_body);
            assert_eq!(body, expected, "{fields:?}");
        }
    }

    #[test]
    fn compression_is_declined_for_those_who_read_events() {
        for (accept, encoding) in [
            ("text/event-stream", "identity"),
            ("application/json, Text/Event-Stream;q=0.5", "identity"),
            ("application/json", "gzip"),
            ("*/*", "gzip"),
        ] {
            let given = head("POST", &[("Accept", accept), ("Accept-Encoding", "gzip")]);
            let (head, _) = asked(&given, false);
            assert_eq!(
                head.headers.get("accept-encoding").unwrap(),
                encoding,
                "{accept}"
            );
        }
    }

    #[test]
    fn an_authority_is_the_host() {
        let mut given = head("POST", &[("Host", "other")]);
        given.set_uri(http::Uri::from_static("https://shop.example/chat"));
        let (head, _) = asked(&given, false);
        assert_eq!(head.headers.get("host").unwrap(), "shop.example");
        assert_eq!(head.raw_path(), b"/chat");
    }

    #[test]
    fn other_protocols_and_bodiless_answers_are_not_streamed() {
        for (method, fields, expected) in [
            ("GET", &[][..], true),
            ("POST", &[], true),
            ("DELETE", &[], true),
            ("HEAD", &[], false),
            ("OPTIONS", &[], false),
            ("GET", &[("Upgrade", "WebSocket")], false),
            ("GET", &[("Upgrade", "h2c")], true),
            ("POST", &[("Upgrade", "anything")], true),
        ] {
            let found = is_streamed(&head(method, fields));
            assert_eq!(found, expected, "{method} {fields:?}");
        }
    }
}
