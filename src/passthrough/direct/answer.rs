//! The head of an app's answer, and what an HTTP/1.1 client gets of it. Pure.

use std::{mem::MaybeUninit, time::Duration};

use http::{HeaderValue, Method, StatusCode, header};

use crate::passthrough::framing::Framing;

/// Fields that an answer may have at most, and bytes of its head.
const FIELDS_MAX: usize = 256;
pub(super) const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Fields that concern the app's connection to us. Trailers stay behind as well.
const HOP_BY_HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "upgrade",
];

/// A request has this long from us to the app.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// As its head says.
    Framed(Framing),
    /// With the app's connection.
    WithConnection,
}

/// An answer that begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// Bytes of the head as received.
    pub(super) len: usize,
    pub(super) status: StatusCode,
    /// The body. An informational answer has none, and another head follows it.
    pub(super) ends: Ends,
    /// The connection to the app may be used again, after the body.
    pub(super) is_kept: bool,
    /// For how long the app says that it keeps it (`Keep-Alive: timeout`), less what a request may
    /// take to reach it: asking later may cross with its farewell.
    pub(super) idle_max: Duration,
}

/// What makes a head unusable; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) &'static str);

/// Whether the client's connection goes on after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
}

impl Then {
    const fn as_line(self) -> &'static [u8] {
        match self {
            Self::Keep => b"Connection: keep-alive\r\n",
            Self::Close => b"Connection: close\r\n",
        }
    }
}

/// What the fields say of the message and the connection.
#[derive(Debug, Default)]
struct Facts {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
    /// Seconds.
    timeout: Option<u64>,
    has_date: bool,
    /// `Connection` names fields.
    names: bool,
}

/// Looks at what has come of a head, and writes the client's to `out` once it is whole; `None` before.
///
/// # Errors
/// It is no head that could be passed on.
pub(super) fn begin(
    received: &[u8],
    asked: &Method,
    then: Then,
    date: fn() -> HeaderValue,
    out: &mut Vec<u8>,
) -> Result<Option<Begun>, Unusable> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .parse_response_with_uninit_headers(&mut head, received, &mut fields)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => Unusable("too many fields"),
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => Unusable("no HTTP/1 head"),
        })?;
    let httparse::Status::Complete(len) = parsed else {
        if received.len() > HEAD_BYTES_MAX {
            return Err(Unusable("the head is too large"));
        }
        return Ok(None);
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Unusable("no status"))?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Unusable("it switched protocols unasked"));
    }
    let facts = Facts::of(head.headers)?;
    let is_bodiless = status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
        || asked == Method::HEAD;
    let ends = match facts {
        _ if is_bodiless => Ends::Framed(Framing::None),
        Facts {
            is_chunked: true, ..
        } => Ends::Framed(Framing::Chunked),
        Facts {
            length: Some(0), ..
        } => Ends::Framed(Framing::None),
        Facts {
            length: Some(length),
            ..
        } => Ends::Framed(Framing::Length(length)),
        Facts { length: None, .. } => Ends::WithConnection,
    };
    let is_current = head.version == Some(1);
    // RFC 9112, section 6.1: what an HTTP/1.0 server calls chunked may end anywhere.
    let is_odd = !is_current && facts.is_chunked;
    let is_kept =
        ends != Ends::WithConnection && !is_odd && !facts.closes && (is_current || facts.keeps);

    write_status(status, head.reason, out);
    // RFC 9110, section 8.6, and RFC 9112, section 6.1: there is nothing to frame.
    let is_unframed = status.is_informational() || status == StatusCode::NO_CONTENT;
    for field in &*head.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let is_dropped = is_ours(field.name)
            || facts.names && is_named(head.headers, field.name)
            // Written anew, once and in its plain form.
            || is("content-length")
            || is("transfer-encoding") && (is_unframed || !facts.is_chunked);
        if !is_dropped {
            write_field(field, out);
        }
    }
    if let Some(length) = facts.length.filter(|_| !is_unframed && !facts.is_chunked) {
        out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
    }
    if !status.is_informational() {
        if !facts.has_date {
            for part in [b"Date: ", date().as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        if ends == Ends::WithConnection {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(then.as_line());
    }
    out.extend_from_slice(b"\r\n");
    Ok(Some(Begun {
        len,
        status,
        ends,
        is_kept,
        idle_max: facts.idle_max(),
    }))
}

impl Facts {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, Unusable> {
        let mut facts = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // Most names are told from these by their length alone.
            match field.name.len() {
                4 if is("date") => facts.has_date = true,
                10 if is("connection") => facts.connection(field.value),
                10 if is("keep-alive") => facts.keep_alive(field.value),
                14 if is("content-length") => facts.content_length(field.value)?,
                17 if is("transfer-encoding") => facts.transfer_encoding(field.value)?,
                _ => {}
            }
        }
        Ok(facts)
    }

    fn connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keeps = true;
            } else {
                self.names = true;
            }
        }
    }

    fn keep_alive(&mut self, value: &[u8]) {
        let timeout = tokens(value).find_map(|token| {
            let (name, seconds) = std::str::from_utf8(token).ok()?.split_once('=')?;
            let is_it = name.trim().eq_ignore_ascii_case("timeout");
            is_it.then(|| seconds.trim().parse().ok())?
        });
        self.timeout = timeout.or(self.timeout);
    }

    fn idle_max(&self) -> Duration {
        let kept = self.timeout.map_or(Duration::MAX, Duration::from_secs);
        kept.saturating_sub(IDLE_MARGIN)
    }

    /// The same length may be said more than once (RFC 9110, section 8.6).
    fn content_length(&mut self, value: &[u8]) -> Result<(), Unusable> {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let digits = std::str::from_utf8(token).ok();
            let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            let length = length.ok_or(Unusable("its length is no number"))?;
            if self
                .length
                .replace(length)
                .is_some_and(|other| other != length)
            {
                return Err(Unusable("it gave two lengths"));
            }
        }
        Ok(())
    }

    /// We could not tell where the body of another coding ends.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Unusable> {
        let coding = value.trim_ascii();
        if coding.eq_ignore_ascii_case(b"identity") {
            // None, as it was once written.
            return Ok(());
        }
        if self.is_chunked || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Unusable("it used a transfer coding other than chunked"));
        }
        self.is_chunked = true;
        Ok(())
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let tokens = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens.filter(|token| !token.is_empty())
}

fn is_ours(name: &str) -> bool {
    HOP_BY_HOP
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours))
}

/// Whether `Connection` names a field, other than those that frame the message.
fn is_named(fields: &[httparse::Header<'_>], name: &str) -> bool {
    let frames = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let mut named = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("connection"))
        .flat_map(|field| tokens(field.value));
    !frames
        .iter()
        .any(|frame| name.eq_ignore_ascii_case(frame.as_str()))
        && named.any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
}

fn write_status(status: StatusCode, reason: Option<&str>, out: &mut Vec<u8>) {
    // RFC 9112, section 4: the space stays when the reason is empty.
    for part in [
        "HTTP/1.1 ",
        status.as_str(),
        " ",
        reason.unwrap_or_default(),
        "\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write_field(field: &httparse::Header<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b": ");
    let start = out.len();
    out.extend_from_slice(field.value);
    // A folded line becomes one (RFC 9112, section 5.2).
    for byte in out.get_mut(start..).unwrap_or_default() {
        if matches!(*byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
