//! The channel key: what makes two clients share, and at the same time the whole variable part of
//! the upstream request. What is not in here is not sent (invariant 6).

use std::fmt;

use bytes::Bytes;
use http::HeaderName;

/// Scheme of the client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What makes two clients share a channel.
///
/// `Debug` and `Display` never show header values: they may be credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    /// Name of the route.
    pub route: String,
    /// Scheme that the client used.
    pub scheme: Scheme,
    /// Host that the client asked for, port included.
    pub host: String,
    /// Path and selected query, exactly as sent to the app.
    pub target: String,
    /// Identity (and `Origin`): keyed and sent, in a fixed order.
    pub headers: Vec<(HeaderName, Bytes)>,
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ChannelKey")
            .field("route", &self.route)
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("target", &self.target)
            .field("headers", &names)
            .finish()
    }
}
