//! The bench as an SSE app: every `GET` gets the stream, whatever its path, in chunks.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{TcpListener, TcpStream},
};

use crate::{
    failure::{Doing, Result},
    poll::{self, Backlog, Moved, Poll},
};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Longest request head.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// The listener and the streams of servers under test; a proxy that does not fan out has one for each
/// subscriber.
pub struct Upstreams {
    listener: TcpListener,
    /// The token of the listener; those of streams follow.
    token: u64,
    next_token: u64,
    streams: BTreeMap<u64, Stream>,
    /// What goes to every stream next.
    out: Vec<u8>,
}

struct Stream {
    socket: TcpStream,
    /// The request so far; `None` once it is answered.
    request: Option<Vec<u8>>,
    backlog: Backlog,
}

impl Upstreams {
    /// Takes connections from `listener`, see [`poll::listen`].
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub fn start(listener: TcpListener, poll: &Poll, token: u64) -> Result<Self> {
        poll.add(&listener, token)?;
        Ok(Self {
            listener,
            token,
            next_token: token + 1,
            streams: BTreeMap::new(),
            out: Vec::new(),
        })
    }

    /// Adds an event to what goes out with the next [`Self::send`], as a chunk of its own.
    pub fn queue(&mut self, event: &[u8]) {
        let size = format!("{:x}\r\n", event.len());
        self.out.extend_from_slice(size.as_bytes());
        self.out.extend_from_slice(event);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes what is queued to every stream.
    pub fn send(&mut self) {
        let out = std::mem::take(&mut self.out);
        self.streams.retain(|_, stream| {
            stream.request.is_some() || stream.backlog.send(&stream.socket, &out).is_ok()
        });
        self.out = out;
        self.out.clear();
    }

    /// Streams that have their head.
    #[must_use]
    pub fn streams(&self) -> usize {
        let open = |stream: &&Stream| stream.request.is_none();
        self.streams.values().filter(open).count()
    }

    /// The listener or a stream is ready.
    ///
    /// # Errors
    /// When the system has no room for another connection.
    pub fn advance(&mut self, token: u64, closed: bool, poll: &Poll) -> Result<()> {
        if token == self.token {
            return self.accept(poll);
        }
        if let Some(stream) = self.streams.get_mut(&token)
            && (stream.advance().is_none() || closed)
        {
            self.streams.remove(&token);
        }
        Ok(())
    }

    fn accept(&mut self, poll: &Poll) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).doing("accept the server under test"),
            };
            socket.set_nonblocking(true).doing("set up a socket")?;
            socket.set_nodelay(true).doing("set up a socket")?;
            poll.add(&socket, self.next_token)?;
            let stream = Stream {
                socket,
                request: Some(Vec::new()),
                backlog: Backlog::default(),
            };
            self.streams.insert(self.next_token, stream);
            self.next_token += 1;
        }
    }
}

impl Stream {
    /// Answers the request once it is whole; `None` when the connection is over.
    fn advance(&mut self) -> Option<()> {
        let mut buf = [0; 4_096];
        loop {
            match (poll::receive(&self.socket, &mut buf), &mut self.request) {
                (Moved::Bytes(count), Some(request)) => {
                    request.extend_from_slice(buf.get(..count)?);
                    if memchr::memmem::find(request, b"\r\n\r\n").is_some() {
                        self.request = None;
                        self.backlog.send(&self.socket, HEAD).ok()?;
                    } else if request.len() > REQUEST_BYTES_MAX {
                        return None;
                    }
                }
                (Moved::Bytes(_), None) => {}
                (Moved::Nothing, _) => return self.backlog.flush(&self.socket).ok(),
                (Moved::Closed | Moved::Broken(_), _) => return None,
            }
        }
    }
}
