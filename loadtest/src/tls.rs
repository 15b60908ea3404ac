//! TLS for clients. The certificate of a server under test is its maker's own affair: `--insecure`
//! accepts any, but the handshake's signatures are still checked.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    failure::{Doing, Failure, Result},
    roster::Reason,
};

/// Shakes hands for one server name and one application protocol.
pub struct Handshaker {
    connector: TlsConnector,
    name: ServerName<'static>,
    alpn: &'static str,
}

impl Handshaker {
    /// Prepares handshakes with `host` for the protocol `alpn`.
    ///
    /// # Errors
    /// A host that is no server name, or a missing `insecure`: there is no root store here.
    pub fn new(host: &str, alpn: &'static str, insecure: bool) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).doing(format_args!("TLS to {host}"))?;
        let config = client_config(host, alpn, insecure)?;
        Ok(Self {
            connector: TlsConnector::from(config),
            name,
            alpn,
        })
    }

    /// Runs one handshake.
    ///
    /// # Errors
    /// The reason for the report, also when the server picked another protocol.
    pub async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> std::result::Result<TlsStream<TcpStream>, Reason> {
        let stream = self
            .connector
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| Reason::from(format!("TLS: {error}")))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(alpn) if alpn == self.alpn.as_bytes() => Ok(stream),
            // HTTP/1.1 is what a server without ALPN speaks.
            None if self.alpn == "http/1.1" => Ok(stream),
            _ => Err(format!("TLS: the server does not offer {}", self.alpn).into()),
        }
    }
}

/// The TLS set-up of a client that offers the protocol `alpn` to `host`.
///
/// # Errors
/// A missing `insecure`: there is no root store here.
pub fn client_config(host: &str, alpn: &str, insecure: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    if !insecure {
        return Err(Failure::new(format!(
            "TLS to {host}: this client carries no certificate authorities; add --insecure"
        )));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .doing("TLS set-up")?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(AnyCertificate(provider)));
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Ok(Arc::new(config))
}

/// Takes any certificate, and no forged handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
