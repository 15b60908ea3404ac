//! Readers that are too far behind and stay, and streams that are of age.

use std::time::Duration;

use sidestream::clock::now;

use crate::rig::{
    Settings, Side,
    app::App,
    reader::{End, H2, event_source, get, h1, h1_over, h1_pending, narrow},
    wire::Item,
};

const EVENTS: u64 = 3_000;

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
        if event.data.contains(&format!("\"to\":{EVENTS}")) {
            break event;
        }
    };
    drop(page);
    exchange.event("next").await;
    healthy.event().await;
    let back = event_source("/feed/a").last_id(gap.id());
    let mut back = h1(side.plain(), &back).await;
    assert_eq!(back.data(1).await, ["next"]);
}

#[tokio::test]
async fn a_stream_of_age_ends_as_its_client_survives_it() {
    const MAX: Duration = Duration::from_secs(2);
    let app = App::start().await;
    let side = Side::start(app.port(), "connection_age_max: 2s");
    let started = now();
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    exchange.event("x").await;
    let h2 = H2::connect(side.plain()).await;
    for (mut reader, expected) in [
        (pending.head().await, End::Cut),
        (h1(side.plain(), &get("/feed/a").http10()).await, End::Cut),
        (
            h1(side.plain(), &event_source("/feed/a")).await,
            End::Complete,
        ),
        (h2.ask(&get("/feed/a")).await, End::Cut),
        (h2.ask(&event_source("/feed/a")).await, End::Complete),
    ] {
        let (items, end) = reader.rest().await;
        assert_eq!(end, expected);
        let told = matches!(items.last(), Some(Item::Retry(1_000..=5_000)));
        assert_eq!(told, expected == End::Complete, "{items:?}");
        assert!(now().since(started) >= MAX.mul_f64(0.8));
    }
    let ended = "subscribers_ended_total{route=\"feed\",reason=\"age\"}";
    assert_eq!(side.metric(ended), 5);
    assert_eq!(app.requests(), 1, "the channel stays");
    side.until_empty().await;
}
