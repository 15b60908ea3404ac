//! Readers over TLS that stop reading: the ciphertext that a client has not taken is bounded, and counts
//! as not delivered. Whoever reads again in time misses nothing.

use std::ops::Range;

use tokio::task::JoinSet;

use crate::rig::{
    app::{App, Exchange},
    numbered,
    outside::{self, Outside},
    reader::{Ask, End, H2, Reader, event_source, get, h1_over},
};

const RING_EVENTS: usize = 200;
const EVENT_BYTES: usize = 1_000;
/// Of which a ring holds all: more than sockets and TLS take.
const KEPT: Range<usize> = 0..150;
/// Of which it does not hold the first.
const TOO_MANY: Range<usize> = KEPT.end..KEPT.end + 2 * RING_EVENTS;
/// Published at once to readers who keep up.
const STEP: usize = RING_EVENTS / 4;

/// A record of ciphertext, the rest of one event, and rustls' buffers for it. What went by meanwhile is
/// more than ten times that.
const STALLED_BYTES_MAX: usize = 32 << 10;
/// What the process takes for its own at any time.
const SLACK_BYTES: usize = 16 << 20;

/// A channel, and who is on it.
struct Channel {
    exchange: Exchange,
    /// They read all the time.
    well: Vec<Reader>,
    /// They read again while all is in the ring.
    patient: Vec<Reader>,
    /// They read again when it is too late.
    late: Vec<Reader>,
}

impl Channel {
    /// Half of the stalled are patient.
    async fn open(side: &Outside, app: &App, ask: &Ask, stalled: usize) -> Self {
        let join = || {
            let (stream, ask) = (side.tls("http/1.1"), ask.clone());
            async move { h1_over(stream.await, &ask).await }
        };
        let opening = tokio::spawn(join());
        let exchange = app.opens().await;
        let h2 = H2::over(side.tls("h2").await, h2::client::Builder::new()).await;
        let well = vec![opening.await.unwrap(), join().await, h2.ask(ask).await];
        let joining: JoinSet<Reader> = (0..stalled).map(|_| join()).collect();
        let mut patient = joining.join_all().await;
        let late = patient.split_off(stalled / 2);
        Self {
            exchange,
            well,
            patient,
            late,
        }
    }

    /// Publishes these, a few at a time, to all who are well.
    async fn publish(&mut self, numbers: Range<usize>) {
        for from in numbers.clone().step_by(STEP) {
            let numbers = from..numbers.end.min(from + STEP);
            let body = numbered::body(numbers.clone(), EVENT_BYTES);
            self.exchange.send(body).await;
            self.well = all_read(std::mem::take(&mut self.well), numbers).await;
        }
    }

    /// The patient read on, and are well from now on.
    async fn recover(&mut self) {
        let patient = std::mem::take(&mut self.patient);
        self.well.extend(all_read(patient, KEPT).await);
    }
}

async fn all_read(readers: Vec<Reader>, numbers: Range<usize>) -> Vec<Reader> {
    let mut reading = JoinSet::new();
    for mut reader in readers {
        let numbers = numbers.clone();
        reading.spawn(async move {
            numbered::read(&mut reader, numbers).await;
            reader
        });
    }
    reading.join_all().await
}

/// What it had, in order, and no end that looks like one.
async fn is_cut(mut reader: Reader) {
    let (items, end) = reader.rest().await;
    assert_eq!(end, End::Cut);
    let seen = numbered::numbers(&items);
    assert!(seen.len() < KEPT.end, "{} came", seen.len());
    assert!(seen.iter().copied().eq(0..seen.len()), "{seen:?}");
}

/// What it had, in order, word of what it missed, and the newest.
async fn skips(mut reader: Reader) {
    let mut next = 0;
    let missed = loop {
        let event = reader.event().await;
        if event.is_gap() {
            break event;
        }
        assert_eq!(numbered::number(&event), next);
        next += 1;
    };
    assert!(next < KEPT.end, "{next} came");
    let newest = numbered::number(&reader.event().await);
    assert!(
        newest > next && newest < TOO_MANY.end,
        "{newest} after {next}"
    );
    let missed: serde_json::Value = serde_json::from_str(&missed.data).unwrap();
    assert_eq!(missed["missed"], newest - next, "{missed}");
    numbered::read(&mut reader, newest + 1..TOO_MANY.end).await;
}

async fn all<F>(readers: Vec<Reader>, check: impl Fn(Reader) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut checks: JoinSet<()> = readers.into_iter().map(check).collect();
    while let Some(checked) = checks.join_next().await {
        checked.unwrap();
    }
}

#[expect(clippy::print_stdout, reason = "figures, for who asks for them")]
async fn stand_still(stalled: usize) {
    outside::need_open_files(stalled);
    let app = App::start().await;
    let side = Outside::start(&format!(
        "upstreams: {{ app: 'http://127.0.0.1:{}' }}\n\
         routes:\n\
         \x20 - {{ name: cut, path: '/cut/{{n}}', action: fanout, \
            slow: {{ policy: disconnect, stall_max: 10m }} }}\n\
         \x20 - {{ name: skip, path: '/skip/{{n}}', action: fanout, \
            slow: {{ policy: skip, stall_max: 10m }} }}\n\
         defaults: {{ ring: {{ events_max: {RING_EVENTS}, bytes_max: 4MiB }}, heartbeat: 5m }}\n\
         limits: {{ connections_max: {room}, subscribers_max: {room}, \
            tcp_send_buffer_bytes: 4KiB }}\n",
        app.port(),
        room = stalled + 100,
    ))
    .await;
    let (each, late) = (stalled / 2, stalled / 4);
    let mut cut = Channel::open(&side, &app, &get("/cut/a"), each).await;
    let mut skip = Channel::open(&side, &app, &event_source("/skip/a"), each).await;
    let mut beside = Channel::open(&side, &app, &get("/cut/b"), 0).await;
    let before = side.resident();
    side.forget_peak();

    for channel in [&mut cut, &mut skip, &mut beside] {
        channel.publish(KEPT).await;
    }
    let behind = "behind_subscribers";
    side.until_metric(behind, |count| count == stalled).await;
    for channel in [&mut cut, &mut skip] {
        channel.recover().await;
    }
    side.until_metric(behind, |count| count == 2 * late).await;
    for channel in [&mut cut, &mut skip, &mut beside] {
        channel.publish(TOO_MANY).await;
    }
    let ended = "subscribers_ended_total{route=\"cut\",reason=\"slow\"}";
    side.until_metric(ended, |count| count == late).await;
    all(cut.late, is_cut).await;
    side.until_metric(behind, |count| count == late).await;
    all(skip.late, skips).await;
    side.until_metric(behind, |count| count == 0).await;
    assert_eq!(side.metric(ended).await, late);

    let growth = side.resident_peak().saturating_sub(before);
    let growth_max = SLACK_BYTES + stalled * STALLED_BYTES_MAX;
    println!("{stalled} stalled over TLS: memory grew by {growth} at most");
    assert!(
        growth < growth_max,
        "grew by {growth} of {growth_max} bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_over_tls_that_stop_are_bounded_and_those_in_time_miss_nothing() {
    stand_still(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "2,000 of them take minutes; `make bars` runs it"]
async fn two_thousand_readers_over_tls_that_stop_are_bounded_and_those_in_time_miss_nothing() {
    stand_still(2_000).await;
}
