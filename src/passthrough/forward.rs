//! What the app sees of the client, and the client of the app: `X-Forwarded-*`, `Forwarded`,
//! `Host`, and the fields that concern one connection only. Pure.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
};

use super::claims;
use crate::{
    client::Client,
    config::model::{Upstream, UpstreamHost},
};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

// As text: pingora would copy a `HeaderName` for each request, to keep its spelling.
const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED: &str = "forwarded";

/// Fields of an answer that concern the app's connection to us. Trailers are among them since they
/// are not forwarded on HTTP/1, so that they must not be announced.
static HOP_BY_HOP: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
    header::TRAILER,
];

/// Prepares the request that the app gets. Pingora has already removed hop-by-hop fields, those
/// named by `Connection` too, and has normalised a WebSocket handshake.
///
/// # Errors
/// A value cannot stand in a header field.
pub fn request(head: &mut RequestHeader, client: Client, upstream: &Upstream) -> Result<()> {
    let address = client.address.map(|address| address.to_string());
    let chain = client.chain(&head.headers);
    let asked_for = client.host(&head.headers).map(str::to_owned);
    claims::settle(head, client);
    join_cookies(head)?;
    let host = head
        .headers
        .get(header::HOST)
        .cloned()
        .filter(|host| !host.is_empty());
    let asked_for = asked_for.map(|host| HeaderValue::try_from(host).ok());
    let asked_for = asked_for.unwrap_or_else(|| host.clone());
    let forwarded = forwarded(client, address.as_deref(), asked_for.as_ref());
    if let Some(chain) = chain.or(address) {
        head.insert_header(X_FORWARDED_FOR, chain)?;
    }
    let scheme = HeaderValue::from_static(client.scheme.as_str());
    head.insert_header(X_FORWARDED_PROTO, scheme)?;
    if let Some(host) = asked_for {
        head.insert_header(X_FORWARDED_HOST, host)?;
    }
    head.insert_header(FORWARDED, forwarded)?;
    match (&upstream.host, host) {
        (UpstreamHost::Fixed(name), _) => head.insert_header(header::HOST, name.as_str()),
        (UpstreamHost::Preserve, Some(_)) => Ok(()),
        // An HTTP/1.0 client may send none; the app speaks HTTP/1.1 and needs one.
        (UpstreamHost::Preserve, None) => {
            head.insert_header(header::HOST, upstream.address.authority())
        }
    }
}

/// HTTP/2 clients may split `Cookie`; towards HTTP/1.1 it must be one field (RFC 9113, 8.2.3).
fn join_cookies(head: &mut RequestHeader) -> Result<()> {
    let crumbs = head.headers.get_all(header::COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return Ok(());
    }
    let crumbs: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    let joined = crumbs.join(&b"; "[..]);
    head.insert_header(header::COOKIE, joined)
}

/// RFC 7239: a node name that is not a plain token is quoted.
fn forwarded(client: Client, address: Option<&str>, host: Option<&HeaderValue>) -> String {
    let (open, close) = match client.address {
        Some(IpAddr::V6(_)) => ("\"[", "]\""),
        Some(IpAddr::V4(_)) | None => ("", ""),
    };
    let node = address.unwrap_or("unknown");
    let proto = client.scheme.as_str();
    // The front accepted only hosts without quotes and backslashes; the check here keeps that local.
    let host = host
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.contains(['"', '\\']));
    let [open_host, host, close_host] = host.map_or([""; 3], |host| [";host=\"", host, "\""]);
    [
        "for=", open, node, close, open_host, host, close_host, ";proto=", proto,
    ]
    .concat()
}

/// Removes from the app's answer what concerns its connection to us only. Pingora sets `Connection`
/// anew. An answer that switches protocols keeps what names the new one.
pub fn response(head: &mut ResponseHeader) {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let named: Vec<HeaderName> = head
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // What nearly all apps say, and names no field that is not removed below.
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        // These frame the message and are nobody's to remove.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        head.remove_header(name);
    }
    head.set_version(Version::HTTP_11);
}

/// Tells caches and proxies behind us to pass an event stream on as it comes.
///
/// # Errors
/// A value cannot stand in a header field.
pub fn unbuffered(head: &mut ResponseHeader) -> Result<()> {
    if !is_event_stream(&head.headers) {
        return Ok(());
    }
    head.insert_header(X_ACCEL_BUFFERING, "no")?;
    let directives: Vec<&[u8]> = head
        .headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let has_no_transform = directives
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"no-transform"));
    if has_no_transform {
        return Ok(());
    }
    let mut joined = directives.join(&b", "[..]);
    if joined.is_empty() {
        joined.extend_from_slice(b"no-store");
    }
    joined.extend_from_slice(b", no-transform");
    head.insert_header(header::CACHE_CONTROL, joined)
}

