//! A session that is over gives no access for longer than `reauth`, though another of its clients
//! keeps the channel alive.

use std::time::Duration;

use crate::rig::{
    Side,
    app::{App, Exchange},
    reader::{Ask, End, H2, Reader, event_source, get, h1, h1_pending},
    soon, until,
};

/// How long an answer counts in these tests.
const REAUTH: Duration = Duration::from_millis(100);

fn with(settings: &str) -> String {
    format!("reauth: 100ms\nlate_join: all\nlinger: 10m\n{settings}")
}

fn ask() -> Ask {
    get("/feed/a").with("Cookie", "session=a")
}

/// A client that reads a stream with one event, whose answer counts no longer.
async fn stale(side: &Side, app: &App, ask: &Ask) -> (Exchange, Reader) {
    let pending = h1_pending(side.plain(), ask).await;
    let mut exchange = app.opens().await;
    let mut reader = pending.head().await;
    exchange.event("one").await;
    assert_eq!(reader.data(1).await, ["one"]);
    // What is waited for is that time passes.
    tokio::time::sleep(REAUTH + Duration::from_millis(20)).await;
    (exchange, reader)
}

#[tokio::test]
async fn a_logged_out_client_gets_the_apps_answer_and_not_a_byte_of_the_ring() {
    let app = App::start().await;
    let side = Side::start(app.port(), &with(""));
    let (mut exchange, mut first) = stale(&side, &app, &ask()).await;
    let last_id = "0-1";
    let over_h1 = h1_pending(side.plain(), &ask().last_id(last_id)).await;
    let connection = H2::connect(side.plain()).await;
    let over_h2 = tokio::spawn(async move { connection.ask(&ask()).await });
    let question = app.asked().await;
    side.until_members(3).await;
    assert_eq!(question.line(), "GET /feed/a HTTP/1.1");
    assert_eq!(question.field("cookie"), Some("session=a"));
    assert_eq!(question.field("last-event-id"), None);
    // Who was in reads on; who waits gets nothing.
    exchange.event("two").await;
    assert_eq!(first.data(1).await, ["two"]);
    until("two wait", || side.metric("waiting_joiners") == 2).await;
    let fields = "WWW-Authenticate: Session\r\nSet-Cookie: session=\r\n";
    question.answer("401 Unauthorized", fields, b"log in").await;
    for mut refused in [over_h1.head().await, over_h2.await.unwrap()] {
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header("www-authenticate"), Some("Session"));
        assert_eq!(refused.header("set-cookie"), None);
        assert_eq!(refused.body().await, b"log in");
    }
    assert_eq!(first.end().await, End::Cut);
    exchange.closed().await;
    assert_eq!(app.requests(), 2);
    let refused = side.metric("reauths_total{route=\"feed\",outcome=\"refused\"}");
    assert_eq!(refused, 1);
    side.until_metric("ring_bytes", 0).await;
    side.until_empty().await;
}

#[tokio::test]
async fn one_request_proves_a_crowd_and_is_closed_at_its_head() {
    let app = App::start().await;
    let side = Side::start(app.port(), &with(""));
    let (mut exchange, mut first) = stale(&side, &app, &ask()).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(h1_pending(side.plain(), &ask()).await);
    }
    side.until_members(21).await;
    let mut question = app.opens().await;
    question.closed().await;
    for pending in crowd {
        let mut reader = pending.head().await;
        assert_eq!(reader.status, 200);
        assert_eq!(reader.data(1).await, ["one"]);
    }
    assert_eq!(app.requests(), 2);
    exchange.event("two").await;
    assert_eq!(first.data(1).await, ["two"]);
    let proved = side.metric("reauths_total{route=\"feed\",outcome=\"proved\"}");
    assert_eq!(proved, 1);
}

#[tokio::test]
async fn an_app_that_cannot_say_keeps_new_clients_out_and_old_ones_in() {
    let app = App::start().await;
    let side = Side::start(app.port(), &with("open_wait: 200ms"));
    let (mut exchange, mut first) = stale(&side, &app, &ask()).await;
    let library = h1_pending(side.plain(), &ask()).await;
    let browser = event_source("/feed/a").with("Cookie", "session=a");
    let browser = h1_pending(side.plain(), &browser).await;
    let answering = async {
        loop {
            let question = app.asked().await;
            question.answer("503 Service Unavailable", "", b"").await;
        }
    };
    let answered = async { (library.head().await, browser.head().await) };
    let (library, mut browser) = tokio::select! {
        () = answering => unreachable!("it answers for as long as it is asked"),
        answered = soon("answers", answered) => answered,
    };
    assert_eq!(library.status, 502);
    assert_eq!(browser.status, 200);
    assert_eq!(browser.end().await, End::Complete);
    exchange.event("two").await;
    assert_eq!(first.data(1).await, ["two"]);
    let failed = side.metric("reauths_total{route=\"feed\",outcome=\"failed\"}");
    assert!(failed > 0);
}

#[tokio::test]
async fn a_stream_that_is_opened_again_is_an_answer_too() {
    let app = App::start().await;
    let side = Side::start(app.port(), &with(""));
    let (exchange, mut first) = stale(&side, &app, &ask()).await;
    exchange.reset();
    let mut again = app.asked().await;
    let waiting = h1_pending(side.plain(), &ask()).await;
    side.until_members(2).await;
    again.send(crate::rig::app::STREAM).await;
    again.event("two").await;
    assert_eq!(first.data(1).await, ["two"]);
    let mut waiting = waiting.head().await;
    assert_eq!(waiting.data(1).await, ["one"]);
    assert_eq!(app.requests(), 2);
}

#[tokio::test]
async fn nothing_is_asked_without_credentials_or_when_it_is_off() {
    for (settings, ask) in [
        (
            "share: public\nlate_join: all",
            get("/feed/a").with("Cookie", "s=1"),
        ),
        ("reauth: 100ms\nlate_join: all", get("/feed/a")),
        ("reauth: off\nlate_join: all", ask()),
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), settings);
        let (_exchange, _first) = stale(&side, &app, &ask).await;
        let mut second = h1(side.plain(), &ask).await;
        assert_eq!(second.data(1).await, ["one"], "{settings}");
        assert_eq!(app.requests(), 1, "{settings}");
    }
}

#[tokio::test]
async fn a_whole_answer_is_as_little_for_who_is_logged_out() {
    let app = App::start().await;
    let side = Side::start(app.port(), "reauth: 100ms\nlinger: 10m\non_end: final");
    let (exchange, mut first) = stale(&side, &app, &ask()).await;
    exchange.finish().await;
    assert_eq!(first.end().await, End::Complete);
    let second = h1_pending(side.plain(), &ask()).await;
    app.opens().await.closed().await;
    let mut second = second.head().await;
    assert_eq!(second.data(1).await, ["one"]);
    assert_eq!(second.end().await, End::Complete);
    // What is waited for is that time passes.
    tokio::time::sleep(REAUTH + Duration::from_millis(20)).await;
    let third = h1_pending(side.plain(), &ask()).await;
    let question = app.asked().await;
    question.answer("401 Unauthorized", "", b"log in").await;
    let mut third = third.head().await;
    assert_eq!(
        (third.status, third.body().await),
        (401, b"log in".to_vec())
    );
    assert_eq!(app.requests(), 3);
}
