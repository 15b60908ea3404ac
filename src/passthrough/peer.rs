//! From a configured upstream to pingora's description of a peer.

use pingora::{Error, ErrorType, OrErr, Result, listeners::ALPN, upstreams::peer::HttpPeer};

use crate::config::model::{Upstream, UpstreamAddress};

/// Addresses of one name that a request tries at most.
const ADDRESSES_MAX: usize = 4;

/// Resolves `upstream` and describes how to reach it: the peer, and how many addresses there are. A
/// name is resolved on each call; `tried` counts the addresses of that name that did not answer.
///
/// # Errors
/// The name does not resolve, or every address was tried.
pub(super) async fn peer(upstream: &Upstream, tried: usize) -> Result<(HttpPeer, usize)> {
    let server_name = upstream.tls.as_ref().map(|tls| tls.server_name.clone());
    let (tls, server_name) = (server_name.is_some(), server_name.unwrap_or_default());
    let mut addresses = 1;
    let mut peer = match &upstream.address {
        UpstreamAddress::Tcp { host, port } => {
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .or_err(ErrorType::ConnectError, "the name does not resolve")?
                .take(ADDRESSES_MAX)
                .collect();
            addresses = found.len();
            let Some(address) = found.get(tried) else {
                return Error::e_explain(ErrorType::ConnectError, "no address left to try");
            };
            HttpPeer::new(address, tls, server_name)
        }
        UpstreamAddress::Unix(path) => {
            HttpPeer::new_uds(&path.to_string_lossy(), tls, server_name)?
        }
    };
    let options = &mut peer.options;
    options.alpn = ALPN::H1;
    options.connection_timeout = Some(upstream.connect_timeout);
    options.total_connection_timeout = Some(upstream.connect_timeout);
    options.read_timeout = Some(upstream.read_timeout);
    options.write_timeout = Some(upstream.write_timeout);
    options.idle_timeout = Some(upstream.idle_timeout);
    if let Some(tls) = &upstream.tls {
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
    }
    Ok((peer, addresses))
}
