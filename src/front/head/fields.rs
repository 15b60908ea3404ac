//! The rules of a request line and of header fields.

use http::{Method, StatusCode};

use super::Fault;
use crate::passthrough::framing::Framing;

/// Longest method that we know of any use for is `UPDATEREDIRECTREF`, 17 bytes.
const METHOD_BYTES_MAX: usize = 32;
/// 19 decimal digits always fit into a u64.
const LENGTH_DIGITS_MAX: usize = 19;

const REQUEST_LINE: Fault = (
    StatusCode::BAD_REQUEST,
    "the request line must be: method, target, HTTP version",
);
const METHOD: Fault = (StatusCode::BAD_REQUEST, "the method is malformed");
const CONNECT: Fault = (StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here");
const TARGET: Fault = (StatusCode::BAD_REQUEST, "the request target is malformed");
const VERSION: Fault = (
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    "only HTTP/1.1, HTTP/1.0 and HTTP/2 are served",
);
const FOLDED: Fault = (
    StatusCode::BAD_REQUEST,
    "folded header lines are not accepted",
);
const NAME: Fault = (StatusCode::BAD_REQUEST, "a header name is malformed");
const VALUE: Fault = (
    StatusCode::BAD_REQUEST,
    "a header value has forbidden bytes",
);
const LENGTH: Fault = (
    StatusCode::BAD_REQUEST,
    "Content-Length must be one decimal number",
);
const ENCODING: Fault = (
    StatusCode::BAD_REQUEST,
    "Transfer-Encoding must be: chunked",
);
const ENCODING_1_0: Fault = (
    StatusCode::BAD_REQUEST,
    "HTTP/1.0 knows no Transfer-Encoding",
);
const BOTH: Fault = (
    StatusCode::BAD_REQUEST,
    "Content-Length and Transfer-Encoding exclude each other",
);
const HOST: Fault = (
    StatusCode::BAD_REQUEST,
    "the request needs exactly one valid Host",
);
const HOST_DIFFERS: Fault = (
    StatusCode::BAD_REQUEST,
    "the Host header differs from the request target",
);
const TUNNEL_BODY: Fault = (
    StatusCode::BAD_REQUEST,
    "a WebSocket handshake carries no body",
);

/// What the request line says that the header fields must agree with.
#[derive(Debug)]
pub(super) struct RequestLine {
    version: Version,
    /// Host and port of an absolute-form target, or `:authority`.
    authority: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
    Http2,
}

impl RequestLine {
    pub(super) fn parse(line: &[u8]) -> Result<Self, Fault> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(REQUEST_LINE);
        };
        if !is_method(method) {
            return Err(METHOD);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(VERSION);
            }
            _ => return Err(REQUEST_LINE),
        };
        if method == b"CONNECT" {
            return Err(CONNECT);
        }
        let authority = authority_of(method, target)?;
        Ok(Self { version, authority })
    }

    /// The pseudo-header fields of HTTP/2. The target is a path with an optional query, or OPTIONS'
    /// asterisk.
    pub(super) fn of_parts(
        method: &Method,
        target: &[u8],
        authority: Option<&str>,
    ) -> Result<Self, Fault> {
        let method = method.as_str().as_bytes();
        if !is_method(method) {
            return Err(METHOD);
        }
        if method == b"CONNECT" {
            return Err(CONNECT);
        }
        if !is_clean(target) || !is_origin_form(method, target) {
            return Err(TARGET);
        }
        let authority = authority.map(|authority| authority.as_bytes().to_vec());
        if authority.as_deref().is_some_and(|name| !is_host(name)) {
            return Err(HOST);
        }
        Ok(Self {
            version: Version::Http2,
            authority,
        })
    }
}

fn is_method(method: &[u8]) -> bool {
    (1..=METHOD_BYTES_MAX).contains(&method.len()) && is_all_token(method)
}

fn is_clean(target: &[u8]) -> bool {
    target
        .iter()
        .all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'#')
}

fn is_origin_form(method: &[u8], target: &[u8]) -> bool {
    target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS")
}

