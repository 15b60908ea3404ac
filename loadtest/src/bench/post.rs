//! Publishing to a server that is pushed to: `POST` requests on one connection, some of them in flight.

use std::{collections::VecDeque, io::Write, net::TcpStream};

use crate::{
    failure::{Doing, Failure, Result},
    h1::head::{self, Framing, Head, Parsed},
    poll::{self, Backlog, Moved, Poll},
    target::Target,
};

/// Requests without an answer, at most; more wait here.
const PIPELINED_MAX: usize = 16;

/// The connection.
pub struct Posts {
    socket: TcpStream,
    backlog: Backlog,
    /// Request head, up to the length.
    head: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
    unanswered: usize,
    answers: Vec<u8>,
}

impl Posts {
    /// Connects to the server that takes the posts.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(target: &Target, poll: &Poll, token: u64) -> Result<Self> {
        let what = format!("connect to http://{}", target.authority());
        let socket = TcpStream::connect(target.resolve()?).doing(&what)?;
        socket.set_nodelay(true).doing(&what)?;
        socket.set_nonblocking(true).doing(&what)?;
        poll.add(&socket, token)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: ",
            target.path,
            target.authority()
        );
        Ok(Self {
            socket,
            backlog: Backlog::default(),
            head: head.into_bytes(),
            waiting: VecDeque::new(),
            unanswered: 0,
            answers: Vec::new(),
        })
    }

    /// Adds a message to those that go out.
    pub fn queue(&mut self, message: &[u8]) {
        let mut request = self.head.clone();
        // Writing into memory cannot fail.
        let _ = write!(request, "{}\r\n\r\n", message.len());
        request.extend_from_slice(message);
        self.waiting.push_back(request);
    }

    /// Sends as many as may be in flight.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self) -> Result<()> {
        let count = (PIPELINED_MAX - self.unanswered).min(self.waiting.len());
        let out: Vec<u8> = self.waiting.drain(..count).flatten().collect();
        self.unanswered += count;
        self.backlog.send(&self.socket, &out).doing("publish")
    }

    /// Reads answers and sends what they make room for.
    ///
    /// # Errors
    /// When a post is refused or the connection is broken.
    pub fn advance(&mut self) -> Result<()> {
        let mut buf = [0; 4_096];
        loop {
            match poll::receive(&self.socket, &mut buf) {
                Moved::Bytes(count) => self
                    .answers
                    .extend_from_slice(buf.get(..count).unwrap_or_default()),
                Moved::Nothing => break,
                Moved::Closed => return Err(Failure::new("publish: closed by the server")),
                Moved::Broken(error) => return Err(error).doing("publish"),
            }
        }
        while let Some(len) = answer(&self.answers)? {
            self.answers.drain(..len);
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.send()
    }
}

/// The length of the answer in front, once it is whole.
fn answer(bytes: &[u8]) -> Result<Option<usize>> {
    match head::parse(bytes) {
        Parsed::Incomplete => Ok(None),
        Parsed::Head(Head {
            status: 200..300,
            framing: Framing::Length(length),
            len,
            ..
        }) => {
            let whole = len + usize::try_from(length).unwrap_or(usize::MAX - len);
            Ok((bytes.len() >= whole).then_some(whole))
        }
        Parsed::Head(Head { status, .. }) => Err(Failure::new(format!(
            "publish: answered {status}, or without a length"
        ))),
        Parsed::Bad => Err(Failure::new("publish: answered with a malformed head")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let ok = "HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabc";
        let cases = [
            (ok, Some(Some(ok.len()))),
            (&ok[..ok.len() - 1], Some(None)),
            (&ok[..20], Some(None)),
            ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("nonsense\r\n\r\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(answer(text.as_bytes()).ok(), expected, "{text:?}");
        }
    }
}
