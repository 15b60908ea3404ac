//! From a configured upstream to pingora's description of a peer.

use pingora::{ErrorType, OrErr, Result, listeners::ALPN, upstreams::peer::HttpPeer};

use crate::config::model::{Upstream, UpstreamAddress};

/// Addresses of one name that a request tries at most.
const ADDRESSES_MAX: usize = 4;

/// Resolves `upstream`: the peers to try, in this order.
///
/// # Errors
/// The name does not resolve.
pub(super) async fn resolve(upstream: &Upstream) -> Result<Vec<HttpPeer>> {
    let server_name = upstream.tls.as_ref().map(|tls| tls.server_name.clone());
    let (tls, server_name) = (server_name.is_some(), server_name.unwrap_or_default());
    let mut peers: Vec<HttpPeer> = match &upstream.address {
        UpstreamAddress::Tcp { host, port } => tokio::net::lookup_host((host.as_str(), *port))
            .await
            .or_err(ErrorType::ConnectError, "the name does not resolve")?
            .take(ADDRESSES_MAX)
            .map(|address| HttpPeer::new(address, tls, server_name.clone()))
            .collect(),
        UpstreamAddress::Unix(path) => {
            vec![HttpPeer::new_uds(
                &path.to_string_lossy(),
                tls,
                server_name,
            )?]
        }
    };
    for peer in &mut peers {
        let options = &mut peer.options;
        options.alpn = ALPN::H1;
        options.connection_timeout = Some(upstream.connect_timeout);
        options.total_connection_timeout = Some(upstream.connect_timeout);
        options.read_timeout = Some(upstream.read_timeout);
        options.write_timeout = Some(upstream.write_timeout);
        options.idle_timeout = Some(upstream.idle_timeout);
    }
    Ok(peers)
}
