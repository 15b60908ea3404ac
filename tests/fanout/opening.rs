//! Heads, opening blocks, and where a joiner starts.

use crate::rig::{
    Side,
    app::{App, STREAM, chunk},
    reader::{End, H2, Reader, event_source, get, h1, h1_pending},
    until,
    wire::Item,
};

/// The app of the tutorial sends its first event with its head: whoever waited for that gets it.
#[tokio::test]
async fn who_waited_for_the_stream_gets_its_first_event() {
    for ids in ["local", "unique"] {
        let app = App::start().await;
        let side = Side::start(app.port(), &format!("ids: {ids}"));
        let opener = h1_pending(side.plain(), &event_source("/feed/a")).await;
        let mut exchange = app.asked().await;
        let other = h1_pending(side.plain(), &get("/feed/a")).await;
        side.until_members(2).await;
        let first = format!("{STREAM}{}", chunk("id: 1\ndata: aaa\n\n"));
        exchange.send(first).await;
        assert_eq!(opener.head().await.data(1).await, ["aaa"], "{ids}");
        assert_eq!(other.head().await.data(1).await, ["aaa"], "{ids}");
    }
}

/// A reader that has its stream, over each protocol, of each kind.
async fn of_each_kind(side: &Side, app: &App) -> Vec<(&'static str, bool, Reader)> {
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    app.asked().await.stay_open().await;
    drop(pending.head().await);
    let h2 = H2::connect(side.plain()).await;
    let (page, library) = (event_source("/feed/a"), get("/feed/a"));
    vec![
        ("h1", true, h1(side.plain(), &page).await),
        ("h1", false, h1(side.plain(), &library).await),
        ("h1.0", true, h1(side.plain(), &page.clone().http10()).await),
        (
            "h1.0",
            false,
            h1(side.plain(), &library.clone().http10()).await,
        ),
        ("h2", true, h2.ask(&page).await),
        ("h2", false, h2.ask(&library).await),
    ]
}

#[tokio::test]
async fn the_head_and_the_opening_block_are_there_before_any_event() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 10m\nretry: { min: 2s, max: 3s }");
    for (protocol, is_event_source, mut reader) in of_each_kind(&side, &app).await {
        let what = format!("{protocol}, native: {is_event_source}");
        assert_eq!(reader.status, 200, "{what}");
        assert_eq!(
            reader.header("content-type"),
            Some("text/event-stream"),
            "{what}"
        );
        let framing = (protocol == "h1").then_some("chunked");
        assert_eq!(reader.header("transfer-encoding"), framing, "{what}");
        let Some(Item::Retry(retry)) = reader.next().await else {
            panic!("{what}: no retry line first");
        };
        assert!((2_000..=3_000).contains(&retry), "{what}: {retry}");
        let comment = Some(Item::Comment(" sidestream".to_owned()));
        assert_eq!(reader.next().await, comment, "{what}");
        if is_event_source {
            let Some(Item::Id(id)) = reader.next().await else {
                panic!("{what}: no position");
            };
            assert!(id.ends_with("-0"), "{what}: {id}");
        }
        assert!(reader.is_between() && reader.taken().is_empty(), "{what}");
    }
    side.until_empty().await;
}

#[tokio::test]
async fn an_http_1_0_client_gets_bare_events_and_a_close() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let pending = h1_pending(side.plain(), &get("/feed/a").http10()).await;
    let mut exchange = app.opens().await;
    let mut reader = pending.head().await;
    exchange.event("x").await;
    exchange.event("y").await;
    assert_eq!(reader.data(2).await, ["x", "y"]);
    exchange.finish().await;
    assert_eq!(reader.end().await, End::Complete);
}

