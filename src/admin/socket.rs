//! The admin socket: TCP on loopback, or a unix socket.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use pingora::protocols::{Stream, l4::stream::Stream as L4Stream};
use tokio::net::{TcpListener, UnixListener};

use crate::config::model::ListenAddress;

#[derive(Debug)]
pub(super) struct Socket {
    address: ListenAddress,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "held for its drop")] Unlink,
    ),
}

/// Removes the file of a unix socket when dropped.
#[derive(Debug)]
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    pub(super) fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(tcp) => bind_tcp(*tcp).map_err(|error| named(tcp, &error)),
            ListenAddress::Unix { path, mode } => {
                bind_unix(path, *mode).map_err(|error| named(path.display(), &error))
            }
        }
    }

    pub(super) const fn address(&self) -> &ListenAddress {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => Box::new(L4Stream::from(listener.accept().await?.0)),
            Kind::Unix(listener, _) => Box::new(L4Stream::from(listener.accept().await?.0)),
        })
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<Socket> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = ListenAddress::Tcp(listener.local_addr()?);
    Ok(Socket {
        address,
        kind: Kind::Tcp(TcpListener::from_std(listener)?),
    })
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Socket> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let unlink = Unlink(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let address = ListenAddress::Unix {
        path: path.to_owned(),
        mode,
    };
    Ok(Socket {
        address,
        kind: Kind::Unix(listener, unlink),
    })
}

/// A process that was killed leaves its socket behind. Nobody answers there, so it may go; a file
/// that is no socket, or one that somebody listens on, stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = || {
        std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refused() {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

fn named(address: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the admin service cannot listen on {address}: {error}"),
    )
}
