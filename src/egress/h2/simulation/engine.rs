//! The h2 crate, as far as it matters to the wire.

use std::collections::BTreeMap;

use super::{PREFACE, STREAM_BYTES, bytes, frame};
use crate::egress::h2::frame::{Head, Piece, Walker, kind};

/// Keeps books by what it gets to see.
pub(super) struct Engine {
    walker: Walker,
    passing: Option<(Head, Vec<u8>)>,
    preface: usize,
    window: i64,
    pub(super) initial: i64,
    frame_max: usize,
    /// Its streams: their windows, and how much was sent.
    pub(super) streams: BTreeMap<u32, (i64, usize)>,
    /// Opened and not answered.
    pub(super) asked: Vec<u32>,
    pub(super) to_write: Vec<u8>,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            walker: Walker::default(),
            passing: None,
            preface: PREFACE.len(),
            window: 65_535,
            initial: 65_535,
            frame_max: 16_384,
            streams: BTreeMap::new(),
            asked: Vec::new(),
            to_write: Vec::new(),
        }
    }

    /// Takes what it read.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let skip = self.preface.min(bytes.len());
        self.preface -= skip;
        let mut part = &bytes[skip..];
        while let Some(piece) = self.walker.next(&mut part) {
            match piece {
                Piece::Head(head) => self.passing = Some((head, Vec::new())),
                Piece::Payload(part) => self.passing.as_mut().unwrap().1.extend(part),
            }
            if self.walker.is_at_end()
                && let Some((head, payload)) = self.passing.take()
            {
                self.frame(head, &payload);
            }
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8]) {
        let id = head.stream();
        match head.kind() {
            kind::HEADERS => self.asked.push(id),
            kind::WINDOW_UPDATE => {
                let by = i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
                let window = match id {
                    0 => &mut self.window,
                    _ => match self.streams.get_mut(&id) {
                        Some((window, _)) => window,
                        None => return,
                    },
                };
                *window += by;
                assert!(*window < 1 << 31, "stream {id} overflows");
            }
            kind::SETTINGS => {
                self.to_write.extend(frame(kind::SETTINGS, 1, 0, b""));
                let initial = u32::from_be_bytes(payload[2..6].try_into().unwrap());
                for (window, _) in self.streams.values_mut() {
                    *window += i64::from(initial) - self.initial;
                }
                self.initial = i64::from(initial);
                self.frame_max = u32::from_be_bytes(payload[8..12].try_into().unwrap()) as usize;
            }
            kind::RST_STREAM => {
                self.streams.remove(&id);
                self.asked.retain(|asked| *asked != id);
            }
            _ => {}
        }
    }

    /// It would not wait for anybody.
    pub(super) fn could_send(&self) -> bool {
        let may = |window: &i64| *window > 0 && self.window > 0;
        self.to_write.is_empty() && self.streams.values().any(|(window, _)| may(window))
    }

    /// Queues DATA of one stream, as far as it thinks that it may.
    pub(super) fn send(&mut self, id: u32, wanted: usize) {
        let Some((window, sent)) = self.streams.get_mut(&id) else {
            return;
        };
        let left = STREAM_BYTES - *sent;
        let room = self.window.min(*window).max(0) as usize;
        let len = wanted.min(left).min(room).min(self.frame_max);
        if len == 0 && left > 0 {
            return;
        }
        let ends = u8::from(len == left);
        let payload = bytes(id, *sent, len);
        *window -= len as i64;
        self.window -= len as i64;
        *sent += len;
        self.to_write.extend(frame(kind::DATA, ends, id, &payload));
        if ends == 1 {
            self.streams.remove(&id);
        }
    }
}