#[tokio::test]
async fn joiners_get_of_the_apps_head_what_is_for_all() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
         Cache-Control: no-cache\r\nVary: Accept\r\nX-Frame-Options: DENY\r\nX-Feed: 7\r\n\
         ETag: \"e\"\r\nAge: 3\r\nX-Request-Id: 1\r\nKeep-Alive: timeout=5\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let app = App::start().await;
    let side = Side::start(app.port(), "response_headers: [x-feed]");
    let opener = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.asked().await;
    exchange.send(HEAD).await;
    let h2 = H2::connect(side.plain()).await;
    let opener = opener.head().await;
    for reader in [opener, h2.ask(&get("/feed/a")).await] {
        for (name, value) in [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache, no-transform, private"),
            ("x-accel-buffering", "no"),
            ("vary", "Accept"),
            ("x-frame-options", "DENY"),
            ("x-feed", "7"),
        ] {
            assert_eq!(reader.header(name), Some(value), "{name}");
        }
        for name in ["etag", "age", "x-request-id", "keep-alive"] {
            assert_eq!(reader.header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn a_silent_app_does_not_keep_clients_waiting_for_their_head() {
    let app = App::start().await;
    let side = Side::start(app.port(), "head_wait: 100ms\nheartbeat: 1s");
    let over_h1 = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let mut exchange = app.asked().await;
    let h2 = H2::connect(side.plain()).await;
    let mut readers = [over_h1.head().await, h2.ask(&get("/feed/a")).await];
    let beat = Item::Comment("hb".to_owned());
    for reader in &mut readers {
        assert_eq!(reader.status, 200);
        assert_eq!(reader.header("content-type"), Some("text/event-stream"));
        while reader.next().await.expect("no end") != beat {}
    }
    exchange.send(STREAM).await;
    exchange.event("at last").await;
    for reader in &mut readers {
        assert_eq!(reader.data(1).await, ["at last"]);
    }
    assert_eq!(app.requests(), 1);
}

/// Only the app can say whether a page of another origin may read: an early head would end its
/// EventSource for good.
#[tokio::test]
async fn a_page_of_another_origin_waits_for_the_apps_own_head() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
         Access-Control-Allow-Origin: https://a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let app = App::start().await;
    let side = Side::start(app.port(), "head_wait: 100ms");
    let page = event_source("/feed/a").with("Origin", "https://a.example");
    let page = h1_pending(side.plain(), &page).await;
    let mut exchange = app.asked().await;
    assert_eq!(exchange.field("origin"), Some("https://a.example"));
    // Another client has waited for a shorter time, and has its head.
    let early = h1(side.plain(), &event_source("/feed/a")).await;
    assert_eq!(early.status, 200);
    exchange.send(HEAD).await;
    let allowed = page.head().await;
    let allowed = allowed.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://a.example"));
}

/// Connecting is no waiting for a head: a client of an app that cannot be reached is told so.
#[tokio::test]
async fn an_app_that_is_down_is_told_in_a_form_that_clients_survive() {
    let side = Side::start(
        App::nowhere().await.port(),
        "open_wait: 300ms\nhead_wait: 0s",
    );
    let h2 = H2::connect(side.plain()).await;
    let page = event_source("/feed/a").with("Origin", "https://shop.example");
    for mut reader in [h1(side.plain(), &page).await, h2.ask(&page).await] {
        assert_eq!(reader.status, 200);
        assert_eq!(
            reader.header("access-control-allow-origin"),
            Some("https://shop.example")
        );
        let (items, end) = reader.rest().await;
        assert!(
            matches!(items[..], [Item::Retry(5_000..), Item::Comment(_)]),
            "{items:?}"
        );
        assert_eq!(end, End::Complete);
    }
    for mut reader in [
        h1(side.plain(), &get("/feed/a")).await,
        h2.ask(&get("/feed/a")).await,
    ] {
        assert_eq!(reader.status, 502);
        assert!(!reader.body().await.is_empty());
    }
    side.until_empty().await;
}

#[tokio::test]
async fn an_app_that_comes_up_within_open_wait_serves_those_who_waited() {
    let address = App::nowhere().await;
    let side = Side::start(address.port(), "open_wait: 10m");
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(h1_pending(side.plain(), &get("/feed/a")).await);
    }
    until("some tries", || {
        side.metric("upstream_connects_total{route=\"feed\",outcome=\"unreachable\"}") > 2
    })
    .await;
    let app = App::listen(address);
    let mut exchange = app.opens().await;
    exchange.event("x").await;
    for pending in waiting {
        assert_eq!(pending.head().await.data(1).await, ["x"]);
    }
    assert_eq!(app.requests(), 1);
}
