//! Both that write to a connection, and a client that counts every byte, in random order by a seed.
//!
//! The wire is the real one, over a pipe that is mostly full. Whoever waits goes on only when woken:
//! a wake-up that is missing ends the run before everything has arrived.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a simulation are small"
)]

mod client;
mod engine;

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use tokio::io::{ReadBuf, duplex};

use self::{client::Client, engine::Engine};
use super::{
    budget::Budget,
    frame::{Head, kind},
    streams::Key,
    wire::Wire,
};
use crate::{clock::Millis, config::testing::limits, egress::testing::Flag};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a stream gets in all.
const STREAM_BYTES: usize = 30_000;

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
    engine: Engine,
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
            engine: Engine::new(),
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
        if !self.task.is_woken() {
            return;
        }
        let waker = self.task.take();
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
            if !one.flag.is_woken() {
                continue;
            }
            let waker = one.flag.take();
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
                    waker.wake_by_ref();
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
                self.task.take().wake();
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
