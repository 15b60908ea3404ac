//! An HTTP/2 client that keeps its books by the letter of RFC 9113: it grants what a test says, and
//! fails the test on a frame for which there is no room, that is too long, or out of place.

use std::collections::{BTreeMap, VecDeque};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    h2raw::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM,
        RawH2, SETTINGS, WINDOW_UPDATE, block, frame, parameters,
    },
    soon,
};

pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;

const ACK: u8 = 1;
const CANCEL: u32 = 8;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// END_STREAM.
    Whole,
    /// RST_STREAM with this code.
    Reset(u32),
    /// This client reset it.
    Left,
}

/// One stream, as it came.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) status: Option<u16>,
    pub(crate) body: Vec<u8>,
    /// Lengths of its DATA frames.
    pub(crate) frames: Vec<usize>,
    pub(crate) end: Option<End>,
    /// What the server may still send.
    pub(crate) window: i64,
    /// What this client may still send.
    credit: i64,
    /// PINGs sent before it was given up.
    left: Option<u64>,
}

/// The settings that concern what the server sends.
#[derive(Debug, Clone, Copy)]
struct Terms {
    initial_window: i64,
    frame_bytes_max: usize,
}

pub(crate) struct Peer<S = TcpStream> {
    raw: RawH2<S>,
    pub(crate) streams: BTreeMap<u32, Stream>,
    next: u32,
    /// What the server may still send on the connection.
    pub(crate) window: i64,
    terms: Terms,
    /// Sent, and not acknowledged.
    proposed: VecDeque<Terms>,
    /// What this client may still send, and on a new stream.
    credit: i64,
    credit_initial: i64,
    /// PINGs that wait for their answer.
    pings: VecDeque<u64>,
    pings_sent: u64,
    pings_answered: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Says hello, with these settings.
    pub(crate) async fn over(io: S, settings: &[(u16, u32)]) -> Self {
        let standard = Terms {
            initial_window: 65_535,
            frame_bytes_max: 16_384,
        };
        let raw = RawH2::over(io, settings).await;
        let mut peer = Self {
            raw,
            streams: BTreeMap::new(),
            next: 1,
            window: 65_535,
            terms: standard,
            proposed: VecDeque::new(),
            credit: 65_535,
            credit_initial: 65_535,
            pings: VecDeque::new(),
            pings_sent: 0,
            pings_answered: 0,
        };
        peer.propose(settings);
        peer.until("its settings are in force", |peer| peer.proposed.is_empty())
            .await;
        peer
    }

    fn propose(&mut self, settings: &[(u16, u32)]) {
        let mut terms = self.proposed.back().copied().unwrap_or(self.terms);
        for (name, value) in settings {
            match *name {
                INITIAL_WINDOW_SIZE => terms.initial_window = i64::from(*value),
                MAX_FRAME_SIZE => terms.frame_bytes_max = *value as usize,
                _ => {}
            }
        }
        self.proposed.push_back(terms);
    }

    async fn send(&mut self, bytes: &[u8]) {
        assert!(self.raw.send(bytes).await, "the connection is there");
    }

    /// Asks for `target`, with a body to come or not.
    async fn ask(&mut self, method: &str, target: &str, flags: u8) -> u32 {
        let id = self.next;
        self.next += 2;
        let stream = Stream {
            window: self.terms.initial_window,
            credit: self.credit_initial,
            ..Stream::default()
        };
        self.streams.insert(id, stream);
        let fields = block(&[
            (b":method", method.as_bytes()),
            (b":scheme", b"http"),
            (b":authority", b"shop.example"),
            (b":path", target.as_bytes()),
        ]);
        let ask = frame(HEADERS, END_HEADERS | flags, id, &fields);
        self.send(&ask).await;
        id
    }

    pub(crate) async fn get(&mut self, target: &str) -> u32 {
        self.ask("GET", target, END_STREAM).await
    }

    /// Begins an upload, see [`Peer::upload`].
    pub(crate) async fn post(&mut self, target: &str) -> u32 {
        self.ask("POST", target, 0).await
    }

