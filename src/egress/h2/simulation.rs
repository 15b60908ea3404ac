//! Both that write to a connection, and a client that counts every byte, in random order by a seed.
//!
//! The wire is the real one, over a pipe that is mostly full. Whoever waits goes on only when woken:
//! a wake-up that is missing ends the run before everything has arrived.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a simulation are small"
)]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::{
    budget::Budget,
    frame::{Head, Piece, Walker, kind},
    ledger::Key,
    wire::Wire,
};
use crate::{clock::Millis, config::testing::limits};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a stream gets in all.
const STREAM_BYTES: usize = 30_000;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Flag {
    fn woken() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut head = Head::data(payload.len() as u32, stream).0;
    (head[3], head[4]) = (kind, flags);
    [&head[..], payload].concat()
}

/// The byte of a stream at a place.
fn byte(stream: u32, at: usize) -> u8 {
    (at as u32 * 7 + stream) as u8
}

fn bytes(stream: u32, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| byte(stream, at)).collect()
}

/// The client: keeps its own books, by the letter of RFC 9113.
struct Client {
    pipe: DuplexStream,
    to_send: Vec<u8>,
    walker: Walker,
    now: Option<Head>,
    window: i64,
    initial: i64,
    frame_max: u32,
    /// SETTINGS sent and not acknowledged.
    sent: Vec<(i64, u32)>,
    streams: BTreeMap<u32, Seen>,
    next: u32,
    in_block: Option<u32>,
}

#[derive(Default)]
struct Seen {
    window: i64,
    headed: bool,
    ended: bool,
    /// The server has reset it.
    cut: bool,
    /// The client has.
    reset: bool,
    received: usize,
}

