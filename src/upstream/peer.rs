//! From a configured upstream to the addresses and settings that pingora connects with. One place
//! for the event streams and for the pass-through, so that both reach the app in the same way.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pingora::{
    protocols::{ALPN, TcpKeepalive, tls::CaType},
    upstreams::peer::HttpPeer,
    utils::tls::{WrappedX509, parse_x509},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{gate::Gates, names::Names};
use crate::{
    clock::Millis,
    config::model::{AppHttp, Upstream, UpstreamAddress, UpstreamTls},
    metrics::Metrics,
};

/// A dead peer is noticed after 15 s + 3 x 5 s of silence. A link that is down for a few seconds
/// costs nothing.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: usize = 3;

/// Sent bytes without acknowledgement for this long mean a dead peer (`TCP_USER_TIMEOUT`), and so
/// does a PING on an HTTP/2 connection without its answer.
pub(super) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// What an HTTP/2 stream may bring before somebody reads it: memory, as a kernel's receive buffer is
/// for a connection. At 1 ms to the app and back it lets 256 MB pass in a second.
pub(super) const WINDOW_BYTES: u32 = 256 * 1024;

/// The same for a request that is passed through. pingora does not read on while it writes the
/// request's body, so an app that answers meanwhile needs room for what it says; by default it has
/// 8 MiB, on each connection.
const PASSED_WINDOW_BYTES: u32 = 1024 * 1024;

/// A bundle of authorities is read again after this long, so that a renewed one takes effect.
const BUNDLE_AGE_MAX: Duration = Duration::from_secs(60);

/// Bundles kept at most; more than any configuration names.
const BUNDLES_MAX: usize = 64;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A channel's event stream: silence is normal, its reader keeps its own watch, and the
    /// connection is never used again.
    EventStream,
    /// A pass-through request.
    PassThrough,
}

/// Makes pingora's peers out of upstreams, and keeps the gates before them. One per process.
pub struct Peers {
    /// Whoever connects has a turn or a place there.
    pub gates: Gates,
    names: Names,
    /// Authorities by file: reading and parsing them is too much work for each request.
    bundles: Mutex<HashMap<PathBuf, Bundle>>,
}

/// The authorities of one file.
#[derive(Clone)]
struct Bundle {
    read_at: Millis,
    certificates: Arc<CaType>,
    /// Tells bundles apart by what they hold.
    digest: u64,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// Nothing is known yet; what is taken is counted in `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            gates: Gates::new(metrics),
            names: Names::of_system(),
            bundles: Mutex::default(),
        }
    }

    /// The peers to try for this upstream, in this order; never none.
    ///
    /// # Errors
    /// When the name does not resolve, or the bundle of authorities cannot be read.
    pub async fn resolve(
        &self,
        upstream: &Upstream,
        purpose: Purpose,
        now: Millis,
    ) -> Result<Vec<HttpPeer>, PeerError> {
        let tls = upstream.tls.as_ref();
        let bundle = match tls.and_then(|tls| tls.ca.as_deref()) {
            Some(path) => Some(self.bundle(path, now).await?),
            None => None,
        };
        let server_name = server_name(tls)?;
        let mut peers = match &upstream.address {
            UpstreamAddress::Tcp { host, port } => {
                let addresses = self.addresses(host, upstream.connect_timeout, now).await?;
                let peer = |address| {
                    let address = SocketAddr::new(address, *port);
                    HttpPeer::new(address, tls.is_some(), server_name.to_owned())
                };
                addresses.into_iter().map(peer).collect()
            }
            UpstreamAddress::Unix(path) => vec![unix_peer(path, tls.is_some(), server_name)?],
        };
        for peer in &mut peers {
            set_options(peer, upstream, purpose);
            if let Some(bundle) = &bundle {
                peer.options.ca = Some(bundle.certificates.clone());
                // A pooled connection is used again for peers of the same key. pingora's own key
                // holds address, name and verification, but not who vouched for the app.
                peer.group_key = bundle.digest;
            }
        }
        Ok(peers)
    }

    async fn addresses(
        &self,
        host: &str,
        wait: Duration,
        now: Millis,
    ) -> Result<Vec<IpAddr>, PeerError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let found = self.names.addresses(host, wait, now).await;
        found.map_err(|problem| PeerError::Resolve {
            host: host.to_owned(),
            problem,
        })
    }

    /// The authorities of a PEM file.
    async fn bundle(&self, path: &Path, now: Millis) -> Result<Bundle, PeerError> {
        let known = self.bundles.lock().get(path).cloned();
        if let Some(bundle) = known
            && now.since(bundle.read_at) < BUNDLE_AGE_MAX
        {
            return Ok(bundle);
        }
        let pem = tokio::fs::read(path)
            .await
            .map_err(|cause| PeerError::Bundle {
                path: path.to_owned(),
                problem: cause.to_string(),
            })?;
        let certificates = certificates(&pem).map_err(|problem| PeerError::Bundle {
            path: path.to_owned(),
            problem,
        })?;
        let bundle = Bundle {
            read_at: now,
            certificates,
            digest: digest(&pem),
        };
        let mut bundles = self.bundles.lock();
        if bundles.len() >= BUNDLES_MAX {
            bundles.clear();
        }
        bundles.insert(path.to_owned(), bundle.clone());
        Ok(bundle)
    }
}