/// The answer's body is an event stream.
#[must_use]
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(TYPE)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::model::{AppHttp, TrustedProxies, UpstreamAddress},
        route::key::Scheme,
    };

    fn upstream(host: UpstreamHost) -> Upstream {
        Upstream {
            name: "app".to_owned(),
            address: UpstreamAddress::Tcp {
                host: "app".to_owned(),
                port: 3000,
            },
            tls: None,
            http: AppHttp::One,
            host,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            connections_max: 1,
            attempts_max: 1,
        }
    }

    fn client(address: &str) -> Client {
        Client::peer(address.parse().ok(), Scheme::Https)
    }

    fn head(fields: &[(&str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            head.append_header((*name).to_owned(), (*value).to_owned())
                .unwrap();
        }
        head
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    #[test]
    fn claims_of_the_client_are_replaced() {
        let mut fields = vec![
            ("Host", "shop.example"),
            ("X-Forwarded-User", "kept too"),
            ("X-Other", "kept"),
        ];
        fields.extend(["X-Real-IP", "X_Forwarded_For", "Forwarded"].map(|name| (name, "6.6.6.6")));
        let mut head = head(&fields);
        request(
            &mut head,
            client("192.0.2.7"),
            &upstream(UpstreamHost::Preserve),
        )
        .unwrap();
        assert!(!format!("{head:?}").contains("6.6.6.6"), "{head:?}");
        for (name, expected) in [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            (
                "forwarded",
                "for=192.0.2.7;host=\"shop.example\";proto=https",
            ),
            ("host", "shop.example"),
            ("x-forwarded-user", "kept too"),
            ("x-other", "kept"),
        ] {
            assert_eq!(all(&head.headers, name), [expected], "{name}");
        }
    }

    #[test]
    fn claims_of_a_trusted_proxy_stand_as_far_as_it_can_know() {
        let mut head = head(&[
            ("Host", "backend"),
            ("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.0.0.2"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Forwarded-Port", "8080"),
            ("X-Real-IP", "6.6.6.6"),
            ("Forwarded", "for=6.6.6.6"),
        ]);
        let trusted = TrustedProxies {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            ..TrustedProxies::default()
        };
        let found = client("10.0.0.1").behind(&head.headers, &trusted);
        request(&mut head, found, &upstream(UpstreamHost::Preserve)).unwrap();
        for (name, expected) in [
            ("x-forwarded-for", "192.0.2.7, 10.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8080"),
            ("x-real-ip", "192.0.2.7"),
            (
                "forwarded",
                "for=192.0.2.7;host=\"shop.example\";proto=http",
            ),
            ("host", "backend"),
        ] {
            assert_eq!(all(&head.headers, name), [expected], "{name}");
        }
    }

    #[test]
    fn host_is_fixed_or_made_up_when_missing() {
        let mut fixed = head(&[("Host", "shop.example")]);
        request(
            &mut fixed,
            client("::1"),
            &upstream(UpstreamHost::Fixed("app.internal".into())),
        )
        .unwrap();
        assert_eq!(all(&fixed.headers, "host"), ["app.internal"]);
        assert_eq!(all(&fixed.headers, "x-forwarded-host"), ["shop.example"]);
        assert_eq!(
            all(&fixed.headers, "forwarded"),
            ["for=\"[::1]\";host=\"shop.example\";proto=https"]
        );

        let mut missing = head(&[]);
        let mut six = upstream(UpstreamHost::Preserve);
        six.address = UpstreamAddress::Tcp {
            host: "::1".to_owned(),
            port: 3000,
        };
        request(&mut missing, client("-"), &six).unwrap();
        assert_eq!(all(&missing.headers, "host"), ["[::1]:3000"]);

        let mut missing = head(&[]);
        request(&mut missing, client("-"), &upstream(UpstreamHost::Preserve)).unwrap();
        assert_eq!(all(&missing.headers, "host"), ["app:3000"]);
        assert_eq!(
            all(&missing.headers, "forwarded"),
            ["for=unknown;proto=https"]
        );
        assert!(all(&missing.headers, "x-forwarded-for").is_empty());
    }

    #[test]
    fn cookie_crumbs_become_one_field() {
        let mut head = head(&[("Cookie", "a=1"), ("Cookie", "b=2")]);
        join_cookies(&mut head).unwrap();
        assert_eq!(all(&head.headers, "cookie"), ["a=1; b=2"]);
    }

    fn answer(status: u16, fields: &[(&str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header((*name).to_owned(), (*value).to_owned())
                .unwrap();
        }
        head
    }

    #[test]
    fn connection_fields_of_the_answer_go() {
        let fields = [
            ("Connection", "keep-alive, X-Hop, Content-Length"),
            ("Keep-Alive", "timeout=5"),
            ("X-Hop", "1"),
            ("Upgrade", "h2"),
            ("Content-Length", "2"),
            ("X-End", "1"),
        ];
        let mut plain = answer(200, &fields);
        response(&mut plain);
        for gone in ["keep-alive", "x-hop", "upgrade"] {
            assert!(all(&plain.headers, gone).is_empty(), "{gone}");
        }
        for kept in ["content-length", "x-end"] {
            assert_eq!(all(&plain.headers, kept).len(), 1, "{kept}");
        }
        let mut switched = answer(101, &[("Connection", "Upgrade"), ("Upgrade", "websocket")]);
        response(&mut switched);
        assert_eq!(all(&switched.headers, "upgrade"), ["websocket"]);
    }

    #[test]
    fn event_streams_are_marked_unbuffered() {
        for (given, expected) in [
            (None, "no-store, no-transform"),
            (Some("no-cache"), "no-cache, no-transform"),
            (Some("private, No-Transform"), "private, No-Transform"),
        ] {
            let mut head = answer(200, &[("Content-Type", "text/event-stream; charset=utf-8")]);
            if let Some(given) = given {
                head.insert_header(header::CACHE_CONTROL, given).unwrap();
            }
            unbuffered(&mut head).unwrap();
            assert_eq!(all(&head.headers, "cache-control"), [expected]);
            assert_eq!(all(&head.headers, "x-accel-buffering"), ["no"]);
        }
        let mut other = answer(200, &[("Content-Type", "text/html")]);
        unbuffered(&mut other).unwrap();
        assert!(all(&other.headers, "cache-control").is_empty());
    }
}
