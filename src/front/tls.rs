//! TLS towards clients: rustls with a certificate that can be replaced while it is in use.

use std::{fmt, fs, io, path::Path, sync::Arc};

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

/// Loads a certificate chain and its key and checks that they belong together.
///
/// # Errors
/// A file is missing, unreadable or not what it should be; says which and why.
pub fn load(files: &ListenerTls) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
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
            Ok(certified)
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, "certificate")?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
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

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use rustls::pki_types::pem::Error;
    let pem = read(path, "private key")?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
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

    #[test]
    fn a_pair_loads_and_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (files(folder.path(), "a"), files(folder.path(), "b"));
        let certificate = Certificate::new(load(&a).unwrap());
        acceptor(certificate.clone()).unwrap();
        let before = certificate.0.load_full();
        certificate.replace(load(&b).unwrap());
        assert_ne!(before.cert, certificate.0.load_full().cert);
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