/// The name to check the certificate against. pingora takes an empty one as leave to check nothing.
fn server_name(tls: Option<&UpstreamTls>) -> Result<&str, PeerError> {
    match tls {
        None => Ok(""),
        Some(tls) if tls.server_name.is_empty() => Err(PeerError::NoServerName),
        Some(tls) => Ok(&tls.server_name),
    }
}

fn unix_peer(path: &Path, tls: bool, server_name: &str) -> Result<HttpPeer, PeerError> {
    let bad_path = || PeerError::Socket {
        path: path.to_owned(),
    };
    let text = path.to_str().ok_or_else(bad_path)?;
    HttpPeer::new_uds(text, tls, server_name.to_owned()).map_err(|_| bad_path())
}

fn set_options(peer: &mut HttpPeer, upstream: &Upstream, purpose: Purpose) {
    let options = &mut peer.options;
    options.alpn = match upstream.http {
        AppHttp::One => ALPN::H1,
        AppHttp::Two => ALPN::H2,
        AppHttp::Auto => ALPN::H2H1,
    };
    options.connection_timeout = Some(upstream.connect_timeout);
    options.total_connection_timeout = Some(upstream.connect_timeout);
    options.verify_cert = upstream.tls.as_ref().is_none_or(|tls| tls.verify);
    options.verify_hostname = options.verify_cert;
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: KEEPALIVE_IDLE,
        interval: KEEPALIVE_INTERVAL,
        count: KEEPALIVE_PROBES,
        #[cfg(target_os = "linux")]
        user_timeout: UNACKNOWLEDGED_MAX,
    });
    match purpose {
        Purpose::EventStream => {
            options.read_timeout = None;
            options.write_timeout = Some(upstream.connect_timeout);
        }
        Purpose::PassThrough => {
            options.read_timeout = Some(upstream.read_timeout);
            options.write_timeout = Some(upstream.write_timeout);
            options.idle_timeout = Some(upstream.idle_timeout);
            // One request at a time on a connection, as with HTTP/1.1: pingora may put one more on
            // a connection than the app takes, which then waits for as long as another lasts.
            // No pings: `read_timeout` finds an app that hangs, and gRPC servers take pings without
            // need for an attack.
            options.max_h2_streams = 1;
            options.h2_stream_window_size = Some(PASSED_WINDOW_BYTES);
            options.h2_connection_window_size = Some(PASSED_WINDOW_BYTES);
        }
    }
}

fn digest(pem: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    pem.hash(&mut hasher);
    hasher.finish()
}

/// Reads certificates out of PEM text. Each must do as a trust anchor: pingora's own parser panics
/// on one that is not sound.
fn certificates(pem: &[u8]) -> Result<Arc<CaType>, String> {
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|cause| format!("not PEM: {cause:?}"))?;
        store
            .add(certificate.clone())
            .map_err(|cause| format!("certificate {}: {cause}", certificates.len() + 1))?;
        certificates.push(WrappedX509::new(certificate.to_vec(), parse_x509));
    }
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(Arc::from(certificates))
}

/// Why an upstream cannot even be addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerError {
    /// The host name has no address, or the resolver failed.
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        problem: String,
    },
    /// The bundle of authorities is unusable.
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The path is none that a unix socket can have.
    Socket {
        /// The path.
        path: PathBuf,
    },
    /// TLS without a name to check the certificate against.
    NoServerName,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, problem } => write!(f, "cannot resolve {host:?}: {problem}"),
            Self::Bundle { path, problem } => {
                write!(
                    f,
                    "cannot use the authorities in {}: {problem}",
                    path.display()
                )
            }
            Self::Socket { path } => write!(
                f,
                "{} cannot be a unix socket: the path must be UTF-8 and shorter than 108 bytes",
                path.display()
            ),
            Self::NoServerName => f.write_str("TLS towards the app needs a server name"),
        }
    }
}

impl std::error::Error for PeerError {}

#[cfg(test)]
mod tests;
