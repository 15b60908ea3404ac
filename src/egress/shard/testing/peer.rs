//! A client that is connected by HTTP/2, and the connection's task on our side. Each of the two moves
//! only when told.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use ::h2::{
    RecvStream, client,
    client::{ResponseFuture, SendRequest},
};
use bytes::Bytes;
use http::{Request, Response};
use pingora::protocols::{
    Digest, Stream,
    http::v2::server::{H2Accept, HttpSession, default_h2_options},
};
use tokio::io::{DuplexStream, duplex};

use crate::{
    clock,
    config::testing::limits,
    egress::{
        h2::{Connection, budget::Budget},
        sink::Downstream,
        testing::Flag,
    },
};

/// More streams than one connection has here.
const STREAMS_MAX: u32 = 1_000;

/// Bytes that a client lets wait for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::egress::shard) struct Room {
    /// In its socket.
    pub(in crate::egress::shard) socket: usize,
    /// On each stream.
    pub(in crate::egress::shard) stream: u32,
    /// On all of them together.
    pub(in crate::egress::shard) connection: u32,
}

impl Room {
    /// For all that a test has to say.
    pub(in crate::egress::shard) const fn ample() -> Self {
        Self {
            socket: 1 << 20,
            stream: 1 << 20,
            connection: 1 << 20,
        }
    }
}

struct Client {
    send: SendRequest<Bytes>,
    connection: client::Connection<DuplexStream, Bytes>,
}

type Server = ::h2::server::Connection<Stream, Bytes>;

/// A connection with both of its ends.
pub(in crate::egress::shard) struct Peer {
    /// `None`: the client has gone.
    client: Option<Client>,
    /// The client's task.
    client_task: Arc<Flag>,
    /// `None`: we have seen that.
    server: Option<Server>,
    /// The connection's task.
    server_task: Arc<Flag>,
    shared: Arc<Connection>,
}

impl Peer {
    pub(in crate::egress::shard) fn new(room: Room) -> Self {
        let (near, far) = duplex(room.socket);
        let budget = Budget::new(&limits(), clock::now());
        let (shared, io) = Connection::new(Box::new(near), &[], budget);
        let (client_task, server_task) = (Flag::woken(), Flag::woken());
        let mut theirs = client::Builder::new();
        theirs
            .initial_window_size(room.stream)
            .initial_connection_window_size(room.connection)
            .initial_max_send_streams(STREAMS_MAX as usize)
            .max_concurrent_reset_streams(STREAMS_MAX as usize);
        let mut ours = default_h2_options();
        ours.max_concurrent_streams(STREAMS_MAX);
        let mut theirs = pin!(theirs.handshake::<_, Bytes>(far));
        let mut ours = pin!(ours.handshake::<Stream, Bytes>(Box::new(io)));
        let mut client: Option<Client> = None;
        let server = loop {
            let waker = client_task.take();
            let mut cx = Context::from_waker(&waker);
            if let Some(client) = &mut client {
                assert!(Pin::new(&mut client.connection).poll(&mut cx).is_pending());
            } else if let Poll::Ready(shaken) = theirs.as_mut().poll(&mut cx) {
                let (send, connection) = shaken.unwrap();
                client = Some(Client { send, connection });
            }
            let waker = server_task.take();
            let mut cx = Context::from_waker(&waker);
            let polled = ours.as_mut().poll(&mut cx);
            shared.flush(&mut cx);
            if let Poll::Ready(server) = polled {
                break server.unwrap();
            }
        };
        Self {
            client,
            client_task: Flag::woken(),
            server: Some(server),
            server_task: Flag::woken(),
            shared: Arc::new(shared),
        }
    }

    /// Its client asks for a stream.
    pub(in crate::egress::shard) fn ask(&mut self) -> Body {
        let client = self.client.as_mut().expect("who has gone asks no more");
        let request = Request::get("http://h/").body(()).unwrap();
        let (answer, _) = client.send.send_request(request, true).unwrap();
        Body {
            answer: Some(answer),
            stream: None,
            came: Bytes::new(),
            ends_whole: false,
        }
    }