impl Client {
    fn new(pipe: DuplexStream) -> Self {
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

    fn open(&mut self) {
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

    fn grant(&mut self, stream: u32, by: u32) {
        match stream {
            0 => self.window += i64::from(by),
            _ => self.streams.get_mut(&stream).unwrap().window += i64::from(by),
        }
        self.to_send
            .extend(frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes()));
    }

    fn change(&mut self, initial: u32, frame_max: u32) {
        let mut payload = vec![0, 4];
        payload.extend(initial.to_be_bytes());
        payload.extend([0, 5]);
        payload.extend(frame_max.to_be_bytes());
        self.to_send.extend(frame(kind::SETTINGS, 0, 0, &payload));
        self.sent.push((i64::from(initial), frame_max));
    }

    fn reset(&mut self, stream: u32) {
        self.streams.get_mut(&stream).unwrap().reset = true;
        self.to_send
            .extend(frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        while !self.to_send.is_empty() {
            match Pin::new(&mut self.pipe).poll_write(cx, &self.to_send) {
                Poll::Ready(written) => drop(self.to_send.drain(..written.unwrap())),
                Poll::Pending => return,
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, most: usize) {
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
                assert!(!seen.headed && !head.ends_stream(), "the head of {id}");
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

/// The h2 crate: keeps books by what it gets to see.
struct Crate {
    walker: Walker,
    passing: Option<(Head, Vec<u8>)>,
    preface: usize,
    window: i64,
    initial: i64,
    frame_max: usize,
    /// Its streams: their windows, and how much was sent.
    streams: BTreeMap<u32, (i64, usize)>,
    /// Opened and not answered.
    asked: Vec<u32>,
    to_write: Vec<u8>,
}

impl Crate {
    /// Takes what it read.
    fn take(&mut self, bytes: &[u8]) {
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
    fn could_send(&self) -> bool {
        let may = |window: &i64| *window > 0 && self.window > 0;
        self.to_write.is_empty() && self.streams.values().any(|(window, _)| may(window))
    }

    /// Queues DATA of one stream, as far as it thinks that it may.
    fn send(&mut self, id: u32, wanted: usize) {
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

/// A stream of the shard's.
struct Owned {
    key: Key,
    rest: Bytes,
    flag: Arc<Flag>,
    fate: Fate,
}

/// How the shard is done with a stream.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Complete,
    Cut,
    /// Given up in the middle.
    Dropped,
}

struct World {
    random: StdRng,
    wire: Wire,
    task: Arc<Flag>,
    client: Client,
    engine: Crate,
    owned: BTreeMap<u32, Owned>,
    /// What was done with those that the shard had.
    done: BTreeMap<u32, Fate>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (near, far) = duplex(random.random_range(20..40_000));
        Self {
            wire: Wire::new(Box::new(near), &[], Budget::new(&limits(), Millis(0))),
            random,
            task: Flag::woken(),
            client: Client::new(far),
            engine: Crate {
                walker: Walker::default(),
                passing: None,
                preface: PREFACE.len(),
                window: 65_535,
                initial: 65_535,
                frame_max: 16_384,
                streams: BTreeMap::new(),
                asked: Vec::new(),
                to_write: Vec::new(),
            },
            owned: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    fn a_stream(&mut self) -> Option<u32> {
        let live = self.client.streams.iter();
        let live: Vec<u32> = live
            .filter(|(_, s)| !s.ended && !s.reset)
            .map(|(id, _)| *id)
            .collect();
        (!live.is_empty()).then(|| live[self.random.random_range(0..live.len())])
    }

    fn client_acts(&mut self) {
        match self.random.random_range(0..20) {
            0..3 if self.client.streams.len() < 12 => self.client.open(),
            3 => {
                let initial = [0, 1, 100, 30_000, 65_535, 200_000][self.random.random_range(0..6)];
                let frame_max = self.random.random_range(16_384..20_000);
                self.client.change(initial, frame_max);
            }
            4..8 => {
                let by = [1, 10, 1_000, 60_000][self.random.random_range(0..4)];
                self.client.grant(0, by);
            }
            8..12 => {
                let by = [1, 10, 1_000, 60_000][self.random.random_range(0..4)];
                if let Some(stream) = self.a_stream() {
                    self.client.grant(stream, by);
                }
            }
            12 if self.random.random_bool(0.2) => {
                if let Some(stream) = self.a_stream() {
                    self.client.reset(stream);
                }
            }
            _ => {}
        }
        self.client_moves();
    }

    fn client_moves(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        self.client.write(&mut cx);
        let most = self.random.random_range(1..5_000);
        self.client.read(&mut cx, most);
    }

    /// The connection's task: the crate, and then the flush.
    fn task_runs(&mut self) {
        if !self.task.take() {
            return;
        }
        let waker = Waker::from(self.task.clone());
        let mut cx = Context::from_waker(&waker);
        let blocked = !self.engine_writes(&mut cx);
        // As the crate does: what it has to write may keep it from reading.
        if !blocked || self.random.random_bool(0.5) {
            self.engine_reads(&mut cx);
            self.engine_answers();
            self.engine_writes(&mut cx);
        }
        self.wire.flush(&mut cx);
    }

    fn engine_reads(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut space = vec![0; self.random.random_range(1..3_000)];
            let mut buffer = ReadBuf::new(&mut space);
            match self.wire.poll_read(cx, &mut buffer) {
                Poll::Ready(read) => {
                    read.unwrap();
                    assert!(!buffer.filled().is_empty(), "the client never closes");
                    self.engine.take(buffer.filled());
                }
                Poll::Pending => return,
            }
        }
    }

    fn engine_answers(&mut self) {
        for id in std::mem::take(&mut self.engine.asked) {
            // To the crate, the head of a stream that the shard takes over is all of it.
            let mut ends = 0;
            if self.random.random_bool(0.5) {
                if let Some(key) = self.wire.adopt(id) {
                    ends = 1;
                    let rest = Bytes::from(bytes(id, 0, STREAM_BYTES));
                    let flag = Flag::woken();
                    let fate = [Fate::Complete, Fate::Cut, Fate::Dropped];
                    let fate = fate[self.random.random_range(0..3)];
                    self.owned.insert(
                        id,
                        Owned {
                            key,
                            rest,
                            flag,
                            fate,
                        },
                    );
                }
            } else {
                self.engine.streams.insert(id, (self.engine.initial, 0));
            }
            if self.random.random_bool(0.3) {
                self.engine
                    .to_write
                    .extend(frame(kind::HEADERS, ends, id, b"a part"));
                self.engine
                    .to_write
                    .extend(frame(kind::CONTINUATION, 4, id, b"the rest"));
            } else {
                self.engine
                    .to_write
                    .extend(frame(kind::HEADERS, 4 | ends, id, b"whole"));
            }
        }
        let ids: Vec<u32> = self.engine.streams.keys().copied().collect();
        for id in ids {
            let wanted = self.random.random_range(1..20_000);
            self.engine.send(id, wanted);
        }
    }

    /// True when all is written.
    fn engine_writes(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.engine.to_write.is_empty() {
            let most = self.engine.to_write.len();
            let most = self.random.random_range(1..=most);
            match self.wire.poll_write(cx, &self.engine.to_write[..most]) {
                Poll::Ready(written) => drop(self.engine.to_write.drain(..written.unwrap())),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn shard_runs(&mut self) {
        let ids: Vec<u32> = self.owned.keys().copied().collect();
        for id in ids {
            let one = self.owned.get_mut(&id).unwrap();
            if !one.flag.take() {
                continue;
            }
            let waker = Waker::from(one.flag.clone());
            let mut part = one
                .rest
                .slice(..one.rest.len().min(self.random.random_range(1..6_000)));
            let before = part.len();
            let pushed = self.wire.poll_push(one.key, &mut part, &waker);
            let taken = before - part.len();
            drop(one.rest.split_to(taken));
            let done = match pushed {
                Poll::Ready(Ok(())) if one.rest.is_empty() => match one.fate {
                    Fate::Complete => self.wire.poll_complete(one.key, &waker).is_ready(),
                    Fate::Cut => self.wire.poll_cut(one.key, &waker).is_ready(),
                    Fate::Dropped => true,
                },
                Poll::Ready(Ok(())) => {
                    one.flag.0.store(true, Ordering::Relaxed);
                    false
                }
                Poll::Ready(Err(_)) => {
                    let closed = self.wire.poll_closed(one.key, &waker);
                    assert!(closed.is_ready(), "stream {id} is open and takes nothing");
                    true
                }
                Poll::Pending => one.fate == Fate::Dropped && self.random.random_bool(0.02),
            };
            if done {
                let one = self.owned.remove(&id).unwrap();
                self.wire.release(one.key);
                self.done.insert(id, one.fate);
            }
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..3) {
            0 => self.client_acts(),
            1 => self.task_runs(),
            _ => self.shard_runs(),
        }
    }

    /// The client makes room for everything, stream by stream, and nobody acts but when woken.
    fn comes_to_rest(&mut self) {
        self.client.grant(0, 1 << 24);
        self.moves_until("its settings are acknowledged", |client| {
            client.sent.is_empty()
        });
        for id in self.client.streams.keys().copied().collect::<Vec<_>>() {
            let seen = &self.client.streams[&id];
            let missing = STREAM_BYTES as i64 - seen.received as i64 - seen.window;
            if !seen.ended && missing > 0 {
                self.client.grant(id, missing as u32);
            }
        }
        self.moves_until("all has come", |client| {
            client.streams.values().all(|seen| seen.reset || seen.ended)
        });
    }

    fn moves_until(&mut self, what: &str, done: impl Fn(&Client) -> bool) {
        for _ in 0..20_000 {
            self.client_moves();
            if self.engine.could_send() {
                self.task.0.store(true, Ordering::Relaxed);
            }
            self.task_runs();
            self.shard_runs();
            if done(&self.client) {
                return;
            }
        }
        panic!("it never comes to rest: {what}");
    }
}

#[test]
fn both_keep_to_the_windows_and_everything_arrives() {
    let seed = std::env::var("SIDESTREAM_SEED");
    let seeds = match &seed {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..300).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        eprintln!("SIDESTREAM_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..1_500 {
            world.step();
        }
        world.comes_to_rest();
        for (id, seen) in world.client.streams.iter().filter(|(_, s)| !s.reset) {
            let fate = world.done.get(id).copied().unwrap_or(Fate::Complete);
            assert_eq!(seen.cut, fate != Fate::Complete, "stream {id}");
            let whole = seen.received == STREAM_BYTES;
            assert!(whole || fate == Fate::Dropped, "stream {id}");
        }
        assert!(!world.wire.is_above(0), "nothing is left open");
        assert!(world.client.streams.len() > 4, "something has happened");
    }
}
