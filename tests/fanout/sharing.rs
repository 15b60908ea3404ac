//! One upstream for all who share, and nobody shares who should not.

use crate::rig::{
    Side,
    app::{App, Exchange},
    reader::{H2, Reader, event_source, get, h1, h1_pending},
    until,
};

#[tokio::test]
async fn two_hundred_joiners_before_the_head_are_one_request() {
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
        readers.spawn(pending.head());
    }
    for _ in 0..2 {
        let connection = H2::connect(side.plain()).await;
        for _ in 0..50 {
            let connection = connection.clone();
            readers.spawn(async move { connection.ask(&get("/feed/a")).await });
        }
    }
    side.until_members(200).await;
    let mut exchange = app.opens().await;
    let mut readers: Vec<Reader> = readers.join_all().await;
    exchange.event("hello").await;
    for reader in &mut readers {
        assert_eq!(reader.status, 200);
        assert_eq!(reader.data(1).await, ["hello"]);
    }
    assert_eq!(app.requests(), 1);
    assert_eq!(side.metric("upstream_connections{route=\"feed\"}"), 1);
    drop(readers);
    side.until_empty().await;
}

#[tokio::test]
async fn leaving_and_coming_back_within_the_linger_keeps_the_upstream() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 10m");
    let first = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    drop(first);
    for round in 0..3 {
        side.until_members(0).await;
        let mut reader = h1(side.plain(), &get("/feed/a")).await;
        exchange.event(&round.to_string()).await;
        assert_eq!(reader.data(1).await, [round.to_string()]);
    }
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn after_the_linger_the_upstream_is_closed_and_the_next_joiner_opens_anew() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 50ms");
    for round in 1..=3 {
        let pending = h1_pending(side.plain(), &get("/feed/a")).await;
        let mut exchange = app.opens().await;
        let mut reader = pending.head().await;
        exchange.event("x").await;
        assert_eq!(reader.data(1).await, ["x"]);
        drop(reader);
        exchange.closed().await;
        assert_eq!(app.requests(), round);
    }
    side.until_empty().await;
    until("no channel", || side.running().hub.registry.is_empty()).await;
    side.until_metric("channels{route=\"feed\"}", 0).await;
    side.until_metric("upstream_connections{route=\"feed\"}", 0)
        .await;
    side.until_metric("ring_bytes", 0).await;
}

#[tokio::test]
async fn a_silent_app_that_nobody_waits_for_any_more_is_let_go() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 50ms");
    let over_h1 = h1_pending(side.plain(), &get("/feed/a")).await;
    let connection = H2::connect(side.plain()).await;
    let over_h2 = tokio::spawn(async move { connection.ask(&get("/feed/a")).await.status });
    let mut exchange = app.asked().await;
    side.until_members(2).await;
    drop(over_h1);
    side.until_members(1).await;
    over_h2.abort();
    side.until_empty().await;
    exchange.closed().await;
}

/// Asks as two clients, and tells what each of their requests reached the app as.
async fn two_clients(
    side: &Side,
    app: &App,
    first: (&'static str, &str),
    second: (&'static str, &str),
) -> [(Exchange, Reader); 2] {
    let mut clients = Vec::new();
    for (name, value) in [first, second] {
        let pending = h1_pending(side.plain(), &get("/feed/a").with(name, value)).await;
        let exchange = app.opens().await;
        assert_eq!(exchange.field(name), Some(value));
        clients.push((exchange, pending.head().await));
    }
    clients.try_into().ok().unwrap()
}

#[tokio::test]
async fn two_identities_are_two_channels_and_never_a_byte_crosses() {
    for (name, first, second) in [
        ("Cookie", "session=a", "session=b"),
        ("Authorization", "Bearer a", "Bearer b"),
        ("Mcp-Session-Id", "1", "2"),
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), "late_join: all");
        let clients = two_clients(&side, &app, (name, first), (name, second)).await;
        let [(mut to_a, mut a), (mut to_b, mut b)] = clients;
        for n in 0..20 {
            to_a.event(&format!("a{n}")).await;
            to_b.event(&format!("b{n}")).await;
        }
        let all = |who: &str| (0..20).map(|n| format!("{who}{n}")).collect::<Vec<_>>();
        assert_eq!(a.data(20).await, all("a"), "{name}");
        assert_eq!(b.data(20).await, all("b"), "{name}");
        // Nor by the replay: not even with an id of the other's.
        let id = {
            to_b.event("b20").await;
            b.event().await.id().to_owned()
        };
        let ask = event_source("/feed/a").with(name, first).last_id(&id);
        let mut thief = h1(side.plain(), &ask).await;
        assert!(thief.event().await.is_gap());
        assert_eq!(thief.data(20).await, all("a"), "{name}");
        assert_eq!(app.requests(), 2);
    }
}

