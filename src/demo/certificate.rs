//! The certificate of the demo's secure origin: self-signed, made at start, gone at exit.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

/// How a browser on this machine may call the secure origin.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Long enough for any demo; browsers refuse certificates that are valid for years.
const VALID_FOR: Duration = Duration::from_secs(90 * 24 * 3_600);
/// For clocks that differ, as those of containers and virtual machines do.
const VALID_BEFORE: Duration = Duration::from_secs(24 * 3_600);
/// Names tried for the directory; another demo of this process id may have left one behind.
const TRIES: u32 = 100;

/// Certificate and key as PEM files in a directory that only we can read.
pub(super) struct Certificate {
    directory: PathBuf,
}

impl Certificate {
    /// Makes one below `parent`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        let made = Self {
            directory: create_directory(parent)?,
        };
        let (certificate, key) =
            generate(wall_clock(&made.directory)?).map_err(io::Error::other)?;
        write_private(&made.certificate(), &certificate)?;
        write_private(&made.key(), &key)?;
        Ok(made)
    }

    /// The certificate's file.
    pub(super) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The key's file.
    pub(super) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What stays behind is a key for nothing but this demo; there is nobody left to tell.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn create_directory(parent: &Path) -> io::Result<PathBuf> {
    let mut failure = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..TRIES {
        let name = format!("sidestream-demo-{}-{attempt}", std::process::id());
        let directory = parent.join(name);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// The time now by a file that was just made: `clock.rs` alone reads clocks, and this needs no
/// more than the day.
fn wall_clock(made: &Path) -> io::Result<Duration> {
    let modified = fs::metadata(made)?.modified()?;
    modified
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(io::Error::other)
}

fn generate(now: Duration) -> Result<(String, String), rcgen::Error> {
    let mut wanted = CertificateParams::new(NAMES.map(str::to_owned))?;
    let today = date_time_ymd(1970, 1, 1) + now;
    wanted.not_before = today - VALID_BEFORE;
    wanted.not_after = today + VALID_FOR;
    wanted
        .distinguished_name
        .push(DnType::CommonName, "Sidestream demo");
    let key = KeyPair::generate()?;
    Ok((wanted.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_files_are_private_and_gone_when_the_demo_ends() {
        let parent = tempfile::tempdir().unwrap();
        let made = Certificate::make(parent.path()).unwrap();
        let second = Certificate::make(parent.path()).unwrap();
        assert_ne!(made.directory, second.directory);
        for file in [made.certificate(), made.key()] {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        assert!(
            fs::read_to_string(made.certificate())
                .unwrap()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
        drop((made, second));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn rustls_takes_certificate_and_key() {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

        let parent = tempfile::tempdir().unwrap();
        let made = Certificate::make(parent.path()).unwrap();
        let chain = CertificateDer::from_pem_file(made.certificate()).unwrap();
        let key = PrivateKeyDer::from_pem_file(made.key()).unwrap();
        rustls::ServerConfig::builder_with_provider(
            rustls::crypto::ring::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    }
}
