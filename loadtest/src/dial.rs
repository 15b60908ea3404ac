//! From a planned dial to a connected byte stream, plain or TLS.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::client::TlsStream;

use crate::{
    failure::Result,
    plan::{Dial, Plan},
    roster::Reason,
    tally::Protocol,
    target::Target,
    tls::Handshaker,
};

/// Receive buffer of slow readers' sockets; the kernel doubles it.
const SLOW_BUFFER_BYTES: u32 = 4 * 1024;

/// Makes the connections of a lane.
pub struct Dialler {
    h1: Line,
    h2: Line,
    /// Where those who come back go.
    successor: Option<SocketAddr>,
    source_addresses: u8,
    /// Kernel memory for what a subscriber has not read yet; slow ones leave the rest to the server.
    receive_buffer: Option<u32>,
}

/// Where the connections of one protocol go.
struct Line {
    address: SocketAddr,
    tls: Option<Handshaker>,
}

impl Dialler {
    /// Resolves both targets and sets up TLS where it is wanted.
    ///
    /// # Errors
    /// A name that does not resolve, or a TLS set-up that fails.
    pub fn new(plan: &Plan) -> Result<Self> {
        let line = |target: &Target, alpn| {
            let tls = target
                .tls
                .then(|| Handshaker::new(&target.host, alpn, plan.insecure));
            Ok::<_, crate::failure::Failure>(Line {
                address: target.resolve()?,
                tls: tls.transpose()?,
            })
        };
        Ok(Self {
            h1: line(&plan.h1_target, "http/1.1")?,
            h2: line(&plan.h2_target, "h2")?,
            successor: plan.successor.as_ref().map(Target::resolve).transpose()?,
            source_addresses: plan.source_addresses,
            receive_buffer: plan
                .receive_buffer_bytes
                .or(plan.conduct.bytes_per_second.map(|_| SLOW_BUFFER_BYTES)),
        })
    }

    /// Connects for visit number `visit`, and shakes hands where the target asks for TLS.
    ///
    /// # Errors
    /// The reason for the report.
    pub async fn dial(&self, dial: &Dial, visit: u32) -> std::result::Result<Io, Reason> {
        let line = match dial.protocol {
            Protocol::H1 => &self.h1,
            Protocol::H2 => &self.h2,
        };
        let address = self.successor.filter(|_| visit > 0).unwrap_or(line.address);
        let socket = self
            .socket(address, dial.index)
            .map_err(|error| reason("socket", &error))?;
        let stream = socket
            .connect(address)
            .await
            .map_err(|error| reason("connect", &error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| reason("socket", &error))?;
        match &line.tls {
            None => Ok(Io::Plain(stream)),
            Some(tls) => tls
                .shake_hands(stream)
                .await
                .map(|stream| Io::Tls(Box::new(stream))),
        }
    }

    /// A socket; bound to one of several loopback addresses, because each has only about 28,000
    /// ports towards one server address.
    fn socket(&self, to: SocketAddr, index: u32) -> io::Result<TcpSocket> {
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let addresses = u32::from(self.source_addresses);
        if let (IpAddr::V4(server), 2..) = (to.ip(), addresses)
            && server.is_loopback()
        {
            let last = u8::try_from(1 + index % addresses).unwrap_or(1);
            socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        }
        Ok(socket)
    }
}

/// A phrase for an I/O error: the kind, not the whole text, so that equal causes add up.
#[must_use]
pub fn reason(doing: &str, error: &io::Error) -> Reason {
    let kind = match error.raw_os_error() {
        Some(_) => error.kind().to_string(),
        None => error.to_string(),
    };
    format!("{doing}: {kind}").into()
}

/// A connected stream. TLS state is large and rare, so it is boxed.
pub enum Io {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
