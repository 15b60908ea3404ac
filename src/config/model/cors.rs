//! Which pages of other origins may read a route's streams.

use std::{fmt, time::Duration};

use http::HeaderName;

/// CORS of a route (Fetch standard, section 3.2), answered by us in the app's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages may read.
    pub origins: Origins,
    /// Whether they may send cookies; never with [`Origins::All`]. Default false.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight. Default 10 min.
    pub max_age: Duration,
    /// Request headers that they may set. Default: the identity headers, `cache-control` and
    /// `last-event-id`.
    pub headers: Vec<HeaderName>,
}

/// Whose pages may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    All,
    /// Only these.
    Listed(Vec<OriginPattern>),
}

/// An origin, or those of all hosts below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// `https://app.example.com`, exactly.
    Exact(String),
    /// `https://*.example.com`: whatever begins with the one and ends with the other.
    Below {
        /// `https://`.
        scheme: String,
        /// `.example.com`, with its port if it has one.
        suffix: String,
    },
}

impl OriginPattern {
    /// Whether a request's `Origin` is meant. Browsers send it in lower case and without a default
    /// port (Fetch standard, section 3.1), so bytes are compared.
    #[must_use]
    pub fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, suffix } => {
                let below = origin
                    .strip_prefix(scheme.as_bytes())
                    .and_then(|rest| rest.strip_suffix(suffix.as_bytes()));
                // Nothing but labels of a host name: not another origin with ours as its path.
                below.is_some_and(|labels| !labels.is_empty() && labels.iter().all(is_of_host))
            }
        }
    }
}

fn is_of_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Below { scheme, suffix } => write!(f, "{scheme}*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_by_its_bytes() {
        let exact = OriginPattern::Exact("https://a.example".to_owned());
        let below = OriginPattern::Below {
            scheme: "https://".to_owned(),
            suffix: ".example.com:8443".to_owned(),
        };
        for (pattern, origin, expected) in [
            (&exact, "https://a.example", true),
            (&exact, "https://A.example", false),
            (&exact, "https://a.example:443", false),
            (&exact, "http://a.example", false),
            (&exact, "https://a.example.evil", false),
            (&exact, "null", false),
            (&below, "https://a.example.com:8443", true),
            (&below, "https://a.b.example.com:8443", true),
            (&below, "https://example.com:8443", false),
            (&below, "https://.example.com:8443", false),
            (&below, "https://a.example.com", false),
            (&below, "http://a.example.com:8443", false),
            (&below, "https://evil.com/.example.com:8443", false),
            (&below, "https://evil.com:1.example.com:8443", false),
            (&below, "https://a@b.example.com:8443", false),
            (&below, "https://evil\0.example.com:8443", false),
            (&below, "", false),
        ] {
            assert_eq!(
                pattern.matches(origin.as_bytes()),
                expected,
                "{pattern} {origin:?}"
            );
        }
    }
}