    /// Sends as much of `body` as the server takes now; what is left.
    pub(crate) async fn upload<'b>(&mut self, id: u32, body: &'b [u8]) -> &'b [u8] {
        let stream = self.streams.get_mut(&id).unwrap();
        let room = self.credit.min(stream.credit).clamp(0, 16_384);
        let (now, rest) = body.split_at(body.len().min(usize::try_from(room).unwrap()));
        if now.is_empty() {
            return rest;
        }
        let by = i64::try_from(now.len()).unwrap();
        self.credit -= by;
        stream.credit -= by;
        let flags = if rest.is_empty() { END_STREAM } else { 0 };
        self.send(&frame(DATA, flags, id, now)).await;
        rest
    }

    /// How much of an upload the server takes now.
    pub(crate) fn credit(&self, id: u32) -> i64 {
        self.credit.min(self.streams[&id].credit)
    }

    /// Lets the server send more on a stream, or, with 0, on the connection.
    pub(crate) async fn grant(&mut self, id: u32, by: u32) {
        match id {
            0 => self.window += i64::from(by),
            _ => self.streams.get_mut(&id).unwrap().window += i64::from(by),
        }
        self.send(&frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes()))
            .await;
    }

    /// Changes its settings. What came under the old ones is measured by them.
    pub(crate) async fn change(&mut self, settings: &[(u16, u32)]) {
        self.propose(settings);
        self.send(&frame(SETTINGS, 0, 0, &parameters(settings)))
            .await;
    }

    /// Gives up a stream. What is on its way may still come, but not behind the answer to a later PING.
    pub(crate) async fn reset(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        stream.end = Some(End::Left);
        stream.left = Some(self.pings_sent);
        self.send(&frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes()))
            .await;
    }

    /// Says that it takes no streams of the server's, as a client does that is about to leave.
    pub(crate) async fn goaway(&mut self) {
        self.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    }

    /// A PING; see [`Peer::is_answered`].
    pub(crate) async fn ping(&mut self) {
        self.pings_sent += 1;
        self.pings.push_back(self.pings_sent);
        let payload = self.pings_sent.to_be_bytes();
        self.send(&frame(PING, 0, 0, &payload)).await;
    }

    /// All PINGs have their answers.
    pub(crate) fn is_answered(&self) -> bool {
        self.pings.is_empty()
    }

    /// All settings are acknowledged.
    pub(crate) fn is_agreed(&self) -> bool {
        self.proposed.is_empty()
    }

    pub(crate) fn body(&self, id: u32) -> &[u8] {
        &self.streams[&id].body
    }

    pub(crate) fn end(&self, id: u32) -> Option<End> {
        self.streams[&id].end
    }

    /// Reads frames until `done`.
    pub(crate) async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        // As a whole: heartbeats would keep a wait for each frame alive for ever.
        soon(what, async {
            while !done(self) {
                let frame = self.raw.next().await;
                let frame = frame.unwrap_or_else(|| panic!("ended before {what}"));
                self.take(frame).await;
            }
        })
        .await;
    }

    /// Reads one frame.
    pub(crate) async fn step(&mut self) {
        let frame = self.raw.next().await.expect("a frame before the end");
        self.take(frame).await;
    }

    async fn take(&mut self, frame: Frame) {
        let id = frame.stream;
        match frame.kind {
            DATA => self.data(&frame),
            HEADERS => {
                let stream = self.streams.get_mut(&id).expect("a stream of its own");
                assert!(
                    stream.end.is_none_or(|end| end == End::Left),
                    "HEADERS on {id}"
                );
                stream.status = stream.status.or(frame.status());
                self.ends(&frame);
            }
            RST_STREAM => {
                let code = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
                self.close(id, End::Reset(code));
            }
            SETTINGS if frame.flags & ACK != 0 => {
                let terms = self.proposed.pop_front().expect("settings to acknowledge");
                let by = terms.initial_window - self.terms.initial_window;
                for stream in self.streams.values_mut() {
                    stream.window += by;
                }
                self.terms = terms;
            }
            SETTINGS => self.settings(&frame.payload).await,
            PING if frame.flags & ACK != 0 => {
                let sent = self.pings.pop_front().expect("a PING to answer");
                assert_eq!(frame.payload, sent.to_be_bytes());
                self.pings_answered = sent;
            }
            PING => {
                self.send(&super::h2raw::frame(PING, ACK, 0, &frame.payload))
                    .await
            }
            WINDOW_UPDATE => {
                let by = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
                match id {
                    0 => self.credit += i64::from(by),
                    _ => self.streams.get_mut(&id).unwrap().credit += i64::from(by),
                }
            }
            GOAWAY => {}
            CONTINUATION => panic!("our heads fit into one frame"),
            kind => panic!("a frame of type {kind}"),
        }
    }

    async fn settings(&mut self, payload: &[u8]) {
        for parameter in payload.chunks(6) {
            let value = u32::from_be_bytes(parameter[2..].try_into().unwrap());
            if parameter[..2] == INITIAL_WINDOW_SIZE.to_be_bytes() {
                self.credit_initial = i64::from(value);
            }
        }
        self.send(&frame(SETTINGS, ACK, 0, b"")).await;
    }

    fn data(&mut self, frame: &Frame) {
        let (id, len) = (frame.stream, frame.payload.len());
        let by = i64::try_from(len).unwrap();
        let stream = self.streams.get_mut(&id).expect("a stream of its own");
        assert!(stream.status.is_some(), "DATA before HEADERS on {id}");
        assert!(
            stream.end.is_none_or(|end| end == End::Left),
            "DATA behind the end of {id}"
        );
        assert!(
            stream.left.is_none_or(|at| self.pings_answered <= at),
            "DATA on {id}, which was reset"
        );
        assert!(len <= self.terms.frame_bytes_max, "a frame of {len}");
        self.window -= by;
        stream.window -= by;
        assert!(len == 0 || self.window >= 0, "no room on the connection");
        assert!(len == 0 || stream.window >= 0, "no room on {id}");
        if stream.end.is_none() {
            stream.body.extend_from_slice(&frame.payload);
            stream.frames.push(len);
        }
        self.ends(frame);
    }

    fn ends(&mut self, frame: &Frame) {
        if frame.flags & END_STREAM != 0 {
            self.close(frame.stream, End::Whole);
        }
    }

    fn close(&mut self, id: u32, end: End) {
        let stream = self.streams.get_mut(&id).expect("a stream of its own");
        assert!(
            stream.end.is_none_or(|end| end == End::Left),
            "{id} ends twice"
        );
        stream.end.get_or_insert(end);
    }
}
