//! What trusted proxies say about their clients: `X-Forwarded-For`, `-Proto`, `-Host`, or `Forwarded`
//! (RFC 7239).
//!
//! Each proxy appends the address that it got the request from, so the list is read from its end: a
//! hop is believed when the one after it is trusted, beginning with the peer of the connection. The
//! first hop that is no trusted proxy is the client. What stands before it is the client's own
//! invention and counts for nothing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};

use super::{Client, Via};
use crate::{
    config::model::{ForwardedHeader, TrustedProxies},
    route::key::Scheme,
};

/// Whose address.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Which host was asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// By which scheme.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Longest host that is taken from a proxy; as long as one in a channel key.
const HOST_BYTES_MAX: usize = 255;

impl Client {
    /// The client of a request that came from this peer.
    #[must_use]
    pub fn behind(self, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        if !trusted.contains(self.address) {
            return self;
        }
        match trusted.header {
            ForwardedHeader::XForwardedFor => {
                let hops = from_the_end(headers, &X_FORWARDED_FOR).map(node);
                let (address, hops) = self.walk(hops, trusted);
                let scheme = last(headers, &X_FORWARDED_PROTO).and_then(scheme);
                self.found(address, scheme, Via::XForwardedFor(hops))
            }
            ForwardedHeader::Forwarded => {
                let hops = from_the_end(headers, &FORWARDED)
                    .map(|element| node(parameter(element, b"for")?));
                let (address, hops) = self.walk(hops, trusted);
                let scheme = element(headers, hops)
                    .and_then(|element| parameter(element, b"proto"))
                    .and_then(scheme);
                self.found(address, scheme, Via::Forwarded(hops))
            }
        }
    }

    /// From hop to hop, for as long as the one that names the next is trusted.
    fn walk(
        self,
        hops: impl Iterator<Item = Option<IpAddr>>,
        trusted: &TrustedProxies,
    ) -> (Option<IpAddr>, usize) {
        let (mut address, mut believed) = (self.address, 0);
        // A trusted proxy may not know the address of its client; then its own must do.
        for hop in hops.map_while(|hop| hop) {
            (address, believed) = (Some(hop), believed + 1);
            if !trusted.contains(address) {
                break;
            }
        }
        (address, believed)
    }

    fn found(self, address: Option<IpAddr>, scheme: Option<Scheme>, via: Via) -> Self {
        Self {
            address,
            scheme: scheme.unwrap_or(self.scheme),
            via,
        }
    }

    /// The host that the client asked for, by the word of a trusted proxy that may have changed
    /// `Host`.
    #[must_use]
    pub fn host<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let host = match self.via {
            Via::Connection => None,
            Via::XForwardedFor(_) => last(headers, &X_FORWARDED_HOST),
            Via::Forwarded(hops) => parameter(element(headers, hops)?, b"host"),
        }?;
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
        let sound = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.iter().all(allowed);
        std::str::from_utf8(host).ok().filter(|_| sound)
    }

    /// What an app is to believe as `X-Forwarded-For` where trusted proxies stand between the client and
    /// the peer: the client and those proxies, in the order of the header, without the peer. It is what
    /// the app would see if the peer had asked it directly, less what was made up. `None`: there is
    /// nobody between, and it is the client's address.
    #[must_use]
    pub fn chain(&self, headers: &HeaderMap) -> Option<String> {
        let Via::XForwardedFor(hops @ 2..) = self.via else {
            return None;
        };
        let believed = from_the_end(headers, &X_FORWARDED_FOR).take(hops);
        let mut chain: Vec<IpAddr> = believed.filter_map(node).collect();
        chain.reverse();
        let chain: Vec<String> = chain.iter().map(IpAddr::to_string).collect();
        Some(chain.join(", "))
    }
}

/// The elements of a list, over all fields of this name, the last one first. Split at every comma: a
/// quote that a client left open must not swallow what its proxy appended.
fn from_the_end<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    headers
        .get_all(name)
        .into_iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // RFC 9110, section 5.6.1.2: empty elements do not count.
        .filter(|element| !element.is_empty())
}

/// What the proxy next to us said.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    from_the_end(headers, name).next()
}

/// The element of `Forwarded` by which the client was found.
fn element(headers: &HeaderMap, hops: usize) -> Option<&[u8]> {
    from_the_end(headers, &FORWARDED).nth(hops.checked_sub(1)?)
}

/// A parameter of an element of `Forwarded`, without its quotes.
fn parameter<'h>(element: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = (
            pair.get(..at)?.trim_ascii(),
            pair.get(at + 1..)?.trim_ascii(),
        );
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        found
            .eq_ignore_ascii_case(name)
            .then_some(unquoted.unwrap_or(value))
    })
}

/// An address with or without a port, IPv6 in brackets or not. None: a name, `unknown`, or nonsense.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::from)
    };
    let address = bare().or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

/// Some proxies name the scheme of a WebSocket.
fn scheme(text: &[u8]) -> Option<Scheme> {
    let is = |names: [&[u8]; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is([b"https", b"wss"]) {
        Some(Scheme::Https)
    } else if is([b"http", b"ws"]) {
        Some(Scheme::Http)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
