//! Who the clients are, and what one of them may take.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The proxies in front of us whose word about their clients is believed. Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// So are all who connect by a unix socket.
    pub unix: bool,
    /// Where they say it.
    pub header: ForwardedHeader,
}

impl TrustedProxies {
    /// Whether a peer is one of them. One without an address came by a unix socket.
    #[must_use]
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(peer) => self.networks.iter().any(|network| network.contains(&peer)),
            None => self.unix,
        }
    }

    /// Nobody is trusted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

/// Where trusted proxies say for whom they ask. Just one place counts: the other may hold what a
/// client made up and its proxy passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` (default).
    #[default]
    #[serde(rename = "x-forwarded-for")]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    #[serde(rename = "forwarded")]
    Forwarded,
}

/// What one client may take, as told apart by addresses. Where many share one (behind an ingress that
/// is not trusted, or a carrier's NAT), they count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerAddress {
    /// Subscribers. Default: any number.
    pub subscribers_max: Option<usize>,
    /// Connections; those of trusted proxies do not count. Default: any number.
    pub connections_max: Option<usize>,
    /// IPv6 addresses with these leading bits in common count as one. Default 64.
    pub ipv6_prefix: u8,
}
