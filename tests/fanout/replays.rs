//! A crowd that comes back at once, and is owed all that the ring holds: it costs no memory that grows
//! with what it is owed, and nobody who has everything waits for it.

use tokio::task::JoinSet;

use crate::rig::{
    app::{App, Exchange},
    numbered,
    outside::{self, Outside},
    reader::{Reader, get, h1_over},
};

const RING_EVENTS: usize = 1_000;
const EVENT_BYTES: usize = 250;
/// Published while the crowd replays. Its oldest event is so many behind the ring's: nothing that it
/// is owed is evicted by these.
const MEANWHILE: usize = 100;

/// A connection, and the one event that it is in the middle of. What it is owed is more than fifty
/// times that.
const JOINER_BYTES_MAX: usize = 4 << 10;
/// What the process takes for its own at any time.
const SLACK_BYTES: usize = 16 << 20;

/// A reader that has everything, and the app's end of its channel.
struct Live {
    exchange: Exchange,
    reader: Reader,
}

impl Live {
    async fn open(side: &Outside, app: &App, target: &str) -> Self {
        let (stream, ask) = (side.plain().await, get(target));
        let opening = tokio::spawn(async move { h1_over(stream, &ask).await });
        let exchange = app.opens().await;
        let reader = opening.await.unwrap();
        Self { exchange, reader }
    }

    /// Publishes these one by one, and has each before the next.
    async fn go_on(&mut self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            self.exchange
                .send(numbered::body(n..n + 1, EVENT_BYTES))
                .await;
            numbered::read(&mut self.reader, n..n + 1).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "figures, for who asks for them")]
async fn come_back(joiners: usize) {
    outside::need_open_files(joiners);
    let app = App::start().await;
    let side = Outside::start(&format!(
        "upstreams: {{ app: 'http://127.0.0.1:{}' }}\n\
         routes: [{{ name: feed, path: '/feed/{{n}}', action: fanout, heartbeat: 5m, \
            ring: {{ events_max: {RING_EVENTS}, bytes_max: 4MiB }}, slow: {{ stall_max: 10m }} }}]\n\
         limits: {{ connections_max: {room}, subscribers_max: {room}, \
            tcp_send_buffer_bytes: 4KiB }}\n",
        app.port(),
        room = joiners + 100,
    ))
    .await;
    let mut live = Live::open(&side, &app, "/feed/a").await;
    let mut beside = Live::open(&side, &app, "/feed/b").await;
    let all = numbered::body(0..RING_EVENTS, EVENT_BYTES);
    live.exchange.send(all).await;
    numbered::read(&mut live.reader, 0..MEANWHILE).await;
    let last = live.reader.event().await;
    assert_eq!(numbered::number(&last), MEANWHILE);
    numbered::read(&mut live.reader, MEANWHILE + 1..RING_EVENTS).await;

    let before = side.resident();
    side.forget_peak();
    let ask = get("/feed/a").last_id(last.id());
    let mut crowd = JoinSet::new();
    for _ in 0..joiners {
        let (stream, ask) = (side.plain().await, ask.clone());
        crowd.spawn(async move { h1_over(stream, &ask).await });
    }
    let crowd = crowd.join_all().await;
    // None of them reads: all are in the middle of what they are owed.
    side.until_metric("behind_subscribers", |count| count == joiners)
        .await;
    let end = RING_EVENTS + MEANWHILE;
    let half = RING_EVENTS + MEANWHILE / 2;
    live.go_on(RING_EVENTS..half).await;
    beside.go_on(0..MEANWHILE / 2).await;
    // Who had a full socket for a moment counts until the next tick.
    side.until_metric("behind_subscribers", |count| count == joiners)
        .await;

    let mut reading = JoinSet::new();
    for mut reader in crowd {
        reading.spawn(async move { numbered::read(&mut reader, MEANWHILE + 1..end).await });
    }
    live.go_on(half..end).await;
    beside.go_on(MEANWHILE / 2..MEANWHILE).await;
    while let Some(read) = reading.join_next().await {
        read.unwrap();
    }
    let growth = side.resident_peak().saturating_sub(before);
    let owed = joiners * (RING_EVENTS - MEANWHILE) * EVENT_BYTES;
    println!("{joiners} joiners: {owed} bytes owed, memory grew by {growth} at most");
    let growth_max = SLACK_BYTES + joiners * JOINER_BYTES_MAX;
    assert!(
        growth < growth_max,
        "grew by {growth} of {growth_max} bytes"
    );
    assert!(growth_max * 2 < owed, "the test is too small to tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_who_replay_a_full_ring_cost_little_and_nobody_waits_for_them() {
    come_back(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 11,000 descriptors and 2 GB of traffic; `make bars` runs it"]
async fn ten_thousand_who_replay_a_full_ring_cost_little_and_nobody_waits_for_them() {
    come_back(10_000).await;
}
