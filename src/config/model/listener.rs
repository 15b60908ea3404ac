//! Where clients come in.

use std::{fmt, net::SocketAddr, path::PathBuf};

/// A socket that accepts clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Name in logs and metrics.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddress,
    /// TLS with ALPN `h2` and `http/1.1`; plain text (HTTP/1 and h2c by prior knowledge) without.
    pub tls: Option<ListenerTls>,
    /// Each connection begins with a header of the PROXY protocol, by a trusted proxy.
    pub proxy_protocol: bool,
}

/// Address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A unix socket, created with the given permission bits (default 0o660).
    Unix {
        /// File system path.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Certificate and key of a TLS listener; PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key of the leaf.
    pub key: PathBuf,
}
