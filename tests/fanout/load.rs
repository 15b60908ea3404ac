//! Heartbeats, slow readers, and caps.

use std::time::Duration;

use crate::rig::{
    Settings, Side,
    app::{App, Exchange, chunk},
    opened_by,
    reader::{Duplex, End, H2, Reader, event_source, get, h1, h1_narrow, h1_over, narrow, tls},
    soon, until,
    wire::Item,
};

/// A connection with a small receive buffer, over TLS.
async fn narrow_tls(side: &Side) -> impl Duplex + use<> {
    tls(narrow(side.tls()).await, &side.certificate()).await
}

async fn opened_over(h2: &H2, app: &App, target: &str) -> (Reader, Exchange) {
    let (h2, ask) = (h2.clone(), get(target));
    let asking = tokio::spawn(async move { h2.ask(&ask).await });
    let exchange = app.opens().await;
    (asking.await.unwrap(), exchange)
}

#[tokio::test]
async fn silence_is_filled_with_heartbeats() {
    let app = App::start().await;
    let side = Side::start(app.port(), "heartbeat: 1s");
    let (_exchange, first) = opened_by(&side, &app, &get("/feed/a")).await;
    let h2 = H2::connect(side.plain()).await;
    let http10 = h1(side.plain(), &get("/feed/a").http10()).await;
    for mut reader in [first, h2.ask(&event_source("/feed/a")).await, http10] {
        let mut beats = 0;
        while beats < 2 {
            match reader.next().await.expect("no end") {
                Item::Comment(text) if text == "hb" => beats += 1,
                Item::Comment(_) | Item::Retry(_) | Item::Id(_) => {}
                Item::Event(event) => panic!("{event:?}"),
            }
        }
    }
}

#[tokio::test]
async fn there_is_no_heartbeat_while_events_flow() {
    let app = App::start().await;
    let side = Side::start(app.port(), "heartbeat: 2s");
    let (mut exchange, mut reader) = opened_by(&side, &app, &get("/feed/a")).await;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let feed = async {
        for n in 0..50 {
            pace.tick().await;
            exchange.event(&n.to_string()).await;
        }
    };
    let read = async {
        let mut items = Vec::new();
        while !matches!(items.last(), Some(Item::Event(event)) if event.data == "49") {
            items.push(reader.next().await.expect("no end"));
        }
        items
    };
    let read = soon("the last event", read);
    let ((), items) = tokio::join!(feed, read);
    let beats = items
        .iter()
        .filter(|item| **item == Item::Comment("hb".to_owned()));
    assert_eq!(beats.count(), 0);
}

const ROOMY: &str = "ring: { events_max: 1000000, bytes_max: 1GiB }\n\
                     slow: { events_max: 1000000, bytes_max: 1GiB, stall_max: 500ms }";

/// A whole event; part of one shows.
fn numbered(number: usize) -> String {
    format!("{number} {}.", "x".repeat(1_000))
}

