//! The app's own end, where late joiners start, and what of the app's stream is not for the wire.

use crate::rig::{
    Side,
    app::{App, STREAM, chunk},
    opened,
    reader::{End, H2, event_source, get, h1, h1_pending},
    wire::Item,
};

#[tokio::test]
async fn the_apps_end_passes_behind_the_rest_and_the_next_joiner_opens_anew() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 10m");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let h2 = H2::connect(side.plain()).await;
    let mut others = vec![
        h1(side.plain(), &get("/feed/a")).await,
        h2.ask(&get("/feed/a")).await,
        h2.ask(&event_source("/feed/a")).await,
    ];
    let rest = format!("{}{}0\r\n\r\n", chunk("data: a\n\n"), chunk("data: b\n\n"));
    exchange.send(rest).await;
    for reader in &mut others {
        assert_eq!(reader.data(2).await, ["a", "b"]);
        assert_eq!(reader.end().await, End::Complete);
    }
    let first = page.event().await;
    let last = page.event().await;
    assert_eq!(page.end().await, End::Complete);
    side.until_empty().await;
    assert_eq!(app.requests(), 1, "nobody is there to reconnect for");

    // The same life goes on: who comes back with the last id is not sent off again, and a newcomer
    // starts with what is new.
    let ask = event_source("/feed/a").last_id(last.id());
    let mut back = h1(side.plain(), &ask).await;
    let mut exchange = app.opens().await;
    let mut fresh = h1(side.plain(), &event_source("/feed/a")).await;
    exchange.event("c").await;
    assert!(
        back.event().await.is_gap(),
        "what the app said in between is unknown"
    );
    let again = back.event().await;
    assert_eq!(again.data, "c");
    let epoch = |id: &str| id.split_once('-').unwrap().0.to_owned();
    assert_eq!(epoch(again.id()), epoch(last.id()));
    assert_eq!(fresh.data(1).await, ["c"]);
    // Who has not seen all of it gets the rest, and the end.
    let ask = event_source("/feed/a").last_id(first.id());
    let mut slow = h1(side.plain(), &ask).await;
    assert_eq!(slow.data(1).await, ["b"]);
    assert_eq!(slow.end().await, End::Complete);
    assert_eq!(app.requests(), 2);
}

/// Head, events and end come in one packet, before anybody who waited could be answered.
#[tokio::test]
async fn a_stream_that_is_over_at_once_reaches_all_who_waited_for_it() {
    for round in 0..20 {
        let app = App::start().await;
        let side = Side::start(app.port(), "");
        let h2 = H2::connect(side.plain()).await;
        let over_h2 = tokio::spawn(async move { h2.ask(&get("/feed/a")).await });
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(h1_pending(side.plain(), &event_source("/feed/a")).await);
        }
        let mut exchange = app.asked().await;
        side.until_members(6).await;
        let whole = format!("{STREAM}{}0\r\n\r\n", chunk("data: a\n\ndata: b\n\n"));
        exchange.send(whole).await;
        let mut readers = vec![over_h2.await.unwrap()];
        for pending in waiting {
            readers.push(pending.head().await);
        }
        for reader in &mut readers {
            assert_eq!(reader.data(2).await, ["a", "b"], "round {round}");
            assert_eq!(reader.end().await, End::Complete);
        }
        side.until_empty().await;
    }
}

#[tokio::test]
async fn an_endless_feed_is_opened_again_and_readers_stay() {
    let app = App::start().await;
    let side = Side::start(app.port(), "on_end: reconnect");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    for n in ["a", "b", "c"] {
        exchange.event(n).await;
        assert_eq!(reader.data(1).await, [n]);
        exchange.finish().await;
        exchange = app.opens().await;
        assert!(reader.event().await.is_gap());
    }
}

/// An HTTP/1.1 body without length or chunks ends when the app closes: that is its own end.
#[tokio::test]
async fn a_body_that_the_close_delimits_ends_by_it() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.asked().await;
    exchange
        .send("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n")
        .await;
    let mut reader = pending.head().await;
    assert_eq!(reader.data(1).await, ["a"]);
    drop(exchange);
    assert_eq!(reader.end().await, End::Complete);
}

#[tokio::test]
async fn late_joiners_start_where_the_route_says() {
    for (setting, expected) in [
        ("live", &["new"][..]),
        ("2", &["4", "5", "new"]),
        ("100", &["1", "2", "3", "4", "5", "new"]),
        ("all", &["1", "2", "3", "4", "5", "new"]),
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), &format!("late_join: {setting}"));
        let (mut exchange, mut reader) = opened(&side, &app).await;
        for n in 1..=5 {
            exchange.event(&n.to_string()).await;
        }
        reader.data(5).await;
        let h2 = H2::connect(side.plain()).await;
        let mut late = [
            h1(side.plain(), &event_source("/feed/a")).await,
            h2.ask(&get("/feed/a")).await,
        ];
        exchange.event("new").await;
        for reader in &mut late {
            assert_eq!(reader.data(expected.len()).await, expected, "{setting}");
        }
    }
}

#[tokio::test]
async fn the_apps_comments_and_retry_are_not_on_the_wire_but_shape_ours() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    exchange
        .chunk(": ping\n\nretry: 7000\n\nid: 5\n\n: more\ndata: a\n\n")
        .await;
    let mut items = Vec::new();
    while !matches!(items.last(), Some(Item::Event(_))) {
        items.push(reader.next_but_beats().await);
    }
    let shape: Vec<_> = items.iter().map(std::mem::discriminant).collect();
    let expected = [
        Item::Retry(0),
        Item::Comment(String::new()),
        Item::Id(String::new()),
        items.last().unwrap().clone(),
    ];
    let expected: Vec<_> = expected.iter().map(std::mem::discriminant).collect();
    assert_eq!(
        shape, expected,
        "the opening block and one event: {items:?}"
    );
    for _ in 0..10 {
        let mut next = h1(side.plain(), &get("/feed/a")).await;
        let Some(Item::Retry(retry)) = next.next().await else {
            panic!("no retry line");
        };
        assert!((7_000..=11_500).contains(&retry), "{retry}");
    }
}

#[tokio::test]
async fn an_event_over_the_limit_is_a_gap_in_its_place_and_the_stream_goes_on() {
    let app = App::start().await;
    let side = Side::start(app.port(), "event: { bytes_max: 1KiB }");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let h2 = H2::connect(side.plain()).await;
    let mut library = h2.ask(&get("/feed/a")).await;
    let large = "x".repeat(200_000);
    exchange
        .chunk(&format!("data: a\n\ndata: {large}\n\ndata: b\n\n"))
        .await;
    assert_eq!(page.data(1).await, ["a"]);
    let gap = page.event().await;
    assert!(
        gap.is_gap() && gap.data.contains("\"oversized\""),
        "{gap:?}"
    );
    assert_eq!(page.data(1).await, ["b"]);
    assert_eq!(library.data(2).await, ["a", "b"]);
    side.until_metric("parse_errors_total{route=\"feed\",kind=\"event_bytes\"}", 1)
        .await;
    exchange.event("c").await;
    assert_eq!(page.data(1).await, ["c"]);
    assert_eq!(app.requests(), 1);
}
