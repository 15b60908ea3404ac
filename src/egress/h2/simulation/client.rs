//! The client, by the letter of RFC 9113.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{PREFACE, byte, frame};
use crate::egress::h2::frame::{Head, Piece, Walker, kind};

/// Keeps its own books.
pub(super) struct Client {
    pipe: DuplexStream,
    to_send: Vec<u8>,
    walker: Walker,
    now: Option<Head>,
    window: i64,
    initial: i64,
    frame_max: u32,
    /// SETTINGS sent and not acknowledged.
    pub(super) sent: Vec<(i64, u32)>,
    pub(super) streams: BTreeMap<u32, Seen>,
    next: u32,
    in_block: Option<u32>,
}

/// What the client has seen of a stream.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) window: i64,
    headed: bool,
    pub(super) ended: bool,
    /// The server has reset it.
    pub(super) cut: bool,
    /// The client has.
    pub(super) reset: bool,
    pub(super) received: usize,
}

impl Client {
    pub(super) fn new(pipe: DuplexStream) -> Self {
        Self {
            pipe,
            to_send: PREFACE.to_vec(),
            walker: Walker::default(),
            now: None,
            window: 65_535,
            initial: 65_535,
            frame_max: 16_384,
            sent: Vec::new(),
            streams: BTreeMap::new(),
            next: 1,
            in_block: None,
        }
    }

    pub(super) fn open(&mut self) {
        let id = self.next;
        self.next += 2;
        let window = self.initial;
        self.streams.insert(
            id,
            Seen {
                window,
                ..Seen::default()
            },
        );
        self.to_send.extend(frame(kind::HEADERS, 5, id, b"request"));
    }

    pub(super) fn grant(&mut self, stream: u32, by: u32) {
        match stream {
            0 => self.window += i64::from(by),
            _ => self.streams.get_mut(&stream).unwrap().window += i64::from(by),
        }
        self.to_send
            .extend(frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes()));
    }

    pub(super) fn change(&mut self, initial: u32, frame_max: u32) {
        let mut payload = vec![0, 4];
        payload.extend(initial.to_be_bytes());
        payload.extend([0, 5]);
        payload.extend(frame_max.to_be_bytes());
        self.to_send.extend(frame(kind::SETTINGS, 0, 0, &payload));
        self.sent.push((i64::from(initial), frame_max));
    }

    pub(super) fn reset(&mut self, stream: u32) {
        self.streams.get_mut(&stream).unwrap().reset = true;
        self.to_send
            .extend(frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }

    pub(super) fn write(&mut self, cx: &mut Context<'_>) {
        while !self.to_send.is_empty() {
            match Pin::new(&mut self.pipe).poll_write(cx, &self.to_send) {
                Poll::Ready(written) => drop(self.to_send.drain(..written.unwrap())),
                Poll::Pending => return,
            }
        }
    }

    pub(super) fn read(&mut self, cx: &mut Context<'_>, most: usize) {
        let mut space = vec![0; most];
        let mut buffer = ReadBuf::new(&mut space);
        if Pin::new(&mut self.pipe)
            .poll_read(cx, &mut buffer)
            .is_ready()
        {
            let mut part = buffer.filled();
            while let Some(piece) = self.walker.next(&mut part) {
                match piece {
                    Piece::Head(head) => self.begins(head),
                    Piece::Payload(part) => self.data(part),
                }
            }
        }
    }

    fn begins(&mut self, head: Head) {
        self.now = Some(head);
        let id = head.stream();
        if let Some(block) = self.in_block {
            assert_eq!(
                (head.kind(), id),
                (kind::CONTINUATION, block),
                "a torn field block"
            );
        }
        self.in_block = head.continues().then_some(id);
        match head.kind() {
            kind::DATA => {
                let len = i64::from(head.len());
                assert!(head.len() <= self.frame_max, "a frame of {len}");
                let seen = self.streams.get_mut(&id).unwrap();
                assert!(seen.headed && !seen.ended, "DATA out of place on {id}");
                self.window -= len;
                seen.window -= len;
                assert!(len == 0 || self.window >= 0, "connection: {}", self.window);
                assert!(len == 0 || seen.window >= 0, "stream {id}: {}", seen.window);
                seen.ended |= head.ends_stream();
            }
            kind::HEADERS => {
                let seen = self.streams.get_mut(&id).unwrap();
                // Of a stream that the client has reset, the wire has forgotten who would end it.
                let in_place = !seen.headed && (!head.ends_stream() || seen.reset);
                assert!(in_place, "the head of {id}");
                seen.headed = true;
            }
            kind::RST_STREAM => {
                let seen = self.streams.get_mut(&id).unwrap();
                assert!(seen.headed && !seen.ended, "a reset out of place on {id}");
                (seen.ended, seen.cut) = (true, true);
            }
            kind::SETTINGS if head.is_ack() => {
                let (initial, frame_max) = self.sent.remove(0);
                for seen in self.streams.values_mut() {
                    seen.window += initial - self.initial;
                }
                (self.initial, self.frame_max) = (initial, frame_max);
            }
            _ => {}
        }
    }

    fn data(&mut self, part: &[u8]) {
        let head = self.now.unwrap();
        if head.kind() != kind::DATA {
            return;
        }
        let seen = self.streams.get_mut(&head.stream()).unwrap();
        for got in part {
            assert_eq!(
                *got,
                byte(head.stream(), seen.received),
                "stream {}",
                head.stream()
            );
            seen.received += 1;
        }
    }
}
