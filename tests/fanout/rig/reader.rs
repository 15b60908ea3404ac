//! Clients on raw sockets and on the h2 crate: they show what came and how it ended.

use std::{collections::VecDeque, net::SocketAddr, path::Path};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) use super::body::{Duplex, End};
use super::{
    body::{Body, Framing, H1Body},
    soon,
    wire::{Decoder, Event, Item},
};
pub(crate) use crate::base::client::narrow;
use crate::base::{
    client::{self, Client},
    h2::H2 as Connection,
};

/// A request for a stream.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: &'static str,
    target: String,
    version: &'static str,
    fields: Vec<(&'static str, String)>,
}

/// A plain GET, as of a library.
pub(crate) fn get(target: &str) -> Ask {
    Ask {
        method: "GET",
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

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
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
            "{} {} {}\r\nHost: shop.example\r\n",
            self.method, self.target, self.version
        );
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    fn to_h2(&self) -> http::Request<()> {
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(format!("http://shop.example{}", self.target));
        for (name, value) in &self.fields {
            request = request.header(*name, value);
        }
        request.body(()).unwrap()
    }
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

/// An HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct H2(Connection);

impl H2 {
    /// By prior knowledge, with the crate's windows.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = client::tcp(address).await;
        Self::over(stream, h2::client::Builder::new()).await
    }

    pub(crate) async fn over(io: impl Duplex + 'static, builder: h2::client::Builder) -> Self {
        Self(Connection::over(io, builder).await)
    }

    /// Sends a request; `None`: the connection takes none any more, or broke.
    pub(crate) async fn try_ask(&self, ask: &Ask) -> Option<Reader> {
        let response = self.0.clone().send(ask.to_h2(), &[]).await.ok()?;
        let (head, body) = response.into_parts();
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

/// TLS over `stream`, with HTTP/1.1.
pub(crate) async fn tls(stream: TcpStream, certificate: &Path) -> TlsStream<TcpStream> {
    client::tls_over(stream, certificate, &["http/1.1"]).await
}

/// Asks over a new HTTP/1 connection and reads the head.
pub(crate) async fn h1(address: SocketAddr, ask: &Ask) -> Reader {
    h1_over(client::tcp(address).await, ask).await
}

/// As [`h1`], with a small receive buffer.
pub(crate) async fn h1_narrow(address: SocketAddr, ask: &Ask) -> Reader {
    h1_over(narrow(address).await, ask).await
}

/// Asks over `io` and reads the head.
pub(crate) async fn h1_over(io: impl Duplex + 'static, ask: &Ask) -> Reader {
    try_h1_over(io, ask).await.expect("a response head")
}

/// Sends the request and nothing else; the head is read by [`Pending::head`].
pub(crate) async fn h1_pending(address: SocketAddr, ask: &Ask) -> Pending {
    let mut client = Client::connect(address).await;
    client.send(ask.to_h1()).await;
    Pending(client)
}

/// A request whose answer was not looked at.
pub(crate) struct Pending(Client<TcpStream>);

impl Pending {
    pub(crate) async fn head(self) -> Reader {
        let io = self.0.into_io();
        read_head(io).await.expect("a response head")
    }
}

/// As [`h1_over`]; `None` when the connection ends before the head does.
pub(crate) async fn try_h1_over(io: impl Duplex + 'static, ask: &Ask) -> Option<Reader> {
    let mut client = Client::new(io);
    // Who closed before may have answered before.
    let _sent = client.try_send(ask.to_h1().as_bytes()).await;
    read_head(client.into_io()).await
}

async fn read_head(io: impl Duplex + 'static) -> Option<Reader> {
    let mut client = Client::new(Box::new(io) as Box<dyn Duplex>);
    let head = client.head().await?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1) {
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
        (None, None) if matches!(status, 204 | 304) => Framing::Length(0),
        (None, None) => Framing::Close,
    };
    let body = Body::H1(H1Body { client, framing });
    Some(Reader::new(status, headers, body))
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

    /// The next thing that is no heartbeat; fails the test at the end.
    pub(crate) async fn next_but_beats(&mut self) -> Item {
        let beat = Item::Comment("hb".to_owned());
        soon("more than heartbeats", async {
            loop {
                let item = self.next().await.expect("more before the end");
                if item != beat {
                    return item;
                }
            }
        })
        .await
    }

    /// The next event, gap notices included; `None` at the end.
    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        // As a whole: heartbeats would keep a wait for each part alive for ever.
        soon("an event, or the end", async {
            loop {
                if let Item::Event(event) = self.next().await? {
                    return Some(event);
                }
            }
        })
        .await
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

    /// Everything up to the end, and how it ends: what is whole does not end inside a block.
    pub(crate) async fn rest(&mut self) -> (Vec<Item>, End) {
        let mut items = Vec::new();
        soon("the end", async {
            while let Some(item) = self.next().await {
                items.push(item);
            }
        })
        .await;
        let end = self.ended.unwrap();
        assert!(end == End::Cut || self.is_between(), "{:?}", self.decoder);
        (items, end)
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
