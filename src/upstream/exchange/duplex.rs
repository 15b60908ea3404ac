//! An exchange of one client's own: the request's body goes up while the answer comes down.
//!
//! pingora's HTTP/1 session cannot write and be read at the same time. An app may well answer before
//! it has taken the whole body (413), or not take the rest until its answer is read. So the session
//! reads and sends the head, and the body goes beside it, down the same connection.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::SendStream;
use http::header::TRANSFER_ENCODING;
use pingora::{http::RequestHeader, protocols::http::v1::client::HttpSession as Http1Session};
use tokio::io::AsyncWrite;

use super::{Dialer, Downlink, OpenError, RequestBody, line::Line, link::Link, trunks::Way};
use crate::{clock::Millis, config::model::Upstream, sse::encode::Frame};

/// What ends a body in chunks (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Dialer {
    /// Connects and sends a request head, to which the framing of `body` is added. The body goes by
    /// the [`Uplink`].
    ///
    /// # Errors
    /// As for [`Dialer::ask`].
    pub async fn send(
        &self,
        upstream: &Upstream,
        mut head: Box<RequestHeader>,
        body: RequestBody,
        now: Millis,
    ) -> Result<(Downlink, Uplink), OpenError> {
        let stream = match self.reach(upstream, &head, body, now).await? {
            Way::Own(stream) => stream,
            Way::Shared(call, upload) => {
                let hand = upload.map_or(Hand::Empty, Hand::Shared);
                return Ok((Downlink::new(Link::Shared(call)), Uplink::by(hand)));
            }
        };
        let line = Line::new(stream);
        let mut session = Box::new(Http1Session::new(Box::new(line.clone())));
        session.write_timeout = Some(upstream.write_timeout);
        let framing = match body {
            RequestBody::None | RequestBody::Sized => Framing::Length,
            RequestBody::Unsized => {
                head.insert_header(TRANSFER_ENCODING, "chunked")
                    .map_err(OpenError::no_head)?;
                Framing::Chunked
            }
        };
        session
            .write_request_header(head)
            .await
            .map_err(OpenError::no_head)?;
        let uplink = Uplink::by(Hand::Own { line, framing });
        Ok((Downlink::new(Link::Own(session)), uplink))
    }
}

/// How a body goes to the app by HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// As it is: the client told its length, and pingora holds it to that.
    Length,
    /// In chunks.
    Chunked,
}

impl Framing {
    fn frame(self, data: Bytes, is_last: bool) -> Bytes {
        if self == Self::Length {
            return data;
        }
        // An empty chunk would be the last one.
        let chunk = if data.is_empty() {
            data
        } else {
            Frame::raw(&data).chunked().clone()
        };
        if is_last {
            [&chunk, LAST_CHUNK].concat().into()
        } else {
            chunk
        }
    }
}

/// The way up for a request's body. It holds one piece at a time: whoever reads the body from the
/// client waits until the app has taken it.
pub struct Uplink {
    hand: Hand,
    waiting: Bytes,
    /// More than `waiting` has yet to leave: what was handed down and may not be flushed, or the end.
    unsettled: bool,
}

/// By which a body goes up.
enum Hand {
    /// Nothing follows the head.
    Empty,
    /// HTTP/1.1, past the session that sent the head.
    Own { line: Line, framing: Framing },
    /// HTTP/2.
    Shared(SendStream<Bytes>),
}

impl Uplink {
    const fn by(hand: Hand) -> Self {
        Self {
            hand,
            waiting: Bytes::new(),
            unsettled: false,
        }
    }

    /// Takes the next piece; only when [`is_idle`](Self::is_idle).
    pub fn put(&mut self, piece: Bytes, is_last: bool) {
        debug_assert!(self.is_idle(), "one piece at a time");
        match &self.hand {
            Hand::Empty => debug_assert!(piece.is_empty(), "no body was announced"),
            Hand::Own { framing, .. } => {
                self.waiting = framing.frame(piece, is_last);
                self.unsettled = !self.waiting.is_empty();
            }
            Hand::Shared(_) => {
                self.waiting = piece;
                self.unsettled = is_last;
            }
        }
    }

    /// Everything so far has left.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.unsettled
    }

    /// Waits until the app has taken some of the piece, or all of it has left. Cancel safe.
    ///
    /// # Errors
    /// The app takes no more. It may have answered all the same.
    pub async fn sent(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = &mut self.waiting;
        match &mut self.hand {
            Hand::Empty => {}
            Hand::Own { line, .. } if waiting.is_empty() => {
                ready!(Pin::new(line).poll_flush(cx))?;
                self.unsettled = false;
            }
            Hand::Own { line, .. } => {
                let taken = ready!(Pin::new(line).poll_write(cx, waiting))?;
                if taken == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                waiting.advance(taken);
            }
            Hand::Shared(stream) => {
                let room = match waiting.len() {
                    0 => 0,
                    wanted => ready!(poll_room(stream, wanted, cx))?,
                };
                let piece = waiting.split_to(room.min(waiting.len()));
                let is_last = self.unsettled && waiting.is_empty();
                self.unsettled &= !is_last;
                stream.send_data(piece, is_last).map_err(io::Error::other)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits until the app's windows have room for some of `wanted` bytes.
fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    stream.reserve_capacity(wanted);
    loop {
        // What is there is not announced again.
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            // It was reset.
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_framed_as_its_head_says() {
        for (framing, data, is_last, expected) in [
            (Framing::Length, "ab", false, "ab"),
            (Framing::Length, "", true, ""),
            (Framing::Chunked, "ab", false, "2\r\nab\r\n"),
            (Framing::Chunked, "", false, ""),
            (Framing::Chunked, "ab", true, "2\r\nab\r\n0\r\n\r\n"),
            (Framing::Chunked, "", true, "0\r\n\r\n"),
        ] {
            assert_eq!(
                framing.frame(data.into(), is_last),
                expected,
                "{framing:?} {data:?}"
            );
        }
    }
}
