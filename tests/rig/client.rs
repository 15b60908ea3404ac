//! A client on a raw stream: it sends exactly what a test says and shows exactly what it got.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{head, soon};

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
        head::field(&self.head, name)
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
        Self::new(tcp(address).await)
    }
}

impl Client<UnixStream> {
    pub(crate) async fn connect_unix(path: &Path) -> Self {
        Self::new(UnixStream::connect(path).await.unwrap())
    }
}

/// A TCP connection.
pub(crate) async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = soon("connect", TcpStream::connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection with a small receive buffer: what it does not read is soon noticed.
pub(crate) async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    soon("connect", socket.connect(address)).await.unwrap()
}

/// A TLS connection that offered `alpn` and trusts `certificate`.
pub(crate) async fn tls(
    address: SocketAddr,
    certificate: &Path,
    alpn: &[&str],
) -> TlsStream<TcpStream> {
    tls_over(tcp(address).await, certificate, alpn).await
}

/// As [`tls`], over a connection that is there.
pub(crate) async fn tls_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    certificate: &Path,
    alpn: &[&str],
) -> TlsStream<S> {
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
        self.sip(64 << 10).await
    }

    /// Reads at most `max` bytes into what is there; 0 at the end, be it clean or a reset.
    pub(crate) async fn sip(&mut self, max: usize) -> usize {
        self.try_sip(max).await.unwrap_or(0)
    }

    /// As [`Client::sip`], but tells a reset from a clean end.
    pub(crate) async fn try_sip(&mut self, max: usize) -> std::io::Result<usize> {
        let mut space = vec![0; max];
        let n = soon("read", self.io.read(&mut space)).await?;
        self.rest.extend_from_slice(&space[..n]);
        Ok(n)
    }

    /// What was read and not looked at.
    pub(crate) fn take_read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
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

    /// Reads until `wanted` has come, and drops what was before it.
    pub(crate) async fn wait_for(&mut self, wanted: &str) {
        // As a whole: heartbeats would keep a wait for each read alive for ever.
        soon(wanted, async {
            loop {
                let mut windows = self.rest.windows(wanted.len());
                if let Some(at) = windows.position(|window| window == wanted.as_bytes()) {
                    self.rest.drain(..at + wanted.len());
                    return;
                }
                let got = String::from_utf8_lossy(&self.rest).into_owned();
                let more = self.more().await;
                assert_ne!(more, 0, "ended after {got:?}, wanted {wanted:?}");
            }
        })
        .await;
    }

    /// Reads up to the end of a head.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = head::end(&self.rest) {
                let head: Vec<u8> = self.rest.drain(..end).collect();
                return Some(String::from_utf8_lossy(&head[..end - 4]).into_owned());
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
            response.body = self.rest().await;
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

    /// Posts a body and reads the response.
    pub(crate) async fn post(&mut self, target: &str, body: &[u8]) -> Response {
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        self.send(head).await;
        self.send(body).await;
        self.response().await
    }

    /// As [`Client::post`], in chunks.
    pub(crate) async fn post_in_chunks(&mut self, target: &str, body: &[u8]) -> Response {
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        self.send(head).await;
        for piece in body.chunks(100_000) {
            let size = format!("{:x}\r\n", piece.len());
            self.send([size.as_bytes(), piece, b"\r\n"].concat()).await;
        }
        self.send("0\r\n\r\n").await;
        self.response().await
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
        loop {
            match self.read_chunk() {
                Some(chunk) => return Some(chunk),
                None if self.more().await == 0 => return None,
                None => {}
            }
        }
    }

    /// As [`Client::chunk`], of what was read; `None` unless all of it is there.
    pub(crate) fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let at = self.rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&self.rest[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let end = at + 2 + size;
        if self.rest.len() < end + 2 {
            return None;
        }
        let chunk: Vec<u8> = self.rest.drain(..end + 2).collect();
        assert_eq!(&chunk[end..], b"\r\n");
        Some(chunk[at + 2..end].to_vec())
    }

    /// All that comes until the end, be it clean or a reset.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        self.take_read()
    }

    pub(crate) fn into_io(self) -> S {
        self.io
    }
}
