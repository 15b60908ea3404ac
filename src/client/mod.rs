//! Who asks: the peer of a connection, or whom a trusted proxy names. Pure.

pub mod forwarded;
pub mod proxy_protocol;

use std::net::IpAddr;

use crate::route::key::Scheme;

/// Who asks, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address; none is known of who came by a unix socket.
    pub address: Option<IpAddr>,
    /// The scheme that it used.
    pub scheme: Scheme,
    /// Where this was learned.
    pub via: Via,
}

/// Where a client's address and scheme were learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// From its connection.
    Connection,
    /// From a trusted proxy, by this many of the last hops of `X-Forwarded-For`.
    XForwardedFor(usize),
    /// From a trusted proxy, by this many of the last elements of `Forwarded`.
    Forwarded(usize),
}

impl Client {
    /// The peer of a connection, before anything was read from it.
    #[must_use]
    pub const fn peer(address: Option<IpAddr>, scheme: Scheme) -> Self {
        Self {
            address,
            scheme,
            via: Via::Connection,
        }
    }
}