/// Checks a target; the host and port if it is in absolute form.
fn authority_of(method: &[u8], target: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    if !is_clean(target) {
        return Err(TARGET);
    }
    if is_origin_form(method, target) {
        return Ok(None);
    }
    let rest = target
        .strip_prefix(b"http://")
        .or_else(|| target.strip_prefix(b"https://"))
        .ok_or(TARGET)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    if authority.is_empty() || !is_host(authority) {
        return Err(TARGET);
    }
    Ok(Some(authority.to_vec()))
}

/// What the header fields said so far, as far as it matters for framing and routing.
#[derive(Debug, Default)]
pub(super) struct Facts {
    count: usize,
    length: Option<u64>,
    chunked: bool,
    host: Option<Vec<u8>>,
    websocket: bool,
}

impl Facts {
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes one header line, without its CR LF.
    pub(super) fn add(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.count += 1;
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(FOLDED);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(NAME)?;
        let (name, value) = (line.get(..colon), line.get(colon + 1..));
        let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
        if name.is_empty() || !is_all_token(name) {
            return Err(NAME);
        }
        if !value
            .iter()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
        {
            return Err(VALUE);
        }
        self.note(name, trim(value))
    }

    /// Takes one field of which name and value have the right bytes.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.replace(decimal(value).ok_or(LENGTH)?).is_some() {
                return Err(LENGTH);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(ENCODING);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() || !is_host(value) {
                return Err(HOST);
            }
            self.host = Some(value.to_vec());
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.websocket |= value.eq_ignore_ascii_case(b"websocket");
        } else if is_framing_alias(name) {
            return Err(NAME);
        }
        Ok(())
    }

    /// All fields are in: do they agree?
    pub(super) fn finish(&self, request: &RequestLine) -> Result<Framing, Fault> {
        let is_named = match request.version {
            Version::Http10 => true,
            Version::Http11 => self.host.is_some(),
            Version::Http2 => self.host.is_some() || request.authority.is_some(),
        };
        if !is_named {
            return Err(HOST);
        }
        if let (Some(authority), Some(host)) = (&request.authority, &self.host)
            && authority != host
        {
            return Err(HOST_DIFFERS);
        }
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(BOTH),
            (true, None) if request.version == Version::Http10 => return Err(ENCODING_1_0),
            (true, None) => Framing::Chunked,
            (false, Some(0) | None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        // After a 101 everything is the new protocol's; a body in between has no clear end.
        if self.websocket && framing != Framing::None {
            return Err(TUNNEL_BODY);
        }
        Ok(framing)
    }
}

/// `Transfer_Encoding` and the like: CGI-like apps read the underscore as a dash.
fn is_framing_alias(name: &[u8]) -> bool {
    let is = |wanted: &[u8]| {
        name.len() == wanted.len()
            && name.iter().zip(wanted).all(|(byte, wanted)| {
                byte.eq_ignore_ascii_case(wanted) || (*byte == b'_' && *wanted == b'-')
            })
    };
    is(b"content-length") || is(b"transfer-encoding")
}

fn decimal(value: &[u8]) -> Option<u64> {
    let fits = (1..=LENGTH_DIGITS_MAX).contains(&value.len());
    let text = std::str::from_utf8(value).ok()?;
    (fits && value.iter().all(u8::is_ascii_digit)).then(|| text.parse().ok())?
}

/// A host with an optional port: a name, an IPv4 address, or an IPv6 address in brackets. Empty is
/// allowed (RFC 9112, 3.2).
fn is_host(value: &[u8]) -> bool {
    let (name, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let address = std::str::from_utf8(rest.get(..end).unwrap_or_default());
            if !address.is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()) {
                return false;
            }
            (&b""[..], rest.get(end + 1..).unwrap_or_default())
        }
        None => value.split_at(
            value
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(value.len()),
        ),
    };
    let port_is_fine = match port.split_first() {
        None => true,
        Some((b':', digits)) => {
            (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        Some(_) => false,
    };
    port_is_fine
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |at| at + 1);
    value.get(start..end).unwrap_or_default()
}

fn is_all_token(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_token(*byte))
}

/// RFC 9110, 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
