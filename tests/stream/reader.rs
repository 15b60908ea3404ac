//! One request and its answer, alike over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;

use crate::rig::{PATIENCE, Rig, client::Client, h2::H2, soon};

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Over; 2] = [Over::Http1, Over::Http2];

impl Over {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
        }
    }
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static [u8],
}

/// A browser's EventSource.
pub(crate) const EVENT_SOURCE: Ask = Ask {
    method: "GET",
    fields: &[
        ("accept", "text/event-stream"),
        ("cache-control", "no-cache"),
    ],
    body: b"",
};

/// A library that reads events by fetch.
pub(crate) const FETCH: Ask = Ask {
    method: "GET",
    fields: &[("accept", "text/event-stream")],
    body: b"",
};

/// A chat's question.
pub(crate) const CHAT: Ask = Ask {
    method: "POST",
    fields: &[("accept", "application/json, text/event-stream")],
    body: b"{\"prompt\":\"hi\"}",
};

/// What comes next of an answer's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Data(Vec<u8>),
    /// The answer is whole.
    End,
    /// It is not, and the client can tell.
    Cut,
}

/// An answer whose body is being read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    body: Body,
    rest: Vec<u8>,
}

enum Body {
    Http1(Client<TcpStream>),
    Http2(RecvStream),
}

/// Asks for `/stream/a` and waits for the head.
pub(crate) async fn ask(rig: &Rig, over: Over, ask: Ask) -> Answer {
    match over {
        Over::Http1 => {
            let mut client = Client::connect(rig.plain()).await;
            client.send(http1(ask)).await;
            http1_answer(client).await
        }
        Over::Http2 => {
            let stream = TcpStream::connect(rig.plain()).await.unwrap();
            let mut client = H2::connect(stream).await;
            let mut request = Request::builder()
                .method(ask.method)
                .uri("http://localhost/stream/a");
            for (name, value) in ask.fields {
                request = request.header(*name, *value);
            }
            let body: &[Bytes] = match ask.body {
                [] => &[],
                body => &[Bytes::from_static(body)],
            };
            let answer = client.send(request.body(()).unwrap(), body).await.unwrap();
            let (head, body) = answer.into_parts();
            Answer {
                status: head.status.as_u16(),
                fields: head.headers,
                body: Body::Http2(body),
                rest: Vec::new(),
            }
        }
    }
}

/// The request's bytes over HTTP/1.1.
pub(crate) fn http1(ask: Ask) -> Vec<u8> {
    let mut head = format!("{} /stream/a HTTP/1.1\r\nHost: localhost\r\n", ask.method);
    for (name, value) in ask.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if ask.method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", ask.body.len()));
    }
    [head.as_bytes(), b"\r\n", ask.body].concat()
}

/// The answer to what `client` has sent; its body is chunked.
pub(crate) async fn http1_answer(mut client: Client<TcpStream>) -> Answer {
    let head = client.head().await.expect("a head");
    let (status, fields) = head.split_once("\r\n").unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    Answer {
        status: status.split(' ').nth(1).unwrap().parse().unwrap(),
        fields: fields.split("\r\n").map(field).collect(),
        body: Body::Http1(client),
        rest: Vec::new(),
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) async fn next(&mut self) -> Next {
        if !self.rest.is_empty() {
            return Next::Data(std::mem::take(&mut self.rest));
        }
        match &mut self.body {
            Body::Http1(client) => match client.chunk().await {
                None => Next::Cut,
                Some(data) if data.is_empty() => Next::End,
                Some(data) => Next::Data(data),
            },
            Body::Http2(body) => loop {
                match soon("data", body.data()).await {
                    None => return Next::End,
                    Some(Err(_)) => return Next::Cut,
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        body.flow_control().release_capacity(data.len()).unwrap();
                        return Next::Data(data.to_vec());
                    }
                }
            },
        }
    }

    /// Reads exactly what is wanted and fails on anything else.
    pub(crate) async fn expect(&mut self, wanted: &str) {
        let mut got = Vec::new();
        while got.len() < wanted.len() {
            match self.next().await {
                Next::Data(data) => got.extend(data),
                over @ (Next::End | Next::Cut) => {
                    panic!("{over:?} after {:?}", String::from_utf8_lossy(&got))
                }
            }
        }
        self.rest = got.split_off(wanted.len());
        assert_eq!(String::from_utf8_lossy(&got), wanted);
    }

    /// All that still comes, and how it ends.
    pub(crate) async fn rest(&mut self) -> (String, Next) {
        let mut got = Vec::new();
        // As a whole: heartbeats would keep a wait for each part alive for ever.
        let over = soon("the end", async {
            loop {
                match self.next().await {
                    Next::Data(data) => got.extend(data),
                    over @ (Next::End | Next::Cut) => return over,
                }
            }
        })
        .await;
        (String::from_utf8(got).unwrap(), over)
    }

    /// The connection, for the next request; only over HTTP/1.
    pub(crate) fn into_client(self) -> Client<TcpStream> {
        match self.body {
            Body::Http1(client) => client,
            Body::Http2(_) => panic!("a stream of many"),
        }
    }
}

/// Waits until the exposition holds a line that ends like this.
pub(crate) async fn counted(rig: &Rig, line: &str) {
    let (key, _) = line.split_once(' ').unwrap();
    let mut found = String::new();
    let poll = async {
        while !found.ends_with(line) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let render = rig.metrics().render();
            let lines = render
                .lines()
                .filter(|l| l.contains(key.split(',').next().unwrap()));
            found = lines
                .clone()
                .find(|l| l.ends_with(line))
                .map_or_else(|| lines.collect::<Vec<_>>().join("\n"), str::to_owned);
        }
    };
    if tokio::time::timeout(PATIENCE, poll).await.is_err() {
        panic!("wanted {line}, found:\n{found}");
    }
}
