//! What we ask an app for.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HOST, USER_AGENT},
};
use pingora::http::RequestHeader;

/// The fields that every event stream request carries, whoever asks.
const CONSTANTS: [(HeaderName, &str); 4] = [
    (ACCEPT, "text/event-stream"),
    (CACHE_CONTROL, "no-cache"),
    (ACCEPT_ENCODING, "identity"),
    (
        USER_AGENT,
        concat!("sidestream/", env!("CARGO_PKG_VERSION")),
    ),
];

/// What to ask the app for.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// Path and query, sent byte for byte.
    pub target: String,
    /// Value of `Host`.
    pub host: String,
    /// The channel's identity, forwarding fields, `Last-Event-ID`: sent in this order behind the
    /// constant fields, and in place of a constant field of the same name.
    pub headers: Vec<(HeaderName, Bytes)>,
}

impl fmt::Debug for UpstreamRequest {
    /// Shows no header values: they may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("UpstreamRequest")
            .field("target", &self.target)
            .field("host", &self.host)
            .field("headers", &names)
            .finish()
    }
}

impl UpstreamRequest {
    fn has(&self, wanted: &HeaderName) -> bool {
        self.headers.iter().any(|(name, _)| name == wanted)
    }

    /// The request head in pingora's form.
    ///
    /// # Errors
    /// When a part of it cannot stand in a request; the text names the part, and shows no value.
    pub fn to_pingora(&self) -> Result<RequestHeader, String> {
        let bad_target = |_| "the target is no request target".to_owned();
        let target = self.target.as_bytes();
        let size = self
            .headers
            .len()
            .saturating_add(CONSTANTS.len())
            .saturating_add(1);
        let mut head = RequestHeader::build("GET", target, Some(size)).map_err(bad_target)?;
        append(&mut head, &HOST, self.host.as_bytes())?;
        for (name, value) in CONSTANTS {
            if !self.has(&name) {
                append(&mut head, &name, value.as_bytes())?;
            }
        }
        for (name, value) in &self.headers {
            append(&mut head, name, value)?;
        }
        Ok(head)
    }
}

fn append(head: &mut RequestHeader, name: &HeaderName, value: &[u8]) -> Result<(), String> {
    let bad_value = || format!("the value of {name} is no field value");
    let value = HeaderValue::from_bytes(value).map_err(|_| bad_value())?;
    head.append_header(name, value).map_err(|_| bad_value())?;
    Ok(())
}