/// Feeds numbered events until `slow` readers were disconnected; a healthy reader gets all.
async fn feed_until_slow(side: &Side, exchange: &mut Exchange, healthy: &mut Reader, slow: i64) {
    let mut next = 0;
    soon("the slow are disconnected", async {
        while side.metric("subscribers_ended_total{route=\"feed\",reason=\"slow\"}") < slow {
            exchange.event(&numbered(next)).await;
            assert_eq!(healthy.event().await.data, numbered(next));
            next += 1;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_disconnected_and_costs_nobody_else_anything() {
    let app = App::start().await;
    let side = Side::of_small_buffers(app.port(), ROOMY);
    let (mut exchange, mut healthy) = opened_by(&side, &app, &get("/feed/a")).await;
    let mut stalled = h1_narrow(side.plain(), &get("/feed/a")).await;
    let over_h2 = H2::connect(side.plain()).await;
    let mut stalled_h2 = over_h2.ask(&get("/feed/a")).await;
    let mut beside_it = opened_over(&over_h2, &app, "/feed/b").await;
    feed_until_slow(&side, &mut exchange, &mut healthy, 2).await;
    // What they had taken of the stream before is whole events in order, and then it breaks off, where
    // their socket stood still: inside an event that no client takes for one.
    for reader in [&mut stalled, &mut stalled_h2] {
        let (items, end) = reader.rest().await;
        assert_eq!(end, End::Cut);
        let mut next = 0;
        for item in items {
            if let Item::Event(event) = item {
                assert_eq!(event.data, numbered(next));
                next += 1;
            }
        }
        assert!(next > 0);
    }
    beside_it.1.event("undisturbed").await;
    assert_eq!(beside_it.0.data(1).await, ["undisturbed"]);
    assert_eq!(app.requests(), 2);
    drop((healthy, beside_it));
    side.until_empty().await;
}

/// TLS takes more than it can send: that is no reason to think that the reader has it.
#[tokio::test]
async fn a_reader_that_stops_reading_over_tls_is_disconnected_too() {
    let app = App::start().await;
    let side = Side::of_small_buffers(app.port(), ROOMY);
    let stream = narrow_tls(&side).await;
    let opening = tokio::spawn(async move { h1_over(stream, &get("/feed/a")).await });
    let mut exchange = app.opens().await;
    let stalled = opening.await.unwrap();
    let stream = narrow_tls(&side).await;
    let mut healthy = h1_over(stream, &get("/feed/a")).await;
    feed_until_slow(&side, &mut exchange, &mut healthy, 1).await;
    drop((healthy, stalled));
    side.until_empty().await;
}

#[tokio::test]
async fn a_reader_that_reads_slowly_and_steadily_gets_everything_from_the_ring() {
    const COUNT: usize = 600;
    let app = App::start().await;
    let side = Side::of_small_buffers(
        app.port(),
        "ring: { events_max: 1000, bytes_max: 64MiB }\n\
         slow: { events_max: 1000, bytes_max: 64MiB, stall_max: 20s }",
    );
    let (mut exchange, mut healthy) = opened_by(&side, &app, &get("/feed/a")).await;
    let mut slow = h1_narrow(side.plain(), &get("/feed/a")).await;
    let stream = narrow_tls(&side).await;
    let opening = tokio::spawn(async move { h1_over(stream, &get("/feed/tls")).await });
    let mut exchange_tls = app.opens().await;
    let mut slow_tls = opening.await.unwrap();
    let text = "x".repeat(1_500);
    let body: String = (0..COUNT)
        .map(|n| chunk(&format!("data: {n} {text}\n\n")))
        .collect();
    exchange.send(&body).await;
    exchange_tls.send(&body).await;
    healthy.data(COUNT).await;
    side.until_metric("behind_subscribers", 2).await;
    for reader in [&mut slow, &mut slow_tls] {
        let mut seen = Vec::new();
        while seen.len() < COUNT {
            assert!(reader.sip(700).await, "cut after {} events", seen.len());
            seen.extend(reader.taken().into_iter().filter_map(|item| match item {
                Item::Event(event) => Some(event.data),
                Item::Comment(_) | Item::Retry(_) | Item::Id(_) => None,
            }));
            tokio::task::yield_now().await;
        }
        for (n, data) in seen.iter().enumerate() {
            assert_eq!(*data, format!("{n} {text}"));
        }
    }
    side.until_metric("behind_subscribers", 0).await;
    exchange.event("level again").await;
    assert_eq!(slow.data(1).await, ["level again"]);
}

/// A client that is turned away: a page in a form that makes it come back, others with 503.
async fn is_turned_away(side: &Side, target: &str) {
    let h2 = H2::connect(side.plain()).await;
    // An origin is part of the key: with one it would be another channel.
    let origin = (target != "/feed/a").then_some("https://shop.example");
    let page = match origin {
        Some(origin) => event_source(target).with("Origin", origin),
        None => event_source(target),
    };
    for mut reader in [h1(side.plain(), &page).await, h2.ask(&page).await] {
        assert_eq!(reader.status, 200);
        assert_eq!(reader.header("content-type"), Some("text/event-stream"));
        assert_eq!(reader.header("access-control-allow-origin"), origin);
        let with_credentials = origin.map(|_| "true");
        assert_eq!(
            reader.header("access-control-allow-credentials"),
            with_credentials
        );
        let (items, end) = reader.rest().await;
        assert!(
            matches!(items[..], [Item::Retry(5_000..=300_000), Item::Comment(_)]),
            "{items:?}"
        );
        assert_eq!(end, End::Complete);
    }
    for reader in [
        h1(side.plain(), &get(target)).await,
        h2.ask(&get(target)).await,
        h1(side.plain(), &get(target).http10()).await,
    ] {
        assert_eq!(reader.status, 503);
        let after: u64 = reader.header("retry-after").unwrap().parse().unwrap();
        assert!((5..=300).contains(&after), "{after}");
    }
}

#[tokio::test]
async fn caps_turn_clients_away_until_a_place_is_free() {
    let cases = [
        ("", "subscribers_max: 2", "subscribers_max", "/feed/other"),
        ("channel_subscribers_max: 2", "", "channel_max", "/feed/a"),
        (
            "linger: 50ms",
            "channels_max: 1",
            "channels_max",
            "/feed/other",
        ),
    ];
    for (fanout, limits, reason, target) in cases {
        let app = App::start().await;
        let side = Side::with(
            app.port(),
            &Settings {
                fanout,
                limits,
                ..Settings::default()
            },
        );
        let (mut exchange, first) = opened_by(&side, &app, &get("/feed/a")).await;
        let h2 = H2::connect(side.plain()).await;
        let mut second = h2.ask(&get("/feed/a")).await;
        is_turned_away(&side, target).await;
        let refused = format!("refused_total{{reason=\"{reason}\"}}");
        assert_eq!(side.metric(&refused), 5, "{reason}");
        assert_eq!(side.metric("shed_total"), 5, "{reason}");
        exchange.event("undisturbed").await;
        assert_eq!(second.data(1).await, ["undisturbed"]);

        if reason == "channels_max" {
            drop((first, second));
            exchange.closed().await;
            side.until_metric("channels{route=\"feed\"}", 0).await;
        } else {
            drop(first);
            side.until_members(1).await;
        }
        if target == "/feed/a" {
            let mut next = h1(side.plain(), &get(target)).await;
            exchange.event("x").await;
            assert_eq!(next.data(1).await, ["x"]);
        } else {
            let (mut next, mut exchange) = opened_over(&h2, &app, target).await;
            exchange.event("x").await;
            assert_eq!(next.data(1).await, ["x"]);
        }
    }
}

/// A live channel keeps 16 events whatever the budget says.
#[tokio::test]
async fn no_channel_is_made_while_the_rings_are_over_their_budget() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            fanout: "ring: { bytes_max: 8MiB }\nlinger: 50ms",
            limits: "ring_bytes_max: 1MiB",
            ..Settings::default()
        },
    );
    let (mut exchange, mut reader) = opened_by(&side, &app, &get("/feed/a")).await;
    let large = "x".repeat(100_000);
    for _ in 0..30 {
        exchange.event(&large).await;
        assert_eq!(reader.data(1).await, [large.as_str()]);
    }
    until("the ring is at its least", || {
        (1..1_700_000).contains(&side.metric("ring_bytes"))
    })
    .await;
    is_turned_away(&side, "/feed/other").await;
    let refused = "refused_total{reason=\"ring_bytes_max\"}";
    assert_eq!(side.metric(refused), 5);
    assert_eq!(app.requests(), 1);
    let mut second = h1(side.plain(), &get("/feed/a")).await;
    exchange.event("still here").await;
    for reader in [&mut reader, &mut second] {
        assert_eq!(reader.data(1).await, ["still here"]);
    }
    drop((reader, second));
    side.until_metric("ring_bytes", 0).await;
    opened_by(&side, &app, &get("/feed/a")).await;
}

#[tokio::test]
async fn nobody_new_comes_in_while_memory_is_short_and_nobody_is_cut() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            limits: "memory_max: 1024GiB",
            ..Settings::default()
        },
    );
    let (mut exchange, mut reader) = opened_by(&side, &app, &get("/feed/a")).await;
    assert_eq!(side.metric("memory_bytes_max"), 1 << 40);
    assert!(side.metric("resident_bytes") > 1 << 20);
    let memory = &side.hub().admission.memory;
    memory.set_max(Some(1));
    until("memory is short", || memory.is_short()).await;
    is_turned_away(&side, "/feed/other").await;
    is_turned_away(&side, "/feed/a").await;
    assert_eq!(side.metric("refused_total{reason=\"memory_max\"}"), 10);
    exchange.event("undisturbed").await;
    assert_eq!(reader.data(1).await, ["undisturbed"]);
    memory.set_max(None);
    until("there is memory", || !memory.is_short()).await;
    let mut second = h1(side.plain(), &get("/feed/a")).await;
    exchange.event("x").await;
    assert_eq!(second.data(1).await, ["x"]);
}

