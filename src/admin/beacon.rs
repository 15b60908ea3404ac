//! Tells where the admin service of a running process is, to those who know its configuration file.
//!
//! A probe must ask the process that runs, and the file may have been edited since that started:
//! broken, or with another address. So the process says its address on a socket in Linux's abstract
//! namespace. That needs no directory that one may write to, and is gone with the process. The name
//! is made from what both sides know: the path of the file, and the mount namespace in which the
//! path means that file, since containers of a pod share the namespace of such sockets.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::net::{SocketAddr, UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use crate::config::model::ListenAddress;

/// A pause after an accept that failed: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For the answer; it is there at once if anybody listens.
const PATIENCE: Duration = Duration::from_secs(1);

/// `unix:` and the longest path of a socket.
const ANSWER_BYTES_MAX: u64 = 256;

/// A beacon that is lit.
#[derive(Debug)]
pub struct Beacon {
    socket: tokio::net::UnixListener,
    says: String,
}

impl Beacon {
    /// Says where the admin service is to those who ask by `config_file`. Within a runtime.
    ///
    /// # Errors
    /// Another process runs on the same file, or the system has no such sockets.
    pub fn light(config_file: &Path, admin: &ListenAddress) -> io::Result<Self> {
        let socket = UnixListener::bind_addr(&place(config_file)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: tokio::net::UnixListener::from_std(socket)?,
            says: admin.to_string(),
        })
    }

    /// Answers for ever.
    pub async fn shine(&self) {
        loop {
            match self.socket.accept().await {
                // An empty send buffer has room for a line: this does not block. Whoever left has no
                // need of it.
                Ok((stream, _)) => {
                    let _ = stream
                        .into_std()
                        .and_then(|mut stream| stream.write_all(self.says.as_bytes()));
                }
                Err(error) => {
                    tracing::debug!(%error, "the beacon cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Where the admin service of the process is that runs on `config_file`, in the form of the
/// configuration; `None` if none says so.
#[must_use]
pub fn find(config_file: &Path) -> Option<String> {
    let stream = UnixStream::connect_addr(&place(config_file).ok()?).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut said = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut said)
        .ok()?;
    (!said.is_empty()).then_some(said)
}

/// Links are not followed: where a mounted ConfigMap's file leads changes with each edit.
#[cfg(target_os = "linux")]
fn place(config_file: &Path) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;

    let mut name = DefaultHasher::new();
    std::path::absolute(config_file)?.hash(&mut name);
    std::fs::read_link("/proc/self/ns/mnt").ok().hash(&mut name);
    SocketAddr::from_abstract_name(format!("sidestream/admin/{:016x}", name.finish()))
}

#[cfg(not(target_os = "linux"))]
fn place(_: &Path) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_knows_the_file_is_told_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        let find = |file: &Path| {
            let file = file.to_owned();
            tokio::task::spawn_blocking(move || find(&file))
        };
        assert_eq!(find(&file).await.unwrap(), None);
        let admin = ListenAddress::Unix {
            path: folder.path().join("admin.sock"),
            mode: 0o600,
        };
        let beacon = Beacon::light(&file, &admin).unwrap();
        let second = Beacon::light(&file, &admin).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        let shining = tokio::spawn(async move { beacon.shine().await });
        for _ in 0..3 {
            assert_eq!(find(&file).await.unwrap(), Some(admin.to_string()));
        }
        assert_eq!(find(&other).await.unwrap(), None);
        shining.abort();
        assert!(shining.await.unwrap_err().is_cancelled());
        assert_eq!(find(&file).await.unwrap(), None);
    }
}
