//! TLS towards clients: rustls with a certificate that can be replaced while it is in use.

use std::{
    fmt, fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::config::model::ListenerTls;

/// A certificate or key that cannot be used.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// What stood in the two files of a listener.
#[derive(Hash)]
pub struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    /// Reads both.
    ///
    /// # Errors
    /// A file is missing or unreadable; says which and why.
    pub fn read(files: &ListenerTls) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate, "certificate")?,
            key: read(&files.key, "private key")?,
        })
    }
}

/// A certificate chain and its key, if they belong together, and when the first of the chain expires.
///
/// # Errors
/// They are not what they should be; says which file and why.
pub fn certify(files: &ListenerTls, pair: &Pair) -> Result<(CertifiedKey, SystemTime), TlsError> {
    let chain = certificates(&files.certificate, &pair.certificate)?;
    let not_after = not_after(&files.certificate, &chain)?;
    let key = private_key(&files.key, &pair.key)?;
    let key = ring::sign::any_supported_type(&key).map_err(|error| {
        TlsError(format!(
            "{}: the private key cannot be used: {error}",
            files.key.display()
        ))
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // `Unknown`: rustls cannot tell for this kind of key.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok((certified, not_after))
        }
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(TlsError(format!(
                "{} is not the key of the first certificate in {}",
                files.key.display(),
                files.certificate.display()
            )))
        }
        Err(error) => Err(TlsError(format!(
            "{}: the first certificate cannot be used: {error}",
            files.certificate.display()
        ))),
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError(format!("{}: not valid PEM: {error}", path.display())))?;
    if chain.is_empty() {
        return Err(TlsError(format!(
            "{}: holds no CERTIFICATE section",
            path.display()
        )));
    }
    Ok(chain)
}

/// When the first of them expires.
fn not_after(path: &Path, chain: &[CertificateDer<'_>]) -> Result<SystemTime, TlsError> {
    let mut first = None;
    for certificate in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| TlsError(format!("{}: no X.509: {error}", path.display())))?;
        let seconds = parsed.validity().not_after.timestamp();
        // Before 1970: expired all the same.
        let seconds = Duration::from_secs(seconds.try_into().unwrap_or_default());
        let then = SystemTime::UNIX_EPOCH + seconds;
        first = Some(first.map_or(then, |first: SystemTime| first.min(then)));
    }
    Ok(first.unwrap_or(SystemTime::UNIX_EPOCH))
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    use rustls::pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let why = if matches!(error, Error::NoItemsFound) {
            "holds no unencrypted PRIVATE KEY section".to_owned()
        } else {
            format!("not valid PEM: {error}")
        };
        TlsError(format!("{}: {why}", path.display()))
    })
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| {
        let why = if error.kind() == io::ErrorKind::NotFound {
            "no such file".to_owned()
        } else {
            error.to_string()
        };
        TlsError(format!("cannot read the {what} {}: {why}", path.display()))
    })
}

/// The certificate in use; replacing it takes effect with the next handshake.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Starts with `key`.
    #[must_use]
    pub fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(key)))
    }

    /// The one in use.
    #[cfg(test)]
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }

    /// Uses `key` from now on. Connections that exist are not touched.
    pub fn replace(&self, key: CertifiedKey) {
        self.0.store(Arc::new(key));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What a TLS listener accepts with: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1, session tickets.
///
/// # Errors
/// The system has no randomness for ticket keys.
pub fn acceptor(certificate: Arc<Certificate>) -> Result<Acceptor, TlsError> {
    let failed = |error: rustls::Error| TlsError(format!("TLS cannot be set up: {error}"));
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(failed)?;
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Writes a fresh certificate and key, and says where.
    fn files(folder: &Path, name: &str) -> ListenerTls {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let tls = ListenerTls {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&tls.certificate, made.cert.pem()).unwrap();
        fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
        tls
    }

    fn load(files: &ListenerTls) -> Result<CertifiedKey, TlsError> {
        certify(files, &Pair::read(files)?).map(|(key, _)| key)
    }

    #[test]
    fn a_pair_loads_and_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (files(folder.path(), "a"), files(folder.path(), "b"));
        let certificate = Certificate::new(load(&a).unwrap());
        acceptor(certificate.clone()).unwrap();
        let before = certificate.current();
        certificate.replace(load(&b).unwrap());
        assert_ne!(before.cert, certificate.current().cert);
    }

    #[test]
    fn errors_name_the_file_and_the_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (files(folder.path(), "a"), files(folder.path(), "b"));
        let garbage = folder.path().join("garbage");
        fs::write(&garbage, "hello").unwrap();
        let missing = PathBuf::from("/nowhere/cert.pem");
        let with = |certificate: &PathBuf, key: &PathBuf| {
            let pair = ListenerTls {
                certificate: certificate.clone(),
                key: key.clone(),
            };
            load(&pair).unwrap_err().to_string()
        };
        for (error, expected) in [
            (
                with(&missing, &a.key),
                "cannot read the certificate /nowhere/cert.pem: no such file",
            ),
            (
                with(&garbage, &a.key),
                "garbage: holds no CERTIFICATE section",
            ),
            (
                with(&a.certificate, &garbage),
                "garbage: holds no unencrypted PRIVATE KEY section",
            ),
            (
                with(&a.certificate, &a.certificate),
                "holds no unencrypted PRIVATE KEY section",
            ),
            (
                with(&a.certificate, &b.key),
                "b.key is not the key of the first certificate in",
            ),
        ] {
            assert!(
                error.contains(expected),
                "{error:?} should say {expected:?}"
            );
        }
    }
}