#[tokio::test]
async fn who_is_at_the_cap_of_one_channel_may_join_another() {
    let app = App::start().await;
    let side = Side::start(app.port(), "channel_subscribers_max: 1");
    let (_exchange, _first) = opened_by(&side, &app, &get("/feed/a")).await;
    is_turned_away(&side, "/feed/a").await;
    let (mut exchange, mut reader) = opened_by(&side, &app, &get("/feed/b")).await;
    exchange.event("x").await;
    assert_eq!(reader.data(1).await, ["x"]);
}

/// One write of the app holds twenty rings full, by their number or by their bytes, and fits into
/// the sockets: readers who keep up are not outrun by it.
#[tokio::test]
async fn a_burst_above_the_ring_reaches_all_who_keep_up() {
    for (ring, events, text_len) in [
        ("events_max: 100", 2_000, 0),
        ("bytes_max: 4KiB", 80, 1_000),
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), &format!("ring: {{ {ring} }}"));
        let (mut exchange, first) = opened_by(&side, &app, &get("/feed/a")).await;
        let second = h1(side.plain(), &get("/feed/a")).await;
        let text = "x".repeat(text_len);
        let expected: Vec<String> = (0..events).map(|n| format!("{n}{text}")).collect();
        let burst: String = expected
            .iter()
            .map(|data| format!("data:{data}\n\n"))
            .collect();
        exchange.chunk(&burst).await;
        for mut reader in [first, second] {
            assert_eq!(reader.data(events).await, expected, "{ring}");
        }
    }
}
