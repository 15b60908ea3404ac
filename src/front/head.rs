//! The gate in front of pingora's HTTP/1 parser: looks at the raw request head and lets through
//! only what every parser behind us reads in the same way. Pure and incremental.
//!
//! RFC 9112 allows a server to be lenient in many places (bare LF, folded lines, repeated lengths);
//! each of them is a way to make two servers see two different requests. Nothing is repaired here:
//! a head is well-formed or refused. [`fields`] holds the rules of single lines; a head that HTTP/2
//! brought in parts is held to the same ones ([`check_parts`]).

mod fields;

use http::{HeaderMap, Method, StatusCode};

use self::fields::{Facts, RequestLine};
use crate::{config::model::Limits, passthrough::framing::Framing};

/// Finds the end of a request head and checks it line by line as it arrives.
#[derive(Debug)]
pub struct Gate {
    bytes_max: usize,
    fields_max: usize,
    /// Everything before was looked at for line ends.
    scanned: usize,
    /// Where the line that is arriving began.
    line_start: usize,
    request_line: Option<RequestLine>,
    facts: Facts,
}

/// A complete, well-formed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes before the request line, to be skipped: an empty line left by a careless client.
    pub skip: usize,
    /// Bytes of the head after `skip`, the empty line at its end included.
    pub len: usize,
    /// How its body ends.
    pub framing: Framing,
}

/// What the gate says so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The head is not complete.
    More,
    /// It is.
    Complete(Head),
    /// It is none; answer so and close.
    Refused(Fault),
}

/// Why a head is refused: status and what to tell the client.
pub type Fault = (StatusCode, &'static str);

const TARGET_TOO_LONG: Fault = (StatusCode::URI_TOO_LONG, "the request target is too long");
const HEAD_TOO_LARGE: Fault = (
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request head is too large",
);
const TOO_MANY_FIELDS: Fault = (
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request has too many header fields",
);
const LINE_END: Fault = (
    StatusCode::BAD_REQUEST,
    "lines of the request head must end with CR LF",
);
const NO_METHOD: Fault = (
    StatusCode::BAD_REQUEST,
    "the request does not start with a method",
);

impl Gate {
    /// A gate for one head.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.head_bytes_max,
            fields_max: limits.head_fields_max,
            scanned: 0,
            line_start: 0,
            request_line: None,
            facts: Facts::default(),
        }
    }

    /// Looks at what arrived so far; `bytes` always starts where the head does.
    pub fn advance(&mut self, bytes: &[u8]) -> Progress {
        match self.lines(bytes) {
            Ok(Some(head)) => Progress::Complete(head),
            Ok(None) => Progress::More,
            Err(fault) => Progress::Refused(fault),
        }
    }

    fn lines(&mut self, bytes: &[u8]) -> Result<Option<Head>, Fault> {
        while let Some(at) = self.next_line_feed(bytes)? {
            let line = bytes.get(self.line_start..at).unwrap_or_default();
            let Some(line) = line
                .strip_suffix(b"\r")
                .filter(|line| !line.contains(&b'\r'))
            else {
                return Err(LINE_END);
            };
            let start = self.line_start;
            self.line_start = at + 1;
            match (&self.request_line, line.is_empty()) {
                // RFC 9112, 2.2: one empty line before the request line is to be ignored.
                (None, true) if start == 0 => {}
                (None, _) => self.request_line = Some(RequestLine::parse(line)?),
                (Some(request), true) => {
                    let framing = self.facts.finish(request)?;
                    let skip = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
                    debug_assert!(self.line_start <= bytes.len() && skip < self.line_start);
                    return Ok(Some(Head {
                        skip,
                        len: self.line_start - skip,
                        framing,
                    }));
                }
                (Some(_), false) => {
                    self.facts.add(line)?;
                    if self.facts.count() > self.fields_max {
                        return Err(TOO_MANY_FIELDS);
                    }
                }
            }
        }
        self.check_incomplete(bytes)?;
        Ok(None)
    }

    /// The next LF, if it is within the limit.
    fn next_line_feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let within = bytes
            .get(..bytes.len().min(self.bytes_max))
            .unwrap_or_default();
        let unseen = within.get(self.scanned..).unwrap_or_default();
        let found = memchr::memchr(b'\n', unseen).map(|at| self.scanned + at);
        self.scanned = found.map_or(within.len(), |at| at + 1);
        match found {
            None if bytes.len() > self.bytes_max => Err(self.too_large()),
            found => Ok(found),
        }
    }

    const fn too_large(&self) -> Fault {
        if self.request_line.is_none() {
            TARGET_TOO_LONG
        } else {
            HEAD_TOO_LARGE
        }
    }

    /// What can be said of a line that is not complete: a bare CR, and bytes that begin no request
    /// (a TLS handshake on a plain port) need not wait for the deadline.
    fn check_incomplete(&self, bytes: &[u8]) -> Result<(), Fault> {
        let line = bytes.get(self.line_start..).unwrap_or_default();
        let body = line.strip_suffix(b"\r").unwrap_or(line);
        if body.contains(&b'\r') {
            return Err(LINE_END);
        }
        match body.first() {
            Some(&first) if self.request_line.is_none() && !fields::is_token(first) => {
                Err(NO_METHOD)
            }
            _ => Ok(()),
        }
    }
}

/// The rules for a head of HTTP/2, which the h2 crate has taken apart: what becomes a line of
/// HTTP/1.1 on its way to the app must be one that could have come as such.
///
/// # Errors
/// What is wrong with it.
pub fn check_parts(
    method: &Method,
    target: &[u8],
    authority: Option<&str>,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<(), Fault> {
    let request = RequestLine::of_parts(method, target, authority)?;
    let mut facts = Facts::default();
    if headers.len() > limits.head_fields_max {
        return Err(TOO_MANY_FIELDS);
    }
    for (name, value) in headers {
        facts.note(name.as_str().as_bytes(), value.as_bytes())?;
    }
    facts.finish(&request).map(drop)
}

#[cfg(test)]
mod tests;
