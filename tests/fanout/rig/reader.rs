//! Clients on raw sockets and on the h2 crate: they show what came and how it ended.

use std::{collections::VecDeque, net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    soon,
    wire::{Decoder, Event, Item},
};

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A request for a stream.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    target: String,
    version: &'static str,
    fields: Vec<(&'static str, String)>,
}

/// A plain GET, as of a library.
pub(crate) fn get(target: &str) -> Ask {
    Ask {
        target: target.to_owned(),
        version: "HTTP/1.1",
        fields: Vec::new(),
    }
}

/// As a browser's EventSource asks.
pub(crate) fn event_source(target: &str) -> Ask {
    get(target)
        .with("Accept", "text/event-stream")
        .with("Cache-Control", "no-cache")
}

impl Ask {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }

    pub(crate) fn last_id(self, id: &str) -> Self {
        self.with("Last-Event-ID", id)
    }

    pub(crate) fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    fn to_h1(&self) -> String {
        let mut head = format!(
            "GET {} {}\r\nHost: shop.example\r\n",
            self.target, self.version
        );
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    fn to_h2(&self) -> http::Request<()> {
        let mut request =
            http::Request::builder().uri(format!("http://shop.example{}", self.target));
        for (name, value) in &self.fields {
            request = request.header(*name, value);
        }
        request.body(()).unwrap()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Whole: last chunk, END_STREAM, content length reached.
    Complete,
    /// Broken off.
    Cut,
}

/// An answered request whose body is read bit by bit.
pub(crate) struct Reader {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Body,
    decoder: Decoder,
    items: VecDeque<Item>,
    ended: Option<End>,
}

enum Body {
    H1(H1Body),
    H2(RecvStream),
}

struct H1Body {
    io: Box<dyn Duplex>,
    rest: Vec<u8>,
    framing: Framing,
}

enum Framing {
    Chunked,
    Length(usize),
    Close,
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct H2(SendRequest<Bytes>);

impl H2 {
    /// By prior knowledge, with the crate's windows.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = tcp(address).await;
        Self::over(stream, h2::client::Builder::new()).await
    }

    pub(crate) async fn over(io: impl Duplex + 'static, builder: h2::client::Builder) -> Self {
        let handshake = builder.handshake::<_, Bytes>(io);
        let (send, connection) = soon("h2 handshake", handshake).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self(send)
    }

    /// Sends a request; `None`: the connection takes none any more, or broke.
    pub(crate) async fn try_ask(&self, ask: &Ask) -> Option<Reader> {
        let mut send = soon("h2 ready", self.0.clone().ready()).await.ok()?;
        let (response, _) = send.send_request(ask.to_h2(), true).ok()?;
        drop(send);
        let (head, body) = soon("h2 response head", response).await.ok()?.into_parts();
        Some(Reader::new(
            head.status.as_u16(),
            head.headers,
            Body::H2(body),
        ))
    }

    pub(crate) async fn ask(&self, ask: &Ask) -> Reader {
        self.try_ask(ask).await.expect("a response")
    }
}

async fn tcp(address: SocketAddr) -> TcpStream {
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

/// TLS over `stream`, with HTTP/1.1.
pub(crate) async fn tls(stream: TcpStream, certificate: &Path) -> TlsStream<TcpStream> {
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
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    soon("TLS handshake", connector.connect(name, stream))
        .await
        .unwrap()
}

/// Asks over a new HTTP/1 connection and reads the head.
pub(crate) async fn h1(address: SocketAddr, ask: &Ask) -> Reader {
    h1_over(tcp(address).await, ask).await
}

/// Asks over `io` and reads the head.
pub(crate) async fn h1_over(io: impl Duplex + 'static, ask: &Ask) -> Reader {
    try_h1_over(io, ask).await.expect("a response head")
}

/// Sends the request and nothing else; the head is read by [`Pending::head`].
pub(crate) async fn h1_pending(address: SocketAddr, ask: &Ask) -> Pending {
    let mut io = tcp(address).await;
    soon("send", io.write_all(ask.to_h1().as_bytes()))
        .await
        .unwrap();
    Pending(io)
}

/// A request whose answer was not looked at.
pub(crate) struct Pending(TcpStream);

impl Pending {
    pub(crate) async fn head(self) -> Reader {
        read_head(self.0).await.expect("a response head")
    }
}

/// As [`h1_over`]; `None` when the connection ends before the head does.
pub(crate) async fn try_h1_over(mut io: impl Duplex + 'static, ask: &Ask) -> Option<Reader> {
    soon("send", async {
        let _ = io.write_all(ask.to_h1().as_bytes()).await;
        let _ = io.flush().await;
    })
    .await;
    read_head(io).await
}

async fn read_head(mut io: impl Duplex + 'static) -> Option<Reader> {
    let mut rest = Vec::new();
    let end = loop {
        if let Some(at) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if soon("response head", io.read_buf(&mut rest))
            .await
            .unwrap_or(0)
            == 0
        {
            return None;
        }
    };
    let head = String::from_utf8(rest.drain(..end + 4).collect()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let framing = match (
        headers.get("transfer-encoding"),
        headers.get("content-length"),
    ) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length.to_str().unwrap().parse().unwrap()),
        (None, None) if status == 204 => Framing::Length(0),
        (None, None) => Framing::Close,
    };
    let io = Box::new(io);
    Some(Reader::new(
        status,
        headers,
        Body::H1(H1Body { io, rest, framing }),
    ))
}

impl Reader {
    fn new(status: u16, headers: HeaderMap, body: Body) -> Self {
        Self {
            status,
            headers,
            body,
            decoder: Decoder::default(),
            items: VecDeque::new(),
            ended: None,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The next thing in the stream; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        while self.items.is_empty() {
            if self.ended.is_some() {
                return None;
            }
            match self.body.part().await {
                Ok(part) => {
                    let items = &mut self.items;
                    self.decoder.feed(&part, &mut |item| items.push_back(item));
                }
                Err(end) => self.ended = Some(end),
            }
        }
        self.items.pop_front()
    }

    /// The next event, gap notices included; `None` at the end.
    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Item::Event(event) = self.next().await? {
                return Some(event);
            }
        }
    }

    /// The next event; fails the test at the end.
    pub(crate) async fn event(&mut self) -> Event {
        self.next_event().await.expect("an event before the end")
    }

    /// The data of the next `count` events.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<String> {
        let mut data = Vec::new();
        while data.len() < count {
            data.push(self.event().await.data);
        }
        data
    }

    /// Everything up to the end, and how it ends.
    pub(crate) async fn rest(&mut self) -> (Vec<Item>, End) {
        let mut items = Vec::new();
        while let Some(item) = self.next().await {
            items.push(item);
        }
        (items, self.ended.unwrap())
    }

    /// The rest holds no event; how it ends.
    pub(crate) async fn end(&mut self) -> End {
        let (items, end) = self.rest().await;
        let events = items.iter().filter(|item| matches!(item, Item::Event(_)));
        assert_eq!(events.count(), 0, "{items:?}");
        end
    }

    /// The body as bytes, of an answer that is no stream.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while self.ended.is_none() {
            match self.body.part().await {
                Ok(part) => body.extend(part),
                Err(end) => self.ended = Some(end),
            }
        }
        assert_eq!(self.ended, Some(End::Complete), "{} bytes came", body.len());
        body
    }

    /// What stands in the stream so far ends between two blocks.
    pub(crate) fn is_between(&self) -> bool {
        self.decoder.is_between()
    }

    /// Lets a test read by bits: takes at most `max` bytes of the connection.
    pub(crate) async fn sip(&mut self, max: usize) -> bool {
        let part = match &mut self.body {
            Body::H1(body) => body.sip(max).await,
            Body::H2(_) => panic!("only over HTTP/1"),
        };
        match part {
            Ok(part) => {
                let items = &mut self.items;
                self.decoder.feed(&part, &mut |item| items.push_back(item));
            }
            Err(end) => self.ended = Some(end),
        }
        self.ended.is_none()
    }

    /// Items that were taken and not looked at.
    pub(crate) fn taken(&mut self) -> Vec<Item> {
        self.items.drain(..).collect()
    }
}

