//! Routes whose stream is one answer (`on_end: final`).

use crate::rig::{
    Side,
    app::{App, Exchange},
    opened,
    reader::{Ask, End, H2, Reader, event_source, get, h1, h1_pending},
    wire::Item,
};

fn tokens(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("token {n}")).collect()
}

async fn say(exchange: &mut Exchange, tokens: &[String]) {
    for token in tokens {
        exchange.event(token).await;
    }
}

/// Readers of each kind over each protocol, one after the other.
async fn asked(side: &Side, h2: &H2, asks: [Ask; 2]) -> Vec<Reader> {
    let mut readers = Vec::new();
    for ask in asks {
        readers.push(h1(side.plain(), &ask).await);
        readers.push(h2.ask(&ask).await);
    }
    readers
}

#[tokio::test]
async fn an_answer_is_given_once_and_everybody_gets_it_from_its_start() {
    let app = App::start().await;
    let side = Side::start(app.port(), "on_end: final\nheartbeat: 1s");
    let (mut exchange, mut opener) = opened(&side, &app).await;
    let h2 = H2::connect(side.plain()).await;
    let all = tokens(0, 50);
    say(&mut exchange, &all[..25]).await;
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.push(opener.event().await.id().to_owned());
    }
    let kinds = || [get("/feed/a"), event_source("/feed/a")];
    let mut readers = asked(&side, &h2, kinds()).await;
    for reader in &mut readers {
        assert_eq!(reader.data(25).await, all[..25], "in mid-answer");
    }
    // The app thinks; its readers hear from us meanwhile.
    let is_beat = |item: &Item| matches!(item, Item::Comment(text) if text == "hb");
    while !is_beat(&opener.next().await.expect("the stream is open")) {}

    say(&mut exchange, &all[25..]).await;
    exchange.finish().await;
    for _ in 25..50 {
        ids.push(opener.event().await.id().to_owned());
    }
    assert_eq!(opener.end().await, End::Complete);
    for reader in &mut readers {
        assert_eq!(reader.data(25).await, all[25..]);
        assert_eq!(reader.end().await, End::Complete);
    }
    for mut reader in asked(&side, &h2, kinds()).await {
        assert_eq!(reader.data(50).await, all, "after its end");
        assert_eq!(reader.end().await, End::Complete);
    }
    let from = |at: usize| kinds().map(|ask| ask.last_id(&ids[at]));
    for mut reader in asked(&side, &h2, from(29)).await {
        assert_eq!(reader.data(20).await, all[30..]);
        assert_eq!(reader.end().await, End::Complete);
    }
    // A native EventSource comes back after any end, and for good only after this.
    for mut reader in asked(&side, &h2, from(49)).await {
        assert_eq!(reader.status, 204);
        assert_eq!(reader.end().await, End::Complete);
    }
    assert_eq!(
        side.metric("replays_total{route=\"feed\",outcome=\"done\"}"),
        4
    );
    assert_eq!(app.requests(), 1);
    side.until_empty().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_to_everybody_and_the_next_one_is_another() {
    let app = App::start().await;
    let side = Side::start(app.port(), "on_end: final");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let h2 = H2::connect(side.plain()).await;
    let mut others = asked(&side, &h2, [get("/feed/a"), event_source("/feed/a")]).await;
    exchange.event("a").await;
    let last = page.event().await;
    exchange.reset();
    assert_eq!(page.end().await, End::Cut);
    for other in &mut others {
        assert_eq!(other.data(1).await, ["a"]);
        assert_eq!(other.end().await, End::Cut, "a clean end would deceive it");
    }
    let ended = "subscribers_ended_total{route=\"feed\",reason=\"upstream_cut\"}";
    side.until_metric(ended, 5).await;

    let ask = event_source("/feed/a").last_id(last.id());
    let pending = h1_pending(side.plain(), &ask).await;
    let mut exchange = app.opens().await;
    exchange.event("b").await;
    let mut back = pending.head().await;
    let gap = back.event().await;
    assert!(
        gap.is_gap() && gap.data.contains("\"other_epoch\""),
        "{gap:?}"
    );
    assert_eq!(back.data(1).await, ["b"]);
    assert_eq!(app.requests(), 2);
}

#[tokio::test]
async fn an_answer_that_outgrows_the_ring_begins_with_a_gap_for_who_comes_late() {
    let app = App::start().await;
    let side = Side::start(app.port(), "on_end: final\nring: { events_max: 4 }");
    let (mut exchange, mut opener) = opened(&side, &app).await;
    let all = tokens(0, 10);
    say(&mut exchange, &all).await;
    assert_eq!(opener.data(10).await, all);
    exchange.finish().await;
    assert_eq!(opener.end().await, End::Complete);
    let mut late = h1(side.plain(), &event_source("/feed/a")).await;
    let gap = late.event().await;
    assert!(gap.data.contains("\"from\":1,\"to\":7"), "{}", gap.data);
    assert_eq!(late.data(3).await, all[7..]);
    assert_eq!(late.end().await, End::Complete);
    assert_eq!(app.requests(), 1);
}

/// What was left out right before the end is told, once, and then there is nothing more to get.
#[tokio::test]
async fn a_gap_right_before_the_end_is_told_to_who_comes_back() {
    let app = App::start().await;
    let side = Side::start(app.port(), "on_end: final\nevent: { bytes_max: 1KiB }");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let large = "x".repeat(2_000);
    exchange
        .chunk(&format!("data: a\n\ndata: {large}\n\n"))
        .await;
    let last = page.event().await;
    assert!(page.event().await.is_gap());
    exchange.finish().await;
    assert_eq!(page.end().await, End::Complete);
    let mut back = h1(side.plain(), &event_source("/feed/a").last_id(last.id())).await;
    let gap = back.event().await;
    assert!(gap.is_gap(), "{gap:?}");
    assert_eq!(back.end().await, End::Complete);
    let again = h1(side.plain(), &event_source("/feed/a").last_id(gap.id())).await;
    assert_eq!(again.status, 204);
}

#[tokio::test]
async fn after_the_linger_the_app_is_asked_anew() {
    let app = App::start().await;
    let settings = "on_end: final\nlinger: 300ms\nretry: { min: 100ms, max: 200ms }";
    let side = Side::start(app.port(), settings);
    let (mut exchange, mut page) = opened(&side, &app).await;
    exchange.event("a").await;
    let last = page.event().await;
    exchange.finish().await;
    assert_eq!(page.end().await, End::Complete);
    side.until_metric("channels{route=\"feed\"}", 0).await;
    let pending = h1_pending(side.plain(), &event_source("/feed/a").last_id(last.id())).await;
    let mut exchange = app.opens().await;
    exchange.event("b").await;
    let mut back = pending.head().await;
    assert!(back.event().await.is_gap());
    assert_eq!(back.data(1).await, ["b"]);
}