    /// A turn of our task; the requests that came, in their order.
    pub(in crate::egress::shard) fn serve(&mut self) -> Vec<Downstream> {
        let mut taken = Vec::new();
        let Some(server) = &mut self.server else {
            return taken;
        };
        let waker = self.server_task.take();
        let mut cx = Context::from_waker(&waker);
        let polled = loop {
            let accepted = pin!(HttpSession::from_h2_conn(
                server,
                Arc::new(Digest::default())
            ));
            match accepted.poll(&mut cx) {
                Poll::Ready(Ok(Some(H2Accept::Session(session)))) => {
                    taken.push(Downstream::h2(session, self.shared.clone()));
                }
                Poll::Ready(Ok(Some(H2Accept::Rejected))) => panic!("this is a good request"),
                Poll::Ready(Ok(None) | Err(_)) => break Poll::Ready(()),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.shared.flush(&mut cx);
        assert!(!self.shared.is_flooded(), "it asks for something");
        if polled.is_ready() {
            assert!(self.client.is_none(), "the connection is fine");
            self.server = None;
        }
        taken
    }

    /// A turn of its client: frames come in, and go out.
    pub(in crate::egress::shard) fn receive(&mut self) {
        if let Some(client) = &mut self.client {
            let waker = self.client_task.take();
            let polled = Pin::new(&mut client.connection).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending(), "{polled:?}");
        }
    }

    /// Its client goes, and all its streams with it.
    pub(in crate::egress::shard) fn leave(&mut self) {
        self.client = None;
    }

    /// Whether its client has gone.
    pub(in crate::egress::shard) const fn is_left(&self) -> bool {
        self.client.is_none()
    }

    /// Whether both of its ends are gone.
    pub(in crate::egress::shard) const fn is_over(&self) -> bool {
        self.client.is_none() && self.server.is_none()
    }

    /// Whether one of the two has something to do.
    pub(in crate::egress::shard) fn is_awake(&self) -> bool {
        self.is_server_awake() || (self.client.is_some() && self.client_task.is_woken())
    }

    pub(in crate::egress::shard) fn is_server_awake(&self) -> bool {
        self.server.is_some() && self.server_task.is_woken()
    }
}

/// What a client gets on one stream, as the bytes of HTTP/1.0: a head, and then the body.
pub(in crate::egress::shard) struct Body {
    /// `None`: it came.
    answer: Option<ResponseFuture>,
    /// `None`: nothing more comes.
    stream: Option<RecvStream>,
    /// Of the body, and not yet read.
    came: Bytes,
    ends_whole: bool,
}

impl Body {
    /// Takes at most `max` bytes, and makes room for as many on the stream. Nothing: it is over.
    pub(in crate::egress::shard) fn poll_read(&mut self, max: usize) -> Poll<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(answer) = &mut self.answer {
            let answer = ready!(Pin::new(answer).poll(&mut cx));
            self.answer = None;
            return Poll::Ready(match answer {
                Ok(answer) => {
                    let head = head(&answer);
                    self.stream = Some(answer.into_body());
                    head
                }
                Err(_) => Bytes::new(),
            });
        }
        while self.came.is_empty() {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Bytes::new());
            };
            match ready!(stream.poll_data(&mut cx)) {
                Some(Ok(data)) => self.came = data,
                end => {
                    self.ends_whole = end.is_none();
                    self.stream = None;
                }
            }
        }
        let part = self.came.split_to(max.min(self.came.len()));
        if let Some(stream) = &mut self.stream {
            // On a stream that was reset nobody waits for room.
            let _ = stream.flow_control().release_capacity(part.len());
        }
        Poll::Ready(part)
    }

    /// Whether it has ended, and not by a reset.
    pub(in crate::egress::shard) const fn ends_whole(&self) -> bool {
        self.ends_whole
    }
}

fn head(answer: &Response<RecvStream>) -> Bytes {
    let mut head = format!("HTTP/1.1 {}\r\n", answer.status().as_u16());
    for (name, value) in answer.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head.push_str("\r\n");
    head.into()
}
