//! What we ask an app for.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora::http::{IntoCaseHeaderName, RequestHeader};

/// The fields that every event stream request carries, whoever asks. Names are written as older
/// servers expect them.
const CONSTANTS: [(&str, &str); 4] = [
    ("Accept", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("Accept-Encoding", "identity"),
    (
        "User-Agent",
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
    /// The request head in pingora's form.
    ///
    /// # Errors
    /// When a part of it cannot stand in a request; the text names the part, and shows no value.
    pub fn to_pingora(&self) -> Result<RequestHeader, String> {
        let target = self.target.as_bytes();
        let bad_target = || "the target is no path and query".to_owned();
        let mut head = RequestHeader::build("GET", target, None).map_err(|_| bad_target())?;
        // pingora drops a fragment and takes other forms of a target; neither is what was keyed.
        if !target.starts_with(b"/") || head.raw_path() != target {
            return Err(bad_target());
        }
        append(&mut head, "Host", self.host.as_bytes())?;
        for (name, value) in CONSTANTS {
            if !self.headers.iter().any(|(given, _)| given == name) {
                append(&mut head, name, value.as_bytes())?;
            }
        }
        for (name, value) in &self.headers {
            append(&mut head, name.clone(), value)?;
        }
        Ok(head)
    }
}

fn append<N>(head: &mut RequestHeader, name: N, value: &[u8]) -> Result<(), String>
where
    N: IntoCaseHeaderName + Clone + fmt::Display,
{
    let bad_value = || format!("the value of {name} is no field value");
    let value = HeaderValue::from_bytes(value).map_err(|_| bad_value())?;
    head.append_header(name.clone(), value)
        .map_err(|_| bad_value())?;
    Ok(())
}
