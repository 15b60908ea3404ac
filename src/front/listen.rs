//! The listeners of a configuration: bound before anything else starts, and accepting.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::socket::RawSocket;
use crate::{
    config::model::{ListenAddress, Listener, ListenerTls},
    socket::{self, Accepted, Listening},
};

/// Where a listener really listens: the port that the kernel chose for 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A listener could not be opened.
#[derive(Debug)]
pub struct BindError {
    /// Its name in the configuration.
    pub listener: String,
    /// Where it should have listened.
    pub address: String,
    /// Why it does not, and what to do if we know.
    pub reason: String,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listener,
            address,
            reason,
        } = self;
        write!(
            f,
            "listener \"{listener}\" cannot listen on {address}: {reason}"
        )
    }
}

impl std::error::Error for BindError {}

/// Listening sockets, bound and not yet accepted from.
#[derive(Debug)]
pub struct Listeners {
    pub(super) bound: Vec<Bound>,
}

impl Listeners {
    /// Binds all listeners of a configuration.
    ///
    /// # Errors
    /// The first one that cannot be bound; those before it are closed again.
    pub fn bind(listeners: &[Listener]) -> Result<Self, BindError> {
        let bound = listeners.iter().map(Bound::new).collect::<Result<_, _>>()?;
        Ok(Self { bound })
    }

    /// Names and addresses, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, Address)> {
        self.bound.iter().map(Bound::name_and_address).collect()
    }
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) tls: Option<ListenerTls>,
    pub(super) proxy_protocol: bool,
    socket: Listening,
}

impl Bound {
    pub(super) fn name_and_address(&self) -> (String, Address) {
        (self.name.clone(), self.address.clone())
    }

    fn new(listener: &Listener) -> Result<Self, BindError> {
        let opened = Listening::open(&listener.address)
            .and_then(|socket| Ok((socket.tcp_address()?, socket)));
        let (tcp_address, socket) = opened.map_err(|error| BindError {
            listener: listener.name.clone(),
            address: listener.address.to_string(),
            reason: error.to_string(),
        })?;
        let address = match (&listener.address, tcp_address) {
            (ListenAddress::Unix { path, .. }, _) => Address::Unix(path.clone()),
            (ListenAddress::Tcp(wanted), bound) => Address::Tcp(bound.unwrap_or(*wanted)),
        };
        Ok(Self {
            name: listener.name.clone(),
            address,
            tls: listener.tls.clone(),
            proxy_protocol: listener.proxy_protocol,
            socket,
        })
    }
}

/// A listening socket on the runtime of the acceptor.
pub(super) struct Accepting(socket::Accepting);

impl Accepting {
    /// Registers it with the current thread's reactor.
    pub(super) fn new(bound: Bound) -> io::Result<Self> {
        bound.socket.register().map(Self)
    }

    /// The next connection, and the peer's address if it has one. The connection is taken off this
    /// thread's reactor again: it belongs to a worker.
    pub(super) async fn accept(&self) -> io::Result<(RawSocket, Option<IpAddr>)> {
        Ok(match self.0.accept().await? {
            Accepted::Tcp(stream, peer) => {
                let peer = peer.ip().to_canonical();
                (RawSocket::Tcp(stream.into_std()?), Some(peer))
            }
            Accepted::Unix(stream) => (RawSocket::Unix(stream.into_std()?), None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_that_cannot_listen_is_named() {
        let any = |name: &str, address: &str| Listener {
            name: name.to_owned(),
            address: ListenAddress::Tcp(address.parse().unwrap()),
            tls: None,
            proxy_protocol: false,
        };
        let first = Listeners::bind(&[any("web", "127.0.0.1:0")]).unwrap();
        let [(name, Address::Tcp(address))] = &first.addresses()[..] else {
            panic!()
        };
        assert_eq!(name, "web");
        assert_ne!(address.port(), 0);
        let both = [any("api", "127.0.0.1:0"), any("web", &address.to_string())];
        let error = Listeners::bind(&both).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "listener \"web\" cannot listen on {address}: address already in use"
            )),
            "{error}"
        );
    }
}
