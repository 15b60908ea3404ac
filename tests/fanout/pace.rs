//! Readers that are too far behind and stay, and streams that are of age.

use std::{collections::BTreeMap, time::Duration};

use sidestream::clock;
use tokio::task::JoinSet;

use crate::rig::{
    Settings, Side,
    app::App,
    reader::{End, H2, Reader, event_source, get, h1, h1_over, h1_pending, narrow},
    soon,
    wire::{Event, Item},
};

const EVENTS: u64 = 3_000;

/// How many events a gap notice says that were missed.
fn missed(notice: &str) -> u64 {
    assert!(notice.contains(r#""reason":"skipped""#), "{notice}");
    let missed = notice.split(r#""missed":"#).nth(1).unwrap();
    missed.trim_end_matches('}').parse().unwrap()
}

/// Reads up to the last event; each one before is there in order, or counted by a notice. Returns how
/// many were missed, and how many notices were events.
async fn read_all(reader: &mut Reader) -> (u64, u64) {
    let (mut next, mut missing, mut as_events) = (0, 0, 0);
    while next < EVENTS {
        match reader.next().await.expect("it stays") {
            Item::Event(event) if event.is_gap() => {
                missing += missed(&event.data);
                next += missed(&event.data);
                as_events += 1;
            }
            Item::Comment(text) if text.contains("sidestream-gap") => {
                missing += missed(&text);
                next += missed(&text);
            }
            Item::Event(event) => {
                let number = event.data.split(' ').next().unwrap();
                assert_eq!(number, next.to_string());
                next += 1;
            }
            Item::Comment(_) | Item::Retry(_) | Item::Id(_) => {}
        }
    }
    (missing, as_events)
}

#[tokio::test]
async fn who_is_too_far_behind_skips_to_the_newest_and_is_told_over_every_protocol() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            fanout: "slow: { policy: skip, events_max: 20, stall_max: 60s }",
            limits: "tcp_send_buffer_bytes: 4KiB",
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    let mut healthy = pending.head().await;
    // One each: streams that nobody reads would hold the window of the connection that they share.
    let h2 = [
        H2::connect(side.plain()).await,
        H2::connect(side.plain()).await,
    ];
    let http10 = get("/feed/a").http10();
    let mut slow = [
        (
            h1_over(narrow(side.plain()).await, &event_source("/feed/a")).await,
            true,
        ),
        (
            h1_over(narrow(side.plain()).await, &get("/feed/a")).await,
            false,
        ),
        (h1_over(narrow(side.plain()).await, &http10).await, false),
        (h2[0].ask(&event_source("/feed/a")).await, true),
        (h2[1].ask(&get("/feed/a")).await, false),
    ];
    let text = "x".repeat(1_000);
    for n in 0..EVENTS {
        exchange.event(&format!("{n} {text}")).await;
        healthy.event().await;
    }
    let mut all_missed = 0;
    for (reader, is_page) in &mut slow {
        let (missing, as_events) = read_all(reader).await;
        assert!(missing > 0);
        assert_eq!(as_events > 0, *is_page);
        all_missed += i64::try_from(missing).unwrap();
    }
    side.until_metric("behind_subscribers", 0).await;
    assert_eq!(
        side.metric("events_skipped_total{route=\"feed\"}"),
        all_missed
    );
    assert!(side.metric("gaps_total{route=\"feed\",kind=\"skipped\"}") >= 5);
    let ended = "subscribers_ended_total{route=\"feed\",reason=\"slow\"}";
    assert_eq!(side.metric(ended), 0);
    exchange.event("level again").await;
    for (reader, _) in &mut slow {
        assert_eq!(reader.data(1).await, ["level again"]);
    }
}

#[tokio::test]
async fn a_page_that_skipped_resumes_right_behind_it() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            fanout: "slow: { policy: skip, events_max: 20, stall_max: 60s }",
            limits: "tcp_send_buffer_bytes: 4KiB",
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    let mut healthy = pending.head().await;
    let mut page = h1_over(narrow(side.plain()).await, &event_source("/feed/a")).await;
    let text = "x".repeat(1_000);
    for n in 0..EVENTS {
        exchange.event(&format!("{n} {text}")).await;
        healthy.event().await;
    }
    let gap = loop {
        let event = page.event().await;
        // Before its socket stood still it may have skipped, too.
        if event.data.contains(&format!("\"to\":{},", EVENTS - 1)) {
            break event;
        }
    };
    drop(page);
    exchange.event("next").await;
    healthy.event().await;
    let back = event_source("/feed/a").last_id(gap.id());
    let mut back = h1(side.plain(), &back).await;
    let newest = format!("{} {text}", EVENTS - 1);
    assert_eq!(back.data(2).await, [newest.as_str(), "next"]);
}

#[tokio::test]
async fn a_stream_of_age_ends_as_its_client_survives_it() {
    const MAX: Duration = Duration::from_secs(2);
    let app = App::start().await;
    let side = Side::start(app.port(), "connection_age_max: 2s");
    let opened = clock::now();
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    exchange.event("x").await;
    let h2 = H2::connect(side.plain()).await;
    let (old, page) = (get("/feed/a").http10(), event_source("/feed/a"));
    let mut ending = JoinSet::new();
    for (opened, mut reader, expected) in [
        (opened, pending.head().await, End::Cut),
        (clock::now(), h1(side.plain(), &old).await, End::Cut),
        (clock::now(), h1(side.plain(), &page).await, End::Complete),
        (clock::now(), h2.ask(&get("/feed/a")).await, End::Cut),
        (clock::now(), h2.ask(&page).await, End::Complete),
    ] {
        ending.spawn(async move {
            let (items, end) = reader.rest().await;
            let age = clock::now().since(opened);
            assert_eq!(end, expected);
            let told = matches!(items.last(), Some(Item::Retry(1_000..=5_000)));
            assert_eq!(told, expected == End::Complete, "{items:?}");
            assert!(age >= MAX.mul_f64(0.8), "{age:?}");
        });
    }
    soon("each to be of age", ending.join_all()).await;
    let ended = "subscribers_ended_total{route=\"feed\",reason=\"age\"}";
    assert_eq!(side.metric(ended), 5);
    assert_eq!(app.requests(), 1, "the channel stays");
    side.until_empty().await;
}

/// One of ten prices that change all the time, or one that changes once.
fn symbol(number: u64) -> u64 {
    if number == 1_000 { 10 } else { number % 10 }
}

/// Reads up to the last event. Whatever is not there was announced, and has a newer one behind it.
/// Returns the newest of each symbol, and how many are not there.
async fn read_newest(reader: &mut Reader) -> (BTreeMap<u64, u64>, u64) {
    let (mut newest, mut next, mut missing) = (BTreeMap::new(), 0, 0);
    let mut announced = false;
    while next < EVENTS {
        let event = match reader.next().await.expect("it stays") {
            Item::Event(event) if !event.is_gap() => event,
            Item::Event(Event { data: notice, .. }) | Item::Comment(notice) => {
                assert!(!notice.contains(r#""reason":"skipped""#), "{notice}");
                announced |= notice.contains(r#""reason":"conflated""#);
                continue;
            }
            Item::Retry(_) | Item::Id(_) => continue,
        };
        let (_, rest) = event.data.split_once(r#"{"number":"#).unwrap();
        let number: u64 = rest.split(',').next().unwrap().parse().unwrap();
        assert!(number == next || (number > next && announced), "{number}");
        missing += number - next;
        next = number + 1;
        newest.insert(symbol(number), number);
    }
    (newest, missing)
}

#[tokio::test]
async fn who_is_too_far_behind_gets_the_newest_of_each_key_over_every_protocol() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            fanout: "slow: { policy: conflate, conflate_by: /symbol, events_max: 20, \
                     stall_max: 60s }\nbatch_delay: 5ms",
            limits: "tcp_send_buffer_bytes: 4KiB",
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    let mut healthy = pending.head().await;
    let h2 = H2::connect(side.plain()).await;
    let http10 = get("/feed/a").http10();
    let mut slow = [
        h1_over(narrow(side.plain()).await, &event_source("/feed/a")).await,
        h1_over(narrow(side.plain()).await, &get("/feed/a")).await,
        h1_over(narrow(side.plain()).await, &http10).await,
        h2.ask(&event_source("/feed/a")).await,
    ];
    let text = "x".repeat(1_000);
    for number in 0..EVENTS {
        let symbol = symbol(number);
        let data = format!(r#"{{"number":{number},"text":"{text}","symbol":"{symbol}"}}"#);
        exchange.event(&data).await;
        healthy.event().await;
    }
    let newest = (0..EVENTS).map(|number| (symbol(number), number)).collect();
    let mut all_missing = 0;
    for reader in &mut slow {
        let (seen, missing) = read_newest(reader).await;
        assert_eq!(seen, newest);
        assert!(missing > 0);
        all_missing += i64::try_from(missing).unwrap();
    }
    side.until_metric("behind_subscribers", 0).await;
    assert_eq!(
        side.metric("events_skipped_total{route=\"feed\"}"),
        all_missing
    );
    assert!(side.metric("gaps_total{route=\"feed\",kind=\"conflated\"}") >= 4);
    exchange.event("level again").await;
    for reader in &mut slow {
        assert_eq!(reader.data(1).await, ["level again"]);
    }
}
