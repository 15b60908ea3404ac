//! An app, and how it is reached.

use std::{path::PathBuf, time::Duration};

use super::AppHttp;

/// An app that we connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Unique name.
    pub name: String,
    /// Where the app listens.
    pub address: UpstreamAddress,
    /// TLS towards the app.
    pub tls: Option<UpstreamTls>,
    /// Which HTTP it speaks.
    pub http: AppHttp,
    /// The `Host` header that the app sees.
    pub host: UpstreamHost,
    /// Limit on connecting, TLS handshake included; and how long an app that has been asked for a
    /// stream and is silent counts as an attempt. Default 2 s.
    pub connect_timeout: Duration,
    /// The longest silence of the app within a response that is no event stream. Event streams: the
    /// longest wait for the response head when one is opened again. Default 60 s.
    pub read_timeout: Duration,
    /// The longest time the app may refuse to take request bytes. Default 30 s.
    pub write_timeout: Duration,
    /// How long an unused pass-through connection is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// Exchanges at most: streams of channels, relays, and pass-through requests. Beyond, streams
    /// wait and requests get 503. Default 1,024, fitted to the descriptors.
    pub connections_max: usize,
    /// Attempts to open a stream that may be in flight at once; the others wait in line. After
    /// failures there are fewer. Default 32.
    pub attempts_max: usize,
}

impl Upstream {
    /// A stream from `self` may go on under `other`: it is the same app, reached in the same way.
    /// Timeouts and bounds are not part of that; they change under a stream that is open.
    #[must_use]
    pub fn is_same_app(&self, other: &Self) -> bool {
        self.address == other.address
            && self.tls == other.tls
            && self.http == other.http
            && self.host == other.host
    }
}

/// Address of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `host:port`; a host name is resolved anew every few seconds.
    Tcp {
        /// IP address (IPv6 without brackets) or name.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl UpstreamAddress {
    /// What stands in `Host` when nothing else says so (RFC 9110, section 7.2): an IPv6 address in
    /// brackets. A unix socket has no name of its own.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// TLS towards an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Name sent as SNI and checked in the certificate. Default: the host of the address.
    pub server_name: String,
    /// PEM bundle of the authorities to trust. Default: the system's.
    pub ca: Option<PathBuf>,
    /// `false` accepts any certificate; for tests only. Default true.
    pub verify: bool,
}

/// What stands in the `Host` header of requests to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The client's own (default).
    Preserve,
    /// A fixed name.
    Fixed(String),
}