#[tokio::test]
async fn a_public_route_shares_one_stream_and_sends_no_credential() {
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public");
    let ask = |who: &str| {
        get("/feed/a")
            .with("Cookie", &format!("session={who}"))
            .with("Authorization", &format!("Bearer {who}"))
    };
    let first = h1_pending(side.plain(), &ask("a")).await;
    let mut exchange = app.opens().await;
    let mut first = first.head().await;
    let mut second = h1(side.plain(), &ask("b")).await;
    exchange.event("x").await;
    assert_eq!(first.data(1).await, ["x"]);
    assert_eq!(second.data(1).await, ["x"]);
    assert_eq!(app.requests(), 1);
    assert_eq!(exchange.field("cookie"), None);
    assert_eq!(exchange.field("authorization"), None);
}

#[tokio::test]
async fn a_set_cookie_goes_to_the_opener_and_to_nobody_else() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public\nlinger: 10m\non_end: pass");
    let opener = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.asked().await;
    let waiting = h1_pending(side.plain(), &get("/feed/a")).await;
    side.until_members(2).await;
    exchange.send(HEAD).await;
    let opener = opener.head().await;
    let cookies: Vec<_> = opener.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let waiting = waiting.head().await;
    assert_eq!(waiting.header("set-cookie"), None);
    let late = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(late.header("set-cookie"), None);
}

/// The opener left before the answer to its request came: its cookies are nobody's, also not the
/// next opener's.
#[tokio::test]
async fn the_set_cookie_of_an_opener_that_left_is_nobodys() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
         Set-Cookie: a=1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let app = App::start().await;
    let side = Side::start(app.port(), "share: public\nlinger: 10m");
    let opener = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.asked().await;
    drop(opener);
    side.until_members(0).await;
    exchange.send(HEAD).await;
    until("the stream", || {
        side.metric("upstream_connections{route=\"feed\"}") == 1
    })
    .await;
    exchange.finish().await;
    until("the end", || {
        side.metric("upstream_connections{route=\"feed\"}") == 0
    })
    .await;
    let next = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(next.header("set-cookie"), None);
}

#[tokio::test]
async fn the_app_gets_what_stands_in_the_key_and_nothing_else_of_the_client() {
    let app = App::start().await;
    let side = Side::start(app.port(), "query: [symbol]");
    let ask = get("/feed/a?symbol=X&track=1&last_event_id=7")
        .with("Cookie", "s=1")
        .with("X-Mine", "1")
        .with("X-Forwarded-For", "203.0.113.9")
        .with("X-Forwarded-Host", "evil.example")
        .with("User-Agent", "me")
        .with("Accept-Language", "de");
    let _pending = h1_pending(side.plain(), &ask).await;
    let exchange = app.asked().await;
    assert_eq!(exchange.line(), "GET /feed/a?symbol=X HTTP/1.1");
    let mut names: Vec<String> = exchange
        .head
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
        .collect();
    names.sort();
    let expected = [
        "accept",
        "accept-encoding",
        "cache-control",
        "cookie",
        "host",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    assert_eq!(names, expected);
    for (name, value) in [
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("host", "shop.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(exchange.field(name), Some(value), "{name}");
    }
}

/// The address of one says nothing about the others who share.
#[tokio::test]
async fn no_address_is_sent_for_a_channel_without_identity() {
    let app = App::start().await;
    for settings in ["share: public", ""] {
        let side = Side::start(app.port(), settings);
        let mut ask = get("/feed/a");
        if settings == "share: public" {
            ask = ask.with("Cookie", "s=1");
        }
        let _pending = h1_pending(side.plain(), &ask).await;
        assert_eq!(
            app.asked().await.field("x-forwarded-for"),
            None,
            "{settings}"
        );
    }
}
