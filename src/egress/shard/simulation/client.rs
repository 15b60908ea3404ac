//! A simulated client: reads bits of bytes, and checks every event against the app's numbers.

use std::{collections::BTreeSet, task::Poll};

use bytes::Bytes;

use super::source::Source;
use crate::{
    config::model::EventLimits,
    decide::Reader,
    metrics::labels::Protocol,
    sse::{event::Item, parser::Parser},
};

/// The key of the app's event with this number.
pub(super) fn key(number: u64) -> &'static str {
    let keys = ["a", "b", "c", "d", "e"];
    // Some of them seldom.
    let at = number.trailing_zeros() as usize;
    keys[at.min(keys.len() - 1)]
}

/// What a client knows when it leaves: enough to come back.
#[derive(Debug, Clone)]
pub(super) struct Left {
    /// The last id that it saw.
    pub(super) id: Option<Bytes>,
    /// The number that comes next for it.
    expected: u64,
    /// It was told of a gap since the last event.
    told: bool,
    /// It was told that it gets the newest events of their keys, and not all.
    conflated: bool,
    /// The keys of events that it did not get: a newer one is still to come.
    owed: BTreeSet<&'static str>,
    /// Events that it saw, and gaps that it was told of.
    pub(super) seen: (usize, usize),
}

impl Left {
    fn gap(&mut self, notice: &[u8]) {
        self.seen.1 += 1;
        if memchr::memmem::find(notice, b"\"conflated\"").is_some() {
            self.conflated = true;
        } else {
            self.told = true;
            self.owed.clear();
        }
    }

    /// A client without a past; the app's next event is `next`.
    pub(super) const fn newcomer(next: u64) -> Self {
        Self {
            id: None,
            expected: next,
            told: false,
            conflated: false,
            owed: BTreeSet::new(),
            seen: (0, 0),
        }
    }
}

pub(super) struct Client {
    source: Source,
    state: Left,
    start: Left,
    reader: Reader,
    /// A whole end needs no reason.
    may_end_whole: bool,
    head_is_read: bool,
    /// It was turned away.
    answered: bool,
    rest: Vec<u8>,
    /// Bytes of the current chunk that are still to come.
    chunk_left: usize,
    /// A chunk's payload is there, and its line end is not.
    chunk_tail: bool,
    /// The size line of the last chunk is there, and the empty line is not.
    last_chunk: bool,
    line: Vec<u8>,
    parser: Parser,
    /// Bytes so far.
    pub(super) received: usize,
    complete: bool,
}

impl Client {
    pub(super) fn new(source: Source, state: Left, reader: Reader) -> Self {
        Self {
            source,
            start: state.clone(),
            state,
            reader,
            may_end_whole: false,
            head_is_read: false,
            answered: false,
            rest: Vec::new(),
            chunk_left: 0,
            chunk_tail: false,
            last_chunk: false,
            line: Vec::new(),
            parser: Parser::new(EventLimits {
                bytes_max: 10_000,
                fields_max: 10,
                id_bytes_max: 100,
            }),
            received: 0,
            complete: false,
        }
    }

    /// From now on its stream may end whole, which only a native EventSource takes for what it is.
    pub(super) fn may_end_whole(&mut self) {
        self.may_end_whole = self.reader == Reader::EventSource;
    }

    /// Takes at most `max` bytes. `false`: the stream is over.
    pub(super) fn read(&mut self, max: usize, ends: &[u64]) -> bool {
        loop {
            match self.source.poll_read(max.min(16 << 10)) {
                Poll::Pending => return true,
                Poll::Ready(bytes) if bytes.is_empty() => {
                    self.ended(ends);
                    return false;
                }
                Poll::Ready(bytes) => {
                    self.received += bytes.len();
                    self.rest.extend_from_slice(&bytes);
                    self.decode();
                }
            }
            if max < usize::MAX {
                return true;
            }
        }
    }

