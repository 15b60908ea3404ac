//! One channel is flooded, beside many that are quiet: neither has the other wait.
//!
//! How long anything takes says more of the machine than of Sidestream, so both are measured by each
//! other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sidestream::clock;
use tokio::{task::JoinHandle, time::interval};

use crate::rig::{
    app::{App, Exchange, chunk},
    many::{self, STREAMS, Stream},
    numbered,
    outside::{self, Outside},
    reader::{Reader, get, h1_over},
    until,
};

/// What the flooded channel is given, on a machine that carries it.
const FLOOD_PER_SECOND: usize = 100_000;
const WRITES_PER_SECOND: u32 = 100;
/// So much of the flood may not have been read yet: less than its ring, so that nobody is too slow.
const UNDER_WAY_MAX: usize = 50_000;
/// Behind the last event of the flood.
const OVER: &str = "over";

/// In which each quiet channel has one event.
const ROUND: Duration = Duration::from_secs(1);
/// What has to be read of the flood in each round: the quiet ones do not stall it.
const FLOOD_MIN: usize = FLOOD_PER_SECOND / 10;
/// What may be read of the flood until an event of a quiet channel is: the flood does not stall it.
const QUIET_AFTER_MAX: usize = FLOOD_PER_SECOND;

struct Flood {
    /// How many events each of its readers has.
    read: Vec<Arc<AtomicUsize>>,
    readers: Vec<JoinHandle<usize>>,
    app: JoinHandle<usize>,
    stop: Arc<AtomicBool>,
}

impl Flood {
    /// A reader by HTTP/1 and one by HTTP/2.
    async fn start(side: &Outside, app: &App) -> Self {
        let (stream, ask) = (side.plain().await, get("/flood"));
        let first = tokio::spawn(async move { h1_over(stream, &ask).await });
        let exchange = app.opens().await;
        let first = first.await.unwrap();
        let second = side.h2(1 << 20).await.ask(&get("/flood")).await;
        let read: Vec<Arc<AtomicUsize>> = [(); 2].map(|()| Arc::default()).to_vec();
        let readers = [first, second].into_iter().zip(&read);
        let readers = readers.map(|(reader, count)| tokio::spawn(follow(reader, count.clone())));
        let stop = Arc::<AtomicBool>::default();
        Self {
            readers: readers.collect(),
            app: tokio::spawn(pour(exchange, read.clone(), stop.clone())),
            read,
            stop,
        }
    }

    /// What all of its readers have.
    fn read(&self) -> usize {
        least(&self.read)
    }

    /// How many events it had, every one of which has come to each reader.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.app.await.unwrap();
        for reader in self.readers {
            assert_eq!(reader.await.unwrap(), sent);
        }
        sent
    }
}

fn least(counts: &[Arc<AtomicUsize>]) -> usize {
    let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
    counts.min().unwrap()
}

/// The app's side; returns how many events it sent.
async fn pour(mut exchange: Exchange, read: Vec<Arc<AtomicUsize>>, stop: Arc<AtomicBool>) -> usize {
    const AT_ONCE: usize = FLOOD_PER_SECOND / WRITES_PER_SECOND as usize;
    let mut pace = interval(Duration::from_secs(1) / WRITES_PER_SECOND);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        until("the flood is read", || sent < least(&read) + UNDER_WAY_MAX).await;
        exchange.send(numbered::body(sent..sent + AT_ONCE, 0)).await;
        sent += AT_ONCE;
    }
    exchange.send(chunk(&format!("data: {OVER}\n\n"))).await;
    exchange.finish().await;
    sent
}

/// A reader's side: one after the other, and none is missing.
async fn follow(mut reader: Reader, count: Arc<AtomicUsize>) -> usize {
    for next in 0.. {
        let event = reader.event().await;
        if event.data == OVER {
            return next;
        }
        assert_eq!(numbered::number(&event), next);
        count.store(next + 1, Ordering::Relaxed);
    }
    unreachable!("a flood ends")
}

/// One event on each quiet channel, spread evenly. Returns how far the flood had gone when the one came
/// that took longest.
async fn round(number: usize, streams: &mut [Stream], flood: &Flood) -> usize {
    let parts = streams.len().div_ceil(STREAMS);
    let mut pace = interval(ROUND / u32::try_from(parts).unwrap());
    let mut longest = 0;
    for part in streams.chunks_mut(STREAMS) {
        pace.tick().await;
        let before = flood.read();
        for stream in &mut *part {
            stream
                .exchange
                .send(numbered::body(number..number + 1, 0))
                .await;
        }
        for stream in part {
            numbered::read(stream.reader(), number..number + 1).await;
        }
        longest = longest.max(flood.read() - before);
    }
    longest
}

#[expect(clippy::print_stdout, reason = "figures, for who asks for them")]
async fn leave_each_other_alone(channels: usize, rounds: usize) {
    outside::need_open_files(channels);
    let app = App::start().await;
    let side = Outside::start(&format!(
        "upstreams: {{ app: {{ address: 'http://127.0.0.1:{}', \
            connections_max: {room}, attempts_max: 100, connect_timeout: 60s }} }}\n\
         routes:\n\
         \x20 - {{ name: feed, path: '/feed/{{n}}', action: fanout }}\n\
         \x20 - {{ name: flood, path: /flood, action: fanout, \
            ring: {{ events_max: 100000, bytes_max: 64MiB }} }}\n\
         defaults: {{ open_wait: 60s, head_wait: 60s, heartbeat: 5m }}\n\
         limits: {{ channels_max: {room}, subscribers_max: {room}, connections_max: 2000 }}\n",
        app.port(),
        room = channels + 10,
    ))
    .await;
    let (mut streams, _connections) = many::open(&side, &app, channels).await;
    let flood = Flood::start(&side, &app).await;
    let begun = clock::now();
    for number in 0..rounds {
        let before = flood.read();
        let longest = round(number, &mut streams, &flood).await;
        // The last event of a round has come before its time is over.
        until("the flood goes on", || flood.read() >= before + FLOOD_MIN).await;
        println!(
            "round {number}: {} of the flood, {longest} at most until a quiet one came",
            flood.read() - before
        );
        assert!(
            longest < QUIET_AFTER_MAX,
            "{longest} of the flood went before"
        );
    }
    let sent = flood.stop().await;
    let took = clock::now().since(begun);
    println!("{sent} events in {took:?} beside {channels} channels with {rounds} each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_channel_and_hundreds_of_quiet_ones_leave_each_other_alone() {
    leave_each_other_alone(500, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 11,000 descriptors; `make bars` runs it"]
async fn a_flooded_channel_and_ten_thousand_quiet_ones_leave_each_other_alone() {
    leave_each_other_alone(10_000, 10).await;
}
