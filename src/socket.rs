//! Listening sockets, of clients and of the admin service: opened before anything else starts, then
//! registered with the reactor of the thread that accepts.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::model::ListenAddress;

/// The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// A socket that listens; nobody accepts from it yet.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket, with its file.
    Unix(UnixListener, SocketFile),
}

/// A listening socket on a reactor.
#[derive(Debug)]
pub enum Accepting {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// A unix socket, with its file.
    Unix(tokio::net::UnixListener, SocketFile),
}

/// A connection.
#[derive(Debug)]
pub enum Accepted {
    /// TCP, and from where.
    Tcp(tokio::net::TcpStream, SocketAddr),
    /// By a unix socket.
    Unix(tokio::net::UnixStream),
}

/// The file of a unix socket, removed when nobody listens any more.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Best effort: the next start finds a dead socket and removes it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listening {
    /// Opens a socket that listens on `address`.
    ///
    /// # Errors
    /// Why it does not, and what to do if we know.
    pub fn open(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => open_tcp(*address),
            ListenAddress::Unix { path, mode } => open_unix(path, *mode),
        }
        .map_err(|error| io::Error::new(error.kind(), explain(&error)))
    }

    /// Where it listens on TCP: port 0 has become a real one.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(..) => Ok(None),
        }
    }

    /// Registers it with the reactor of the current runtime.
    ///
    /// # Errors
    /// The reactor refuses it.
    pub fn register(self) -> io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(listener, file) => {
                Accepting::Unix(tokio::net::UnixListener::from_std(listener)?, file)
            }
        })
    }
}

impl Accepting {
    /// The next connection.
    ///
    /// # Errors
    /// As of accept(2).
    pub async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Accepted::Tcp(stream, peer)
            }
            Self::Unix(listener, _) => Accepted::Unix(listener.accept().await?.0),
        })
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<Listening> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever `net.ipv6.bindv6only` says.
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Listening::Tcp(TcpListener::from(socket)))
}

fn open_unix(path: &Path, mode: u32) -> io::Result<Listening> {
    remove_dead(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile(path.to_owned());
    // Before `listen`, so that nobody connects with other permissions than asked for.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Listening::Unix(UnixListener::from(socket), file))
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
    const KNOWN: [(io::ErrorKind, &str); 4] = [
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
        (
            io::ErrorKind::NotFound,
            "no such directory; make it, or choose another path",
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

    #[test]
    fn port_zero_becomes_a_real_port_and_a_taken_one_is_explained() {
        let any = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let first = Listening::open(&any).unwrap();
        let address = first.tcp_address().unwrap().unwrap();
        assert_ne!(address.port(), 0);
        let error = Listening::open(&ListenAddress::Tcp(address)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains("choose another address"),
            "{error}"
        );
    }

    #[test]
    fn all_of_ipv6_is_ipv4_as_well() {
        let listening = Listening::open(&ListenAddress::Tcp("[::]:0".parse().unwrap())).unwrap();
        let Listening::Tcp(listener) = &listening else {
            panic!("{listening:?}");
        };
        assert!(!socket2::SockRef::from(listener).only_v6().unwrap());
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "::1"] {
            let address: std::net::IpAddr = address.parse().unwrap();
            std::net::TcpStream::connect((address, port)).unwrap();
        }
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_only_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("front.sock");
        let unix = ListenAddress::Unix {
            path: path.clone(),
            mode: 0o620,
        };

        // What a killed process leaves behind.
        drop(UnixListener::bind(&path).unwrap());
        let first = Listening::open(&unix).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o620);

        let error = Listening::open(&unix).unwrap_err().to_string();
        assert!(error.contains("address already in use"), "{error}");
        assert!(path.exists());

        drop(first);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = Listening::open(&unix).unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        let path = folder.path().join("missing/front.sock");
        let error = Listening::open(&ListenAddress::Unix { path, mode: 0o600 }).unwrap_err();
        assert!(error.to_string().contains("no such directory"), "{error}");
    }
}
