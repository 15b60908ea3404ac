//! Draining: everybody is moved elsewhere, evenly, in a form that each kind of client survives.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::base::h2raw::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawH2, block, frame};
use crate::{
    finishing::FINAL,
    rig::{
        Settings, Side,
        app::App,
        reader::{End, H2, Reader, event_source, get, h1, h1_pending},
        soon,
        wire::Item,
    },
};

const READERS: usize = 200;
const WINDOW: Duration = Duration::from_secs(8);
/// How far the leaving may be from an even slope, as a share of the window. An eighth is the second in
/// which the streams of a connection end; the rest is the grain of the shards' clocks, 250 ms. That each
/// second has its share is tested where the clock is an argument, at the slope.
const UNEVEN_MAX: f64 = 0.15;

struct Left {
    kind: &'static str,
    after: Duration,
    items: Vec<Item>,
    end: End,
    /// What came ends between two blocks.
    between: bool,
}

/// When the stream of `reader` ends, counted from `start`.
async fn leave(kind: &'static str, mut reader: Reader, start: tokio::time::Instant) -> Left {
    let (items, end) = reader.rest().await;
    Left {
        kind,
        after: start.elapsed(),
        items,
        end,
        between: reader.is_between(),
    }
}

/// The largest distance between the share that has left and the share of the window that has passed
/// (Kolmogorov's and Smirnov's): a half or more when all leave at one moment, a quarter in two bursts.
fn unevenness(after: impl Iterator<Item = Duration>, window: Duration) -> f64 {
    let mut after: Vec<_> = after.collect();
    after.sort();
    let step = 1.0 / after.len() as f64;
    let distance = |(n, after): (usize, &Duration)| {
        let passed = after.as_secs_f64() / window.as_secs_f64();
        let (before, then) = (n as f64 * step, (n + 1) as f64 * step);
        (passed - before).abs().max((passed - then).abs())
    };
    after.iter().enumerate().map(distance).fold(0.0, f64::max)
}

/// They left along an even slope, but for `max` of the window and what a crowded machine adds.
fn expect_even(after: impl Iterator<Item = Duration>, max: f64, late: Duration) {
    let uneven = unevenness(after, WINDOW);
    let max = max + late.div_duration_f64(WINDOW);
    assert!(uneven < max, "{uneven:.3} of {max:.3} of the window");
}

/// How late a crowded machine has anybody do what is due, at most while `work` goes on: who leaves and
/// who sees it wait for the processor in turn, so several times what a timer waits.
async fn with_lateness<T>(work: impl Future<Output = T>) -> (T, Duration) {
    const EVERY: Duration = Duration::from_millis(10);
    const TURNS: u32 = 4;
    let mut late = Duration::ZERO;
    let watch = async {
        loop {
            let slept = now();
            tokio::time::sleep(EVERY).await;
            late = late.max(slept.elapsed().saturating_sub(EVERY));
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = watch => unreachable!("it goes on"),
    };
    (done, late * TURNS)
}

#[tokio::test]
async fn a_drain_closes_along_an_even_slope_and_suits_each_client() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            fanout: "retry: { min: 1s, max: 2s }",
            drain: "{ window: 8s, margin: 20s }",
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let mut exchange = app.opens().await;
    let mut readers = vec![("h1 page", pending.head().await)];
    let mut h2 = H2::connect(side.plain()).await;
    for n in 1..READERS {
        if n % 10 == 0 {
            h2 = H2::connect(side.plain()).await;
        }
        readers.push(match n % 5 {
            0 => ("h1 page", h1(side.plain(), &event_source("/feed/a")).await),
            1 => ("h1 library", h1(side.plain(), &get("/feed/a")).await),
            2 => ("h2 page", h2.ask(&event_source("/feed/a")).await),
            3 => ("h2 library", h2.ask(&get("/feed/a")).await),
            // Bytes without framing: a close would pass for the end of the answer.
            _ => (
                "h1.0 library",
                h1(side.plain(), &get("/feed/a").http10()).await,
            ),
        });
    }
    side.until_members(READERS).await;
    let mut leaving = JoinSet::new();
    let start = now();
    side.drain();
    for (kind, reader) in readers {
        leaving.spawn(leave(kind, reader, start));
    }
    let publish = async {
        let text = "x".repeat(1_000);
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for n in 0_u64.. {
            pace.tick().await;
            exchange.event(&format!("{n} {text}")).await;
        }
    };
    let leaving = with_lateness(soon("everybody leaves", leaving.join_all()));
    let (left, late) = tokio::select! {
        left = leaving => left,
        () = publish => unreachable!("it goes on"),
    };
    let events = |left: &Left| {
        let is_event = |item: &&Item| matches!(item, Item::Event(_));
        left.items.iter().filter(is_event).count()
    };
    assert!(left.iter().map(events).max() > Some(0));

    for left in &left {
        assert!(left.between, "{} was left inside an event", left.kind);
        let retry = left.items.iter().rev().find_map(|item| match item {
            Item::Retry(retry) => Some(*retry),
            Item::Comment(_) | Item::Id(_) | Item::Event(_) => None,
        });
        if left.kind.ends_with("page") {
            assert_eq!(left.end, End::Complete, "{}", left.kind);
            assert!(
                matches!(left.items.last(), Some(Item::Retry(_))),
                "{:?}",
                left.items
            );
            assert!(retry.is_some_and(|retry| (1_000..=2_000).contains(&retry)));
        } else {
            assert_eq!(left.end, End::Cut, "{}", left.kind);
            assert!(
                !matches!(left.items.last(), Some(Item::Retry(_))),
                "{:?}",
                left.items
            );
        }
    }
    expect_even(left.iter().map(|left| left.after), UNEVEN_MAX, late);
    side.until_metric(
        "subscribers_ended_total{route=\"feed\",reason=\"drained\"}",
        200,
    )
    .await;
    side.until_empty().await;
    soon("drained", tokio::task::spawn_blocking(move || side.leave()))
        .await
        .unwrap();
    assert!(start.elapsed() < WINDOW + Duration::from_secs(10));
}