impl Body {
    /// More of the body, or how it ended.
    async fn part(&mut self) -> Result<Vec<u8>, End> {
        match self {
            Self::H1(body) => body.sip(64 << 10).await,
            Self::H2(stream) => match soon("h2 data", stream.data()).await {
                Some(Ok(data)) => {
                    let _ = stream.flow_control().release_capacity(data.len());
                    Ok(data.to_vec())
                }
                Some(Err(_)) => Err(End::Cut),
                None => Err(End::Complete),
            },
        }
    }
}

impl H1Body {
    async fn sip(&mut self, max: usize) -> Result<Vec<u8>, End> {
        loop {
            if let Some(part) = self.take()? {
                return Ok(part);
            }
            let mut space = vec![0; max];
            let read = soon("body", self.io.read(&mut space)).await;
            let n = match (read, &self.framing) {
                // Without framing, only a reset tells half a body from a whole one.
                (Ok(0), Framing::Close) => return Err(End::Complete),
                (Ok(0) | Err(_), _) => return Err(End::Cut),
                (Ok(n), _) => n,
            };
            self.rest.extend(&space[..n]);
        }
    }

    /// What is there of the body.
    fn take(&mut self) -> Result<Option<Vec<u8>>, End> {
        match &mut self.framing {
            Framing::Length(0) => Err(End::Complete),
            _ if self.rest.is_empty() => Ok(None),
            Framing::Length(left) => {
                assert!(self.rest.len() <= *left, "more than its length");
                *left -= self.rest.len();
                Ok(Some(std::mem::take(&mut self.rest)))
            }
            Framing::Close => Ok(Some(std::mem::take(&mut self.rest))),
            Framing::Chunked => self.take_chunk(),
        }
    }

    fn take_chunk(&mut self) -> Result<Option<Vec<u8>>, End> {
        let Some(at) = self.rest.windows(2).position(|w| w == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&self.rest[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let whole = at + 2 + size + 2;
        if self.rest.len() < whole {
            return Ok(None);
        }
        let chunk: Vec<u8> = self.rest.drain(..whole).collect();
        assert_eq!(&chunk[whole - 2..], b"\r\n");
        if size == 0 {
            assert!(self.rest.is_empty(), "nothing follows the last chunk");
            return Err(End::Complete);
        }
        Ok(Some(chunk[at + 2..whole - 2].to_vec()))
    }
}
