//! A request head that the front has let through, as the direct way wants it. Pure.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;

/// More are seldom, and pingora's to serve.
const FIELDS_MAX: usize = 64;

/// Fields about the connection, a body or another protocol: what they ask for is pingora's to judge.
static UNCOMMON: [HeaderName; 10] = [
    header::EXPECT,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request without a body, and nothing uncommon in it.
#[derive(Debug)]
pub(super) struct Asked {
    /// Without `Connection`.
    pub(super) head: RequestHeader,
    /// It is the client's last one.
    pub(super) is_last: bool,
}

/// Takes a whole head apart, of a request that has no body. `None`: it is for pingora.
pub(super) fn parse(raw: &Bytes) -> Option<Asked> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(raw, &mut fields).ok()?;
    if parsed.is_partial() || request.version != Some(1) {
        return None;
    }
    let target = request.path.filter(|target| target.starts_with('/'))?;
    let method = request.method?;
    // Room for what is added on the way.
    let mut head =
        RequestHeader::build(method, target.as_bytes(), Some(request.headers.len() + 4)).ok()?;
    let mut is_last = false;
    for field in &*request.headers {
        if field.name.eq_ignore_ascii_case("connection") {
            is_last |= is_close(field.value)?;
            continue;
        }
        let name = raw.slice_ref(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(field.value)).ok()?;
        head.append_header(name, value).ok()?;
    }
    let is_common = !UNCOMMON.iter().any(|name| head.headers.contains_key(name));
    is_common.then_some(Asked { head, is_last })
}

/// Whether `Connection` says that this is the end. `None`: it says more than that.
fn is_close(value: &[u8]) -> Option<bool> {
    let mut closes = false;
    for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if token.eq_ignore_ascii_case(b"close") {
            closes = true;
        } else if !token.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
    }
    Some(closes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Option<Asked> {
        parse(&Bytes::copy_from_slice(head.as_bytes()))
    }

    #[test]
    fn a_common_request_keeps_all_but_its_connection() {
        let text = "GET /a%2f?b=[1] HTTP/1.1\r\nHost: shop\r\nX-Odd: 1\r\nx-odd:\t2 \r\n\
                    Connection: Keep-Alive\r\nContent-Length: 0\r\n\r\n";
        let Asked { head, is_last } = asked(text).unwrap();
        assert!(!is_last);
        assert_eq!(
            (head.method.as_str(), head.raw_path()),
            ("GET", &b"/a%2f?b=[1]"[..])
        );
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        let wire = String::from_utf8(wire).unwrap();
        assert_eq!(
            wire,
            "Host: shop\r\nX-Odd: 1\r\nx-odd: 2\r\nContent-Length: 0\r\n"
        );
    }

    #[test]
    fn what_is_uncommon_is_left_to_pingora() {
        for (line, field, expected) in [
            ("GET / HTTP/1.1", "Connection: close", Some(true)),
            (
                "DELETE /a HTTP/1.1",
                "Connection: keep-alive, Close",
                Some(true),
            ),
            ("HEAD / HTTP/1.1", "X: y", Some(false)),
            ("GET / HTTP/1.0", "X: y", None),
            ("GET http://a/ HTTP/1.1", "X: y", None),
            ("OPTIONS * HTTP/1.1", "X: y", None),
            ("CONNECT a:1 HTTP/1.1", "X: y", None),
            ("GET / HTTP/1.1", "Connection: x-hop", None),
            ("GET / HTTP/1.1", "Connection:", None),
            ("GET / HTTP/1.1", "Upgrade: websocket", None),
            ("GET / HTTP/1.1", "expect: 100-continue", None),
            ("GET / HTTP/1.1", "TE: trailers", None),
        ] {
            let found = asked(&format!("{line}\r\nHost: a\r\n{field}\r\n\r\n"));
            assert_eq!(
                found.map(|asked| asked.is_last),
                expected,
                "{line}, {field}"
            );
        }
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX + 1)
        );
        assert!(asked(&many).is_none());
    }
}