#[expect(clippy::disallowed_methods, reason = "the test measures the slope")]
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test]
async fn who_joins_while_we_leave_joins_what_is_there_and_nothing_new() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            drain: "{ window: 1h, margin: 0s }",
            ..Settings::default()
        },
    );
    let h2 = H2::connect(side.plain()).await;
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let mut exchange = app.opens().await;
    let mut readers = vec![pending.head().await, h2.ask(&get("/feed/a")).await];
    let mut unused = TcpStream::connect(side.plain()).await.unwrap();
    side.drain();
    side.until_metric("draining", 1).await;
    // Answered by the thread that drains: it has told everybody by now.
    assert!(side.admin("/readyz").await.starts_with("HTTP/1.1 503"));

    readers.push(h1(side.plain(), &event_source("/feed/a")).await);
    readers.push(h1(side.plain(), &get("/feed/a")).await);
    // A connection that is told to go at once takes what was asked before it knew.
    let late = H2::connect(side.plain()).await;
    readers.extend(late.try_ask(&get("/feed/a")).await);
    exchange.event("x").await;
    for reader in &mut readers {
        assert_eq!(reader.data(1).await, ["x"]);
    }

    assert_eq!(h1(side.plain(), &get("/feed/new")).await.status, 503);
    let mut page = h1(side.plain(), &event_source("/feed/new")).await;
    assert_eq!((page.status, page.end().await), (200, End::Complete));
    assert_eq!(side.metric("shed_total"), 2);
    assert_eq!(app.requests(), 1);

    let head = "GET /pass/x HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    unused.write_all(head.as_bytes()).await.unwrap();
    let serve = async {
        let mut exchange = app.asked().await;
        assert_eq!(exchange.line(), "GET /pass/x HTTP/1.1");
        exchange.send_answer("200 OK", "", b"passed").await;
        exchange
    };
    let mut text = String::new();
    let read = soon("the answer", unused.read_to_string(&mut text));
    let (_exchange, read) = tokio::join!(serve, read);
    read.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("passed"),
        "{text}"
    );
}

#[tokio::test]
async fn a_drain_by_command_moves_clients_away_and_stays_for_the_rest() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            drain: "{ window: 1s, margin: 1h, listen_min: 0 }",
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let _exchange = app.opens().await;
    let mut readers = vec![pending.head().await];
    for _ in 0..20 {
        readers.push(h1(side.plain(), &event_source("/feed/a")).await);
    }
    side.until_members(21).await;
    side.drain_by_command().await;
    side.drain_by_command().await;
    for reader in &mut readers {
        assert_eq!(reader.end().await, End::Complete);
    }
    let drained = async { while !side.admin("/readyz").await.contains("\"drained\"") {} };
    soon("drained", drained).await;

    // The app lives, and its channel lingers.
    let mut late = h1(side.plain(), &event_source("/feed/a")).await;
    assert_eq!((late.status, late.end().await), (200, End::Complete));
    assert_eq!(h1(side.plain(), &get("/feed/new")).await.status, 503);
    let ask = get("/pass/x");
    let passing = h1(side.plain(), &ask);
    let serve = async {
        let mut exchange = app.asked().await;
        exchange.send_answer("200 OK", "", b"passed").await;
        exchange
    };
    let (mut passed, _exchange) = tokio::join!(passing, serve);
    assert_eq!(
        (passed.status, passed.body().await),
        (200, b"passed".to_vec())
    );
    assert_eq!(passed.header("connection"), Some("close"));

    side.until_empty().await;
    let leave = tokio::task::spawn_blocking(move || side.leave_now());
    soon("nobody is left, so it ends at once", leave)
        .await
        .unwrap();
}

