//! One accepted connection until its protocol is known: the header of the PROXY protocol, TLS handshake
//! or detection, each under a deadline.

use std::{io, net::IpAddr, sync::Arc};

use bytes::BytesMut;
use pingora::{
    listeners::tls::Acceptor,
    protocols::{ALPN, Ssl, Stream},
};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    Core,
    detect::{Detected, detect},
    h1, h2,
    socket::{Permit, RawSocket, Socket},
};
use crate::{
    client::{
        Client,
        proxy_protocol::{self, HEADER_BYTES_MAX, Progress},
    },
    clock::{self, Millis},
    metrics::labels::{HandshakeFailure, Protocol},
    passthrough::turnstile::Turnstile,
    route::key::Scheme,
};

/// First bytes to make room for; a browser's head has about this size.
const FIRST_READ_BYTES: usize = 1024;

/// A connection on its way from the acceptor to a worker.
pub(super) struct Accepted {
    pub(super) socket: RawSocket,
    pub(super) peer: Option<IpAddr>,
    pub(super) permit: Arc<Permit>,
    /// TLS of the listener that took it.
    pub(super) tls: Option<Arc<Acceptor>>,
    /// It begins with a header of the PROXY protocol.
    pub(super) proxy_protocol: bool,
    pub(super) at: Millis,
}

/// Opens one connection and starts a task that serves it. A task of its own, so that what a handshake
/// needs (kilobytes) is freed after it.
pub(super) async fn serve(accepted: Accepted, core: Arc<Core>) {
    let Accepted {
        socket,
        peer,
        permit,
        tls,
        proxy_protocol,
        at,
    } = accepted;
    let Ok(mut socket) = Socket::register(socket, Some(permit.clone())) else {
        return core.metrics.accept_errors.inc();
    };
    let peer = if proxy_protocol {
        match announced(&mut socket, peer, at, &core).await {
            Ok(peer) => peer,
            Err(failure) => return core.metrics.handshake_failures.inc(failure),
        }
    } else {
        peer
    };
    if !admitted(peer, &permit, &core) {
        return;
    }
    let scheme = if tls.is_some() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let client = Client::peer(peer, scheme);
    let (opened, at) = match tls {
        // The head's time begins when the client can send one.
        Some(acceptor) => (handshake(socket, &acceptor, at, &core).await, clock::now()),
        None => (detected(socket, at, &core).await, at),
    };
    match opened {
        Ok((Protocol::H1, stream, received)) => {
            permit.show(core.metrics.connections.hold(Protocol::H1));
            let turnstile = Box::new(Turnstile::new(stream, permit, client, received));
            core.contained(h1::serve(turnstile, at, core.clone()));
        }
        Ok((Protocol::H2, stream, received)) => {
            permit.show(core.metrics.connections.hold(Protocol::H2));
            core.contained(h2::serve(stream, received, client, core.clone()));
        }
        Err(failure) => core.metrics.handshake_failures.inc(failure),
    }
}

/// Reads the header of the PROXY protocol: whom the peer, a trusted proxy, speaks for.
async fn announced(
    socket: &mut Socket,
    peer: Option<IpAddr>,
    at: Millis,
    core: &Core,
) -> Result<Option<IpAddr>, HandshakeFailure> {
    let config = core.hub.config.load_full();
    if !config.trusted_proxies.contains(peer) {
        return Err(HandshakeFailure::ProxyProtocol);
    }
    let passed = clock::now().since(at);
    let left = config.limits.head_timeout.saturating_sub(passed);
    let source = timeout(left, proxy_header(socket)).await;
    let source = source.map_err(|_| HandshakeFailure::Timeout)??;
    Ok(source.or(peer))
}

/// Looks at what is there, and takes only what belongs to the header: the rest is for TLS, or HTTP.
async fn proxy_header(socket: &mut Socket) -> Result<Option<IpAddr>, HandshakeFailure> {
    let mut header = Vec::new();
    loop {
        let taken = header.len();
        header.resize(HEADER_BYTES_MAX, 0);
        let space = header.get_mut(taken..).unwrap_or_default();
        let seen = socket.peek(space).await;
        let seen = seen.map_err(|_| HandshakeFailure::Closed)?;
        if seen == 0 {
            return Err(HandshakeFailure::Closed);
        }
        header.truncate(taken + seen);
        let progress = proxy_protocol::parse(&header);
        let (len, found) = match progress.map_err(|_| HandshakeFailure::ProxyProtocol)? {
            Progress::More => (header.len(), None),
            Progress::Complete { len, source } => (len, Some(source)),
        };
        header.truncate(len);
        let ours = header.get_mut(taken..).unwrap_or_default();
        let read = socket.read_exact(ours).await;
        read.map_err(|_| HandshakeFailure::Closed)?;
        if let Some(source) = found {
            return Ok(source);
        }
    }
}

/// Takes a place at the peer's address, if there is a cap. A trusted proxy brings many clients, whose
/// subscribers are counted one by one.
fn admitted(peer: Option<IpAddr>, permit: &Permit, core: &Core) -> bool {
    let config = core.hub.config.load();
    if config.trusted_proxies.contains(peer) {
        return true;
    }
    let per_address = &config.limits.per_address;
    match core.hub.admission.connection(peer, per_address) {
        Ok(place) => {
            permit.count_address(place);
            true
        }
        Err(reason) => {
            // Without a word, as when there are too many connections in all.
            core.metrics.refused.inc(reason);
            core.metrics.shed.inc();
            false
        }
    }
}

type Opened = Result<(Protocol, Stream, BytesMut), HandshakeFailure>;

async fn handshake(socket: Socket, acceptor: &Acceptor, at: Millis, core: &Core) -> Opened {
    let left = core
        .limits()
        .handshake_timeout
        .saturating_sub(clock::now().since(at));
    // No turn is taken for it: whoever is silent would hold it, and keep everybody else out.
    let work = async {
        acceptor.tls_handshake(socket).await.map_err(|error| {
            tracing::debug!(kind = error.etype().as_str(), "TLS handshake failed");
            HandshakeFailure::Tls
        })
    };
    let stream = timeout(left, work)
        .await
        .map_err(|_| HandshakeFailure::Timeout)??;
    let protocol = match stream.selected_alpn_proto() {
        Some(ALPN::H2) => Protocol::H2,
        _ => Protocol::H1,
    };
    Ok((protocol, Box::new(stream), BytesMut::new()))
}

async fn detected(mut socket: Socket, at: Millis, core: &Core) -> Opened {
    let left = core
        .limits()
        .head_timeout
        .saturating_sub(clock::now().since(at));
    let mut received = BytesMut::new();
    let work = async {
        loop {
            received.reserve(FIRST_READ_BYTES);
            if socket.read_buf(&mut received).await? == 0 {
                return io::Result::Ok(None);
            }
            match detect(&received) {
                Detected::Unknown => {}
                Detected::Http1 => return Ok(Some(Protocol::H1)),
                Detected::Http2 => return Ok(Some(Protocol::H2)),
            }
        }
    };
    match timeout(left, work).await {
        Ok(Ok(Some(protocol))) => Ok((protocol, Box::new(socket), received)),
        Ok(Ok(None) | Err(_)) => Err(HandshakeFailure::Closed),
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}
