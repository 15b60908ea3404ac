//! An HTTP/2 client on a raw stream: it sends whatever frames a test says, right or wrong.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{client::tcp, soon};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a GOAWAY.
    pub(crate) fn goaway(&self) -> Option<u32> {
        (self.kind == GOAWAY).then(|| u32::from_be_bytes(self.payload[4..8].try_into().unwrap()))
    }

    /// The status in a HEADERS frame; ours are literal or in the static table.
    pub(crate) fn status(&self) -> Option<u16> {
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let [first, rest @ ..] = &self.payload[..] else {
            return None;
        };
        match first {
            _ if self.kind != HEADERS => None,
            0x88..=0x8e => Some(INDEXED[usize::from(first - 0x88)]),
            // Literal with the name ":status"; three digits, which Huffman coding makes two bytes.
            0x48 if rest[0] == 3 => std::str::from_utf8(&rest[1..4]).ok()?.parse().ok(),
            0x48 => Some(huffman_digits(&rest[1..])),
            _ => None,
        }
    }
}

/// Three digits in the code of RFC 7541, appendix B.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes
        .iter()
        .take(3)
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1))
        .collect();
    let take = |at: usize, n: usize| {
        bits[at..at + n]
            .iter()
            .fold(0_u16, |value, bit| value << 1 | u16::from(*bit))
    };
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = take(at, 5);
        let digit = if short < 3 {
            at += 5;
            short
        } else {
            at += 6;
            take(at - 6, 6) - 0x19 + 3
        };
        number = number * 10 + digit;
    }
    number
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literal fields.
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte of length will do");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(*text);
        }
    }
    block
}

pub(crate) struct RawH2<S = TcpStream> {
    io: S,
    rest: Vec<u8>,
}

/// The payload of a SETTINGS frame.
pub(crate) fn parameters(settings: &[(u16, u32)]) -> Vec<u8> {
    settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect()
}

impl RawH2 {
    /// Connects and sends the preface with SETTINGS of `settings`.
    pub(crate) async fn connect(address: std::net::SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::over(tcp(address).await, settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawH2<S> {
    /// As [`RawH2::connect`], over a connection that is there.
    pub(crate) async fn over(mut io: S, settings: &[(u16, u32)]) -> Self {
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &parameters(settings)));
        io.write_all(&hello).await.unwrap();
        io.flush().await.unwrap();
        Self {
            io,
            rest: Vec::new(),
        }
    }

    /// Sends to a peer that may have closed; false when it has.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        soon("send", sent).await.is_ok()
    }

    /// The next frame; `None` at the end, be it clean or a reset.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, id @ ..] = &self.rest[..]
                && id.len() >= 4
            {
                let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                let stream = u32::from_be_bytes(id[..4].try_into().unwrap());
                if self.rest.len() >= 9 + length {
                    let (kind, flags) = (*kind, *flags);
                    let frame: Vec<u8> = self.rest.drain(..9 + length).collect();
                    return Some(Frame {
                        kind,
                        flags,
                        stream,
                        payload: frame[9..].to_vec(),
                    });
                }
            }
            let mut chunk = vec![0; 16 << 10];
            match soon("read", self.io.read(&mut chunk)).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.rest.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// How the server answers on `stream`: with a status, a reset, or the end of the connection.
    pub(crate) async fn answer(&mut self, stream: u32) -> Answer {
        soon("an answer", async {
            while let Some(frame) = self.next().await {
                if let Some(code) = frame.goaway() {
                    return Answer::Goaway(code);
                }
                match frame.kind {
                    HEADERS if frame.stream == stream => {
                        return Answer::Status(frame.status().expect("a status first"));
                    }
                    RST_STREAM if frame.stream == stream => return Answer::Reset,
                    _ => {}
                }
            }
            Answer::Closed
        })
        .await
    }

    /// The error code of the GOAWAY that the server sends, if it sends one.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        soon("GOAWAY, or the end", async {
            while let Some(frame) = self.next().await {
                if let Some(code) = frame.goaway() {
                    return Some(code);
                }
            }
            None
        })
        .await
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    Reset,
    Goaway(u32),
    Closed,
}
