//! A client on a raw stream: it sends exactly what a test says and shows exactly what it got.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::soon;

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and fields, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) struct Client<S> {
    io: S,
    rest: Vec<u8>,
}

impl Client<TcpStream> {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("connect", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }
}

impl Client<UnixStream> {
    pub(crate) async fn connect_unix(path: &Path) -> Self {
        Self::new(UnixStream::connect(path).await.unwrap())
    }
}

/// A TLS connection that offered `alpn` and trusts `certificate`.
pub(crate) async fn tls(
    address: SocketAddr,
    certificate: &Path,
    alpn: &[&str],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(certificate).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    soon("TLS handshake", connector.connect(name, stream))
        .await
        .unwrap()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            rest: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("send", async {
            self.io.write_all(bytes.as_ref()).await.unwrap();
            self.io.flush().await.unwrap();
        })
        .await;
    }

    /// As `send`, to a peer that may have closed.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        soon("send", async {
            self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok()
        })
        .await
    }

    pub(crate) async fn shutdown(&mut self) {
        let _ = self.io.shutdown().await;
    }

    async fn more(&mut self) -> usize {
        let mut chunk = vec![0; 64 << 10];
        let n = soon("read", self.io.read(&mut chunk)).await.unwrap_or(0);
        self.rest.extend_from_slice(&chunk[..n]);
        n
    }

    /// Reads exactly what is wanted and fails on anything else.
    pub(crate) async fn expect(&mut self, wanted: &str) {
        while self.rest.len() < wanted.len() {
            let got = String::from_utf8_lossy(&self.rest).into_owned();
            assert_ne!(
                self.more().await,
                0,
                "ended after {got:?}, wanted {wanted:?}"
            );
        }
        let got: Vec<u8> = self.rest.drain(..wanted.len()).collect();
        assert_eq!(String::from_utf8_lossy(&got), wanted);
    }

    /// Reads up to the end of a head.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head[..at]).into_owned());
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    /// Reads a whole response to a request of `method`; `None` if the connection ends before it.
    pub(crate) async fn response_to(&mut self, method: &str) -> Option<Response> {
        let head = self.head().await?;
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
        };
        let length = response.field("content-length").map(str::to_owned);
        let chunked = response.field("transfer-encoding") == Some("chunked");
        if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
        } else if chunked {
            response.body = self.chunked().await;
        } else if let Some(length) = length {
            response.body = self.take(length.parse().unwrap()).await;
        } else {
            response.body = self.to_end().await;
        }
        Some(response)
    }

    /// Reads a whole response.
    pub(crate) async fn response(&mut self) -> Response {
        self.response_to("GET").await.expect("a response")
    }

    /// Sends a request and reads the response.
    pub(crate) async fn request(&mut self, head: &str) -> Response {
        self.send(head).await;
        let method = head.split(' ').next().unwrap();
        self.response_to(method).await.expect("a response")
    }

    async fn take(&mut self, n: usize) -> Vec<u8> {
        while self.rest.len() < n {
            assert_ne!(self.more().await, 0, "the response ended early");
        }
        self.rest.drain(..n).collect()
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await.expect("a last chunk");
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// One chunk of a chunked body; empty for the last, `None` if the body was cut.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let at = loop {
            match self.rest.windows(2).position(|w| w == b"\r\n") {
                Some(at) => break at,
                None if self.more().await == 0 => return None,
                None => {}
            }
        };
        let line: Vec<u8> = self.rest.drain(..at + 2).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..at]).unwrap(), 16).unwrap();
        while self.rest.len() < size + 2 {
            if self.more().await == 0 {
                return None;
            }
        }
        let mut chunk: Vec<u8> = self.rest.drain(..size + 2).collect();
        assert_eq!(chunk.split_off(size), b"\r\n");
        Some(chunk)
    }

    /// All that comes until the end, be it clean or a reset.
    pub(crate) async fn to_end(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn into_io(self) -> S {
        self.io
    }
}
