//! A client of the floor: told by its first bytes whether it speaks HTTP/1.1 or HTTP/2.

use std::net::TcpStream;

use crate::{
    h2::{
        frame::{self, Frames, Piece, flag, kind},
        hpack,
    },
    poll::{self, Backlog, Moved},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
/// `:status: 200`, from the static table.
const STATUS_200: u8 = 0x88;
/// Largest frame that every client takes.
const FRAME_BYTES_MAX: usize = 16_384;
/// Longest request head.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes that may wait for a client that does not read.
const BACKLOG_BYTES_MAX: usize = 16 << 20;

/// A connection.
pub struct Client {
    socket: TcpStream,
    backlog: Backlog,
    speech: Speech,
}

enum Speech {
    /// The first bytes.
    Unknown(Vec<u8>),
    /// HTTP/1.1, its request answered.
    H1,
    /// HTTP/2, with the streams whose requests are answered.
    H2 { frames: Frames, streams: Vec<u32> },
}

/// Events on their way to all clients, framed once for all that want the same bytes.
pub struct Batch<'a> {
    events: &'a [u8],
    /// As an HTTP/1.1 chunk.
    chunk: Vec<u8>,
    /// As DATA frames of these streams; connections mostly have the same ones.
    frames: (Vec<u32>, Vec<u8>),
}

impl<'a> Batch<'a> {
    /// A batch of whole events.
    #[must_use]
    pub fn new(events: &'a [u8]) -> Self {
        Self {
            events,
            chunk: Vec::new(),
            frames: Default::default(),
        }
    }

    fn chunk(&mut self) -> &[u8] {
        if self.chunk.is_empty() {
            let size = format!("{:x}\r\n", self.events.len());
            for part in [size.as_bytes(), self.events, b"\r\n"] {
                self.chunk.extend_from_slice(part);
            }
        }
        &self.chunk
    }

    fn frames(&mut self, streams: &[u32]) -> &[u8] {
        let (of, frames) = &mut self.frames;
        if of != streams {
            streams.clone_into(of);
            frames.clear();
            for stream in streams {
                for part in self.events.chunks(FRAME_BYTES_MAX) {
                    frame::write(frames, kind::DATA, 0, *stream, part);
                }
            }
        }
        frames
    }
}

impl Client {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            backlog: Backlog::default(),
            speech: Speech::Unknown(Vec::new()),
        }
    }

    /// True once something goes to it.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        match &self.speech {
            Speech::Unknown(_) => false,
            Speech::H1 => true,
            Speech::H2 { streams, .. } => !streams.is_empty(),
        }
    }

    /// Sends a batch; `None` when the connection is over.
    pub fn send(&mut self, batch: &mut Batch<'_>) -> Option<()> {
        let bytes = match &self.speech {
            Speech::Unknown(_) => return Some(()),
            Speech::H1 => batch.chunk(),
            Speech::H2 { streams, .. } if streams.is_empty() => return Some(()),
            Speech::H2 { streams, .. } => batch.frames(streams),
        };
        self.backlog.send(&self.socket, bytes).ok()?;
        (self.backlog.len() <= BACKLOG_BYTES_MAX).then_some(())
    }

    /// The socket is ready: answers requests, sends what waits; `None` when the connection is over.
    pub fn advance(&mut self, scratch: &mut [u8]) -> Option<()> {
        let mut out = Vec::new();
        loop {
            match poll::receive(&self.socket, scratch) {
                Moved::Bytes(count) => self.speech.hear(scratch.get(..count)?, &mut out)?,
                Moved::Nothing => break,
                Moved::Closed | Moved::Broken(_) => return None,
            }
        }
        if out.is_empty() {
            self.backlog.flush(&self.socket).ok()
        } else {
            self.backlog.send(&self.socket, &out).ok()
        }
    }
}

impl Speech {
    /// Takes bytes of the client, appends the answer; `None` when they make no sense.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            // What comes after a request means nothing here.
            Self::H1 => Some(()),
            Self::H2 { frames, streams } => {
                let fed = frames.feed(bytes, |piece| answer(piece, streams, out));
                fed.ok()
            }
            Self::Unknown(first) => {
                first.extend_from_slice(bytes);
                if let Some(rest) = first.strip_prefix(PREFACE) {
                    let rest = rest.to_vec();
                    frame::write(out, kind::SETTINGS, 0, 0, b"");
                    *self = Self::H2 {
                        frames: Frames::default(),
                        streams: Vec::new(),
                    };
                    return self.hear(&rest, out);
                }
                if PREFACE.starts_with(first) {
                    return Some(());
                }
                if memchr::memmem::find(first, b"\r\n\r\n").is_some() {
                    out.extend_from_slice(HEAD);
                    *self = Self::H1;
                    return Some(());
                }
                (first.len() <= REQUEST_BYTES_MAX).then_some(())
            }
        }
    }
}

/// Answers one frame.
fn answer(piece: Piece<'_>, streams: &mut Vec<u32>, out: &mut Vec<u8>) {
    let Piece::Frame {
        kind,
        flags,
        stream,
        payload,
    } = piece
    else {
        return;
    };
    match kind {
        kind::HEADERS => {
            let mut block = vec![STATUS_200];
            hpack::literal(&mut block, "content-type", "text/event-stream");
            frame::write(out, kind::HEADERS, flag::END_HEADERS, stream, &block);
            streams.push(stream);
        }
        kind::RST_STREAM => streams.retain(|open| *open != stream),
        kind::SETTINGS if flags & flag::ACK == 0 => {
            frame::write(out, kind::SETTINGS, flag::ACK, 0, b"");
        }
        kind::PING if flags & flag::ACK == 0 => {
            frame::write(out, kind::PING, flag::ACK, 0, payload);
        }
        // Credit is trusted to be there, the rest needs no answer.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_framed_for_the_streams_of_each_connection() {
        let mut batch = Batch::new(b"data: a\n\n");
        assert_eq!(batch.chunk(), b"9\r\ndata: a\n\n\r\n");
        for streams in [&[1_u32, 3][..], &[1, 3], &[5]] {
            let mut expected = Vec::new();
            for stream in streams {
                frame::write(&mut expected, kind::DATA, 0, *stream, b"data: a\n\n");
            }
            assert_eq!(batch.frames(streams), expected);
        }
    }

    #[test]
    fn clients_are_told_apart_by_their_first_bytes() {
        let mut settings = PREFACE.to_vec();
        frame::write(&mut settings, kind::SETTINGS, 0, 0, b"");
        frame::write(&mut settings, kind::HEADERS, flag::END_HEADERS, 1, &[0x82]);
        let cases: [(&[u8], bool, bool); 4] = [
            (b"GET / HTTP/1.1\r\n\r\n", true, false),
            (b"GET / HTTP/1.1\r\n", false, false),
            (&settings, false, true),
            (PREFACE.get(..10).unwrap(), false, false),
        ];
        for (bytes, is_h1, is_h2) in cases {
            let mut speech = Speech::Unknown(Vec::new());
            let mut out = Vec::new();
            for byte in bytes {
                speech.hear(&[*byte], &mut out).unwrap();
            }
            assert_eq!(matches!(speech, Speech::H1), is_h1);
            let streams = match &speech {
                Speech::H2 { streams, .. } => streams.as_slice(),
                Speech::Unknown(_) | Speech::H1 => &[],
            };
            assert_eq!(streams, if is_h2 { &[1][..] } else { &[] });
            assert_eq!(out.is_empty(), !is_h1 && !is_h2);
        }
    }
}
