//! `strict`: what the app marks as one client's own is not shared with further clients.

use crate::rig::{
    Side,
    app::App,
    reader::{End, H2, event_source, get, h1, h1_pending},
    wire::Item,
};

fn head(fields: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{fields}\
         Transfer-Encoding: chunked\r\n\r\n"
    )
}

#[tokio::test]
async fn a_stream_marked_private_is_withdrawn_from_whoever_comes_later() {
    for mark in [
        "Cache-Control: no-cache, Private\r\n",
        "Vary: Origin, Cookie\r\n",
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), "share: public\nstrict: true\nlinger: 50ms");
        let ask = get("/feed/a").with("Cookie", "session=b");
        let first = h1_pending(side.plain(), &ask).await;
        let mut shared = app.asked().await;
        assert_eq!(shared.field("cookie"), None);
        shared.send(head(mark)).await;
        let mut first = first.head().await;
        // Of their own, with their credentials, over both protocols.
        let over_h1 = h1_pending(side.plain(), &ask).await;
        let mut to_h1 = app.asked().await;
        let connection = H2::connect(side.plain()).await;
        let over_h2 = {
            let ask = ask.clone();
            tokio::spawn(async move { connection.ask(&ask).await })
        };
        let mut to_h2 = app.asked().await;
        for exchange in [&mut to_h1, &mut to_h2] {
            assert_eq!(exchange.field("cookie"), Some("session=b"));
            exchange.send(head("")).await;
            exchange.event("mine").await;
        }
        shared.event("shared").await;
        assert_eq!(first.data(1).await, ["shared"], "who is in stays");
        for mut own in [over_h1.head().await, over_h2.await.unwrap()] {
            assert_eq!(own.data(1).await, ["mine"]);
        }
        assert_eq!(side.metric("unshared_requests_total{route=\"feed\"}"), 2);
        // It ends with the channel.
        drop(first);
        shared.closed().await;
        side.until_empty().await;
        crate::rig::until("no channel", || side.hub().registry.is_empty()).await;
        let _next = h1_pending(side.plain(), &ask).await;
        assert_eq!(app.asked().await.field("cookie"), None);
    }
}

#[tokio::test]
async fn a_later_head_without_the_mark_shares_again() {
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public\nstrict: true");
    let first = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.asked().await;
    exchange.send(head("Cache-Control: private\r\n")).await;
    let mut first = first.head().await;
    exchange.reset();
    let mut exchange = app.asked().await;
    exchange.send(head("Cache-Control: no-store\r\n")).await;
    exchange.event("x").await;
    assert_eq!(first.data(1).await, ["x"]);
    let mut second = h1(side.plain(), &get("/feed/a")).await;
    exchange.event("y").await;
    assert_eq!(second.data(1).await, ["y"]);
    assert_eq!(app.requests(), 2);
}

/// A client that may not share has all that a `stream` route gives: heartbeats, caps, a way out. Its
/// id is of the shared stream, and says nothing to the app.
#[tokio::test]
async fn who_may_not_share_is_served_as_on_a_stream_route() {
    let app = App::start().await;
    let settings = "share: public\nstrict: true\nheartbeat: 1s\nroute_subscribers_max: 2\n\
                    cors: { origins: ['https://a.example'] }";
    let side = Side::start(app.port(), settings);
    let first = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut shared = app.asked().await;
    shared.send(head("Cache-Control: private\r\n")).await;
    let _first = first.head().await;

    let ask = event_source("/feed/a")
        .with("Origin", "https://a.example")
        .last_id("0000000000-7");
    let own = h1_pending(side.plain(), &ask).await;
    let mut exchange = app.asked().await;
    assert_eq!(exchange.field("last-event-id"), None);
    exchange
        .send(head("Access-Control-Allow-Origin: https://app.example\r\n"))
        .await;
    let mut own = own.head().await;
    assert_eq!(
        own.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    let beat = own.next().await;
    assert!(
        matches!(&beat, Some(Item::Comment(text)) if text == "hb"),
        "{beat:?}"
    );
    exchange.event("mine").await;
    assert_eq!(own.data(1).await, ["mine"]);

    let refused = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(refused.status, 503, "no third subscriber");
    assert_eq!(side.metric("refused_total{reason=\"route_max\"}"), 1);
    side.drain();
    let (_, end) = own.rest().await;
    assert_eq!(end, End::Complete, "it leaves with the others");
    exchange.closed().await;
}

#[tokio::test]
async fn an_id_in_the_query_of_who_may_not_share_is_the_apps_or_none() {
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public\nstrict: true");
    let first = h1_pending(side.plain(), &get("/feed/a?b=1")).await;
    let mut shared = app.asked().await;
    shared.send(head("Cache-Control: private\r\n")).await;
    let _first = first.head().await;
    for (id, expected) in [("0000000000-7~9", Some("9")), ("0000000000-7", None)] {
        let ask = get(&format!("/feed/a?last_event_id={id}&b=1"));
        let _over_h1 = h1_pending(side.plain(), &ask).await;
        let connection = H2::connect(side.plain()).await;
        let _over_h2 = tokio::spawn(async move { connection.ask(&ask).await });
        for _ in 0..2 {
            let exchange = app.opens().await;
            assert_eq!(exchange.line(), "GET /feed/a?b=1 HTTP/1.1");
            assert_eq!(exchange.field("last-event-id"), expected);
            assert_eq!(exchange.field("host"), shared.field("host"));
        }
    }
}