    /// A whole answer ends where the app's stream did, and never within an event.
    fn ended(&self, ends: &[u64]) {
        let complete = match self.source.ends_whole() {
            Some(is_whole) => self.head_is_read && is_whole,
            None => self.complete,
        };
        if self.answered || !complete {
            return;
        }
        assert!(self.line.is_empty() && self.rest.is_empty(), "torn");
        if !self.may_end_whole {
            let expected = self.state.expected;
            let Left { told, owed, .. } = &self.state;
            assert!(
                *told || (ends.contains(&expected) && owed.is_empty()),
                "ended before {expected} and {owed:?}, the app at {ends:?}"
            );
        }
    }

    fn decode(&mut self) {
        if !self.head_is_read {
            let Some(at) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = self.rest.drain(..at + 4).collect();
            let head = String::from_utf8(head).unwrap();
            self.answered = head.contains("content-length");
            assert!(self.answered || head.starts_with("HTTP/1.1 200"), "{head}");
            self.head_is_read = true;
        }
        if self.answered {
            self.rest.clear();
            return;
        }
        if !self.source.is_chunked() {
            let bytes = std::mem::take(&mut self.rest);
            self.payload(&bytes);
            return;
        }
        while self.decode_chunk() {}
    }

    /// Takes what is there of a chunk: a client hands on what it has. `false`: nothing moved.
    fn decode_chunk(&mut self) -> bool {
        if self.chunk_left > 0 {
            let part = self.rest.len().min(self.chunk_left);
            let part: Vec<u8> = self.rest.drain(..part).collect();
            self.chunk_left -= part.len();
            self.chunk_tail = self.chunk_left == 0;
            self.payload(&part);
            return !part.is_empty();
        }
        let Some(at) = self.rest.windows(2).position(|w| w == b"\r\n") else {
            return false;
        };
        let line: Vec<u8> = self.rest.drain(..at + 2).collect();
        if std::mem::take(&mut self.chunk_tail) {
            assert_eq!(at, 0, "a chunk has its length");
            return true;
        }
        assert!(!self.complete, "nothing follows the last chunk");
        if std::mem::take(&mut self.last_chunk) {
            assert_eq!(at, 0, "no trailers");
            self.complete = true;
            return true;
        }
        let size = std::str::from_utf8(&line[..at]).unwrap();
        self.chunk_left = usize::from_str_radix(size, 16).expect("a chunk size");
        self.last_chunk = self.chunk_left == 0;
        true
    }

    fn payload(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line_end(&line);
            }
        }
    }

    fn line_end(&mut self, line: &[u8]) {
        if let Some(notice) = line.strip_prefix(b": sidestream-gap ") {
            self.state.gap(notice);
        }
        let (state, start) = (&mut self.state, &self.start);
        self.parser.feed(line, &mut |item| match item {
            Item::Event(event) if &event.name[..] == b"sidestream-gap" => {
                state.gap(&event.data);
                state.id = event.id.or(state.id.take());
            }
            Item::Event(event) => {
                let text = std::str::from_utf8(&event.data).unwrap();
                let number: u64 = text.trim_end().parse().unwrap();
                let expected = state.expected;
                assert!(
                    number == expected || (number > expected && (state.told || state.conflated)),
                    "event {number} instead of {expected}, started as {start:?}"
                );
                assert_eq!(key(number).as_bytes(), event.name);
                if !state.told {
                    state.owed.extend((expected..number).map(key));
                }
                state.owed.remove(key(number));
                state.expected = number + 1;
                state.told = false;
                state.seen.0 += 1;
                state.id = event.id.or(state.id.take());
            }
            Item::Id(id) => state.id = Some(id),
            Item::Skipped(_) | Item::Comment | Item::Retry(_) => {}
        });
    }

    /// Everything before `next` has come, or word of what is missing.
    pub(super) fn has_all(&self, next: u64) {
        let Left {
            expected,
            told,
            owed,
            ..
        } = &self.state;
        assert!(
            *told || (*expected == next && owed.is_empty()),
            "it waits for {expected} and {owed:?}, the app is at {next}"
        );
    }

    /// The connection that it shares with others.
    pub(super) const fn connection(&self) -> Option<usize> {
        self.source.connection()
    }

    pub(super) const fn protocol(&self) -> Protocol {
        self.source.protocol()
    }

    /// What it would come back with.
    pub(super) const fn state(&self) -> &Left {
        &self.state
    }
}
