//! Routes that say themselves which pages of other origins may read.

use crate::rig::{
    Side,
    app::App,
    reader::{Ask, H2, Reader, event_source, get, h1, h1_pending},
};

const CORS: &str = "share: public\n\
     cors: { origins: ['https://a.example', 'https://*.b.example'], credentials: true }";

/// A head whose word on CORS is not the route's.
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nVary: Accept\r\n\
     Access-Control-Allow-Origin: https://app.says\r\nAccess-Control-Expose-Headers: x\r\n\
     Transfer-Encoding: chunked\r\n\r\n";

async fn both(side: &Side, ask: &Ask) -> [Reader; 2] {
    let connection = H2::connect(side.plain()).await;
    [h1(side.plain(), ask).await, connection.ask(ask).await]
}

fn lines(reader: &Reader) -> [Option<&str>; 2] {
    [
        "access-control-allow-origin",
        "access-control-allow-credentials",
    ]
    .map(|n| reader.header(n))
}

#[tokio::test]
async fn clients_of_all_origins_share_and_each_may_read_its_own() {
    let app = App::start().await;
    let side = Side::start(app.port(), CORS);
    let from = |origin: &str| event_source("/feed/a").with("Origin", origin);
    let first = h1_pending(side.plain(), &from("https://a.example")).await;
    let mut exchange = app.asked().await;
    assert_eq!(exchange.field("origin"), None);
    exchange.send(HEAD).await;
    let mut readers = vec![(first.head().await, Some("https://a.example"))];
    for (ask, origin) in [
        (from("https://x.b.example"), Some("https://x.b.example")),
        (from("http://shop.example"), None),
        (event_source("/feed/a"), None),
    ] {
        let both = both(&side, &ask).await;
        readers.extend(both.map(|reader| (reader, origin)));
    }
    exchange.event("x").await;
    for (reader, origin) in &mut readers {
        assert_eq!(reader.status, 200);
        assert_eq!(lines(reader), [*origin, origin.map(|_| "true")]);
        assert_eq!(reader.header("access-control-expose-headers"), None);
        let varies: Vec<_> = reader.headers.get_all("vary").iter().collect();
        assert_eq!(varies, ["Accept", "Origin"]);
        assert_eq!(reader.data(1).await, ["x"]);
    }
    for reader in both(&side, &from("https://evil.example")).await {
        assert_eq!(reader.status, 403);
        assert_eq!(lines(&reader), [None, None]);
    }
    assert_eq!(side.metric("refused_total{reason=\"origin\"}"), 2);
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn a_preflight_about_a_stream_is_answered_here_and_others_by_the_app() {
    let app = App::start().await;
    let side = Side::start(app.port(), CORS);
    let about = |method: &str| {
        get("/feed/a")
            .method("OPTIONS")
            .with("Origin", "https://a.example")
            .with("Access-Control-Request-Method", method)
    };
    for reader in both(&side, &about("GET")).await {
        assert_eq!(reader.status, 204);
        assert_eq!(lines(&reader), [Some("https://a.example"), Some("true")]);
        assert_eq!(
            reader.header("access-control-allow-headers"),
            Some("cache-control, last-event-id")
        );
        assert_eq!(reader.header("access-control-max-age"), Some("600"));
    }
    assert_eq!(app.requests(), 0);
    let pending = h1_pending(side.plain(), &about("POST")).await;
    let mut exchange = app.asked().await;
    assert_eq!(exchange.line(), "OPTIONS /feed/a HTTP/1.1");
    exchange.send_answer("200 OK", "", b"").await;
    assert_eq!(pending.head().await.status, 200);
}

/// A page learns of a refusal, too: an answer that it may not read is a network error to it.
#[tokio::test]
async fn refused_and_shed_clients_get_the_routes_word() {
    let app = App::start().await;
    let side = Side::start(app.port(), &format!("{CORS}\nchannel_subscribers_max: 1"));
    let ask = get("/feed/a").with("Origin", "https://a.example");
    let refused = h1_pending(side.plain(), &ask).await;
    let exchange = app.asked().await;
    let theirs = "Access-Control-Allow-Origin: *\r\n";
    exchange.answer("410 Gone", theirs, b"gone").await;
    let refused = refused.head().await;
    assert_eq!(refused.status, 410);
    assert_eq!(lines(&refused), [Some("https://a.example"), Some("true")]);
    let first = h1_pending(side.plain(), &ask).await;
    let _stream = app.opens().await;
    let _first = first.head().await;
    for shed in both(&side, &ask).await {
        assert_eq!(shed.status, 503);
        assert_eq!(lines(&shed), [Some("https://a.example"), Some("true")]);
    }
}

#[tokio::test]
async fn everybodys_pages_may_read_without_credentials() {
    let app = App::start().await;
    let side = Side::start(app.port(), "cors: { origins: all }");
    let ask = get("/feed/a").with("Origin", "https://any.example");
    let first = h1_pending(side.plain(), &ask).await;
    let _stream = app.opens().await;
    let first = first.head().await;
    assert_eq!(lines(&first), [Some("*"), None]);
    assert_eq!(first.header("vary"), None);
    assert_eq!(
        lines(&h1(side.plain(), &get("/feed/a")).await),
        [None, None]
    );
    assert_eq!(app.requests(), 1);
}
