//! Where subscribers connect to: a URL and the headers sent along.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure, Result};

/// A parsed `http://` or `https://` URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `https`.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// `host:port` as it stands in `Host` and `:authority`.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The first address of the host; one look-up for the whole run.
    ///
    /// # Errors
    /// When the name does not resolve.
    pub fn resolve(&self) -> Result<SocketAddr> {
        (self.host.as_str(), self.port)
            .to_socket_addrs()
            .doing(format_args!("resolve {}", self.host))?
            .next()
            .ok_or_else(|| Failure::new(format!("{} has no address", self.host)))
    }

    /// The same server, another path.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }
}

impl FromStr for Target {
    type Err = Failure;

    fn from_str(url: &str) -> Result<Self> {
        let bad = |why: &str| {
            Failure::new(format!(
                "`{url}`: {why}; write http://host:port/path or https://..."
            ))
        };
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(bad("no http or https scheme")),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(bad("the path has a space or a control character"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| bad("`[` without `]`"))?,
            None => authority.split_at(authority.rfind(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port
                .parse()
                .map_err(|_| bad("the port is not a number to 65535"))?,
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(bad("no host"));
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            path,
        })
    }
}

/// A request header given as `name: value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Lower case, as HTTP/2 asks.
    pub name: String,
    /// Value.
    pub value: String,
}

impl FromStr for Header {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Failure::new(format!("`{text}` is no header; write `name: value`"));
        let (name, value) = text.split_once(':').ok_or_else(bad)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte);
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty()
            || !name.bytes().all(token)
            || value.bytes().any(|b| b.is_ascii_control())
        {
            return Err(bad());
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            value: value.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("http://a:81/x?y", Some((false, "a", 81, "/x?y"))),
            ("https://a", Some((true, "a", 443, "/"))),
            ("http://[::1]:8080/e", Some((false, "::1", 8080, "/e"))),
            ("http://a?q", Some((false, "a", 80, "/?q"))),
            ("ftp://a", None),
            ("http://:80/", None),
            ("http://a:x/", None),
            ("http://a/b c", None),
        ];
        for (url, expected) in cases {
            let target: Option<Target> = url.parse().ok();
            let parts = target
                .as_ref()
                .map(|t| (t.tls, t.host.as_str(), t.port, t.path.as_str()));
            assert_eq!(parts, expected, "{url}");
        }
    }

    #[test]
    fn headers_are_checked() {
        assert!(
            "Cookie: a=b"
                .parse::<Header>()
                .is_ok_and(|header| header.name == "cookie")
        );
        for bad in ["x", ": v", "a b: c", "a: b\r\nc: d"] {
            assert!(bad.parse::<Header>().is_err(), "{bad:?}");
        }
    }
}
