//! Listening sockets: binding them before anything else starts, and accepting from them.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::socket::RawSocket;
use crate::config::model::{ListenAddress, Listener, ListenerTls};

/// The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

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
        self.bound
            .iter()
            .map(|bound| (bound.name.clone(), bound.address.clone()))
            .collect()
    }
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) tls: Option<ListenerTls>,
    socket: Listening,
    file: SocketFile,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    fn new(listener: &Listener) -> Result<Self, BindError> {
        let opened = match &listener.address {
            ListenAddress::Tcp(address) => open_tcp(*address),
            ListenAddress::Unix { path, mode } => open_unix(path, *mode),
        };
        let (socket, address) = opened.map_err(|error| BindError {
            listener: listener.name.clone(),
            address: match &listener.address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix { path, .. } => path.display().to_string(),
            },
            reason: explain(&error),
        })?;
        let file = SocketFile(match &address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path.clone()),
        });
        Ok(Self {
            name: listener.name.clone(),
            address,
            file,
            tls: listener.tls.clone(),
            socket,
        })
    }
}

/// The file of a unix socket, removed when nobody listens any more.
#[derive(Debug)]
struct SocketFile(Option<PathBuf>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Best effort: the next start finds a dead socket and removes it.
            let _ = fs::remove_file(path);
        }
    }
}

/// A listening socket on the runtime of the acceptor.
pub(super) struct Accepting {
    socket: AcceptingSocket,
    /// Removes the file of a unix socket at the end.
    _file: SocketFile,
}

enum AcceptingSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    /// Registers it with the current thread's reactor.
    pub(super) fn new(bound: Bound) -> io::Result<Self> {
        let socket = match bound.socket {
            Listening::Tcp(listener) => {
                AcceptingSocket::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Listening::Unix(listener) => {
                AcceptingSocket::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        };
        Ok(Self {
            socket,
            _file: bound.file,
        })
    }

    /// The next connection, and the peer's address if it has one. The connection is taken off this
    /// thread's reactor again: it belongs to a worker.
    pub(super) async fn accept(&self) -> io::Result<(RawSocket, Option<IpAddr>)> {
        match &self.socket {
            AcceptingSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let peer = peer.ip().to_canonical();
                Ok((RawSocket::Tcp(stream.into_std()?), Some(peer)))
            }
            AcceptingSocket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((RawSocket::Unix(stream.into_std()?), None))
            }
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<(Listening, Address)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((Listening::Tcp(listener), Address::Tcp(address)))
}

fn open_unix(path: &Path, mode: u32) -> io::Result<(Listening, Address)> {
    remove_dead(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before `listen`, so that nobody connects with other permissions than asked for.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((
        Listening::Unix(UnixListener::from(socket)),
        Address::Unix(path.to_owned()),
    ))
}

/// Removes what a crashed process left behind, and nothing else: a socket file that nobody accepts
/// on.
fn remove_dead(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket; remove it or choose another",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(error) => Err(error),
    }
}

fn explain(error: &io::Error) -> String {
    const KNOWN: [(io::ErrorKind, &str); 3] = [
        (
            io::ErrorKind::AddrInUse,
            "address already in use; stop the process that listens there or choose another address",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "permission denied; ports below 1024 need privileges, a socket a writable directory",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "address not available; this machine has no interface with it",
        ),
    ];
    KNOWN
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| error.to_string(), |(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: ListenAddress) -> Listener {
        Listener {
            name: "web".to_owned(),
            address,
            tls: None,
        }
    }

    fn any_port() -> Listener {
        listener(ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()))
    }

    #[test]
    fn port_zero_becomes_a_real_port_and_a_taken_one_is_explained() {
        let first = Listeners::bind(&[any_port()]).unwrap();
        let [(name, Address::Tcp(address))] = &first.addresses()[..] else {
            panic!()
        };
        assert_eq!(name, "web");
        assert_ne!(address.port(), 0);
        let error = Listeners::bind(&[any_port(), listener(ListenAddress::Tcp(*address))])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!(
                "listener \"web\" cannot listen on {address}: address already in use"
            )),
            "{error}"
        );
    }

    #[test]
    fn unix_socket_has_its_mode_and_only_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("front.sock");
        let unix = || {
            listener(ListenAddress::Unix {
                path: path.clone(),
                mode: 0o620,
            })
        };

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = Listeners::bind(&[unix()]).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o620
        );

        let error = Listeners::bind(&[unix()]).unwrap_err().to_string();
        assert!(error.contains("address already in use"), "{error}");
        assert!(path.exists());

        drop(bound);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = Listeners::bind(&[unix()]).unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