/// A connection with `count` EventSources, frame by frame.
async fn together(address: SocketAddr, count: u32) -> RawH2 {
    let mut client = RawH2::connect(address, &[]).await;
    let head = block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"shop.example"),
        (b":path", b"/feed/a"),
        (b"accept", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
    ]);
    for n in 0..count {
        let flags = END_STREAM | END_HEADERS;
        assert!(client.send(&frame(HEADERS, flags, 2 * n + 1, &head)).await);
    }
    soon("an answer to each", async {
        let mut answered = 0;
        while answered < count {
            let frame = client.next().await.expect("an answer to each");
            answered += u32::from(frame.status() == Some(200));
        }
    })
    .await;
    client
}

/// When each of `count` streams ends, whole, counted from `start`.
async fn leave_together(
    mut client: RawH2,
    count: usize,
    start: tokio::time::Instant,
) -> Vec<Duration> {
    let mut told = false;
    let mut after = Vec::new();
    while after.len() < count {
        let frame = client.next().await.expect("a frame before the end");
        told |= frame.goaway().is_some();
        assert_ne!(frame.kind, RST_STREAM);
        if frame.kind == DATA && frame.flags & END_STREAM != 0 {
            assert!(told, "who may ask again knows to go elsewhere");
            after.push(start.elapsed());
        }
    }
    after
}

/// Half a thousand connections with a stream each, and twenty with fifty; beside them an answer that
/// takes longer than all of their leaving.
#[tokio::test]
async fn a_drain_goes_by_connection_is_even_over_streams_and_lets_answers_finish() {
    const SINGLES: usize = 500;
    const CONNECTIONS: usize = 20;
    const STREAMS: u32 = 50;
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            drain: "{ window: 8s, margin: 20s }",
            routes: &[FINAL],
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let _exchange = app.opens().await;
    let mut singles = vec![pending.head().await];
    while singles.len() < SINGLES {
        singles.push(h1(side.plain(), &event_source("/feed/a")).await);
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(together(side.plain(), STREAMS).await);
    }
    let pending = h1_pending(side.plain(), &event_source("/final/a")).await;
    let mut answer = app.opens().await;
    let h2 = H2::connect(side.plain()).await;
    let mut answered = [pending.head().await, h2.ask(&get("/final/a")).await];
    answer.event("the beginning").await;
    side.until_members(SINGLES + CONNECTIONS * STREAMS as usize + answered.len())
        .await;
    let address = side.plain();
    let asked = tokio::spawn(async move { h1(address, &get("/pass/slow")).await });
    let mut passed = app.asked().await;

    let start = now();
    side.drain();
    let mut leaving = JoinSet::new();
    for reader in singles {
        leaving.spawn(async move {
            let left = leave("h1 page", reader, start).await;
            assert_eq!(left.end, End::Complete);
            vec![left.after]
        });
    }
    for client in connections {
        leaving.spawn(leave_together(client, STREAMS as usize, start));
    }
    let leaving = soon("everybody leaves", leaving.join_all());
    let (left, late) = with_lateness(leaving).await;
    for after in left.iter().filter(|after| after.len() > 1) {
        let took = *after.iter().max().unwrap() - *after.iter().min().unwrap();
        assert!(
            took < Duration::from_secs(3) + late,
            "one connection took {took:?}"
        );
    }
    expect_even(left.into_iter().flatten(), 2.0 * UNEVEN_MAX, late);

    // What is finite is not cut by the slope.
    assert!(start.elapsed() > WINDOW / 2);
    assert_eq!(side.metric("draining_answers"), 2);
    passed.send_answer("200 OK", "", b"the whole answer").await;
    let mut asked = soon("the answer", asked).await.unwrap();
    assert_eq!(asked.body().await, b"the whole answer");
    answer.event("the end").await;
    answer.finish().await;
    for reader in &mut answered {
        assert_eq!(reader.data(2).await, ["the beginning", "the end"]);
        assert_eq!(reader.end().await, End::Complete);
    }
    side.until_metric("draining_answers", 0).await;
    soon("drained", tokio::task::spawn_blocking(move || side.leave()))
        .await
        .unwrap();
    assert!(start.elapsed() < WINDOW + Duration::from_secs(20));
}
