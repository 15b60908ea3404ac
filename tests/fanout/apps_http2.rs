//! Apps that speak HTTP/2: many channels on one connection, and each of their ends.

use std::collections::HashMap;

use h2::Reason;
use http::StatusCode;

use crate::{
    base::{
        client,
        h2app::{Answer, Exchange, H2App},
    },
    rig::{
        Settings, Side,
        app::App,
        make_certificate,
        reader::{Ask, End, H2, Reader, event_source, get, h1},
        soon, until,
    },
};

const CHANNELS: usize = 200;
const SHARED: &str = "app_shared_connections{upstream=\"app\"}";
const PLACES: &str = "app_connections{upstream=\"app\"}";

fn before(app: &H2App, fanout: &str) -> Side {
    let settings = Settings {
        fanout,
        upstream: "http: 2",
        ..Settings::default()
    };
    Side::with(app.port(), &settings)
}

/// Sends a request for a stream, which the app has yet to answer.
fn asking(connection: &H2, ask: Ask) -> tokio::task::JoinHandle<Reader> {
    let connection = connection.clone();
    tokio::spawn(async move { connection.ask(&ask).await })
}

/// A client that reads one channel, and the app's side of it.
async fn opened(app: &H2App, connection: &H2, target: &str) -> (Answer, Reader) {
    let pending = asking(connection, event_source(target));
    let answer = app.opens().await;
    (answer, soon("a head", pending).await.unwrap())
}

/// Clients on one connection, so on one thread, and the app's side of each.
async fn many(app: &H2App, connection: &H2, count: usize) -> Vec<(Answer, Reader)> {
    let targets = (0..count).map(|n| format!("/feed/{n}"));
    let asked: Vec<_> = targets
        .map(|t| (t.clone(), asking(connection, event_source(&t))))
        .collect();
    let mut answers = HashMap::new();
    for _ in 0..count {
        let exchange = app.asked().await;
        answers.insert(exchange.head.uri.path().to_owned(), exchange.open());
    }
    let mut all = Vec::new();
    for (target, pending) in asked {
        let reader = soon("a head", pending).await.unwrap();
        all.push((answers.remove(&target).unwrap(), reader));
    }
    all
}

#[tokio::test]
async fn two_hundred_channels_share_one_connection_and_none_the_others_end() {
    let app = H2App::start().await;
    let side = before(&app, "linger: 0s");
    // Room for what nobody reads while all of them open.
    let mut windows = h2::client::Builder::new();
    windows.initial_connection_window_size(16 << 20);
    let connection = H2::over(client::tcp(side.plain()).await, windows).await;
    let mut all = many(&app, &connection, CHANNELS).await;
    assert_eq!(app.connections(), 1);
    assert_eq!(side.metric(SHARED), 1);
    assert_eq!(
        side.metric(PLACES),
        CHANNELS as i64,
        "a stream takes a place each"
    );
    for (n, (answer, _)) in all.iter_mut().enumerate() {
        answer.event(&n.to_string()).await;
    }
    for (n, (_, reader)) in all.iter_mut().enumerate() {
        assert_eq!(reader.data(1).await, [n.to_string()]);
    }
    // One ends, one is reset, and one is left by its client: the others notice nothing.
    let (ends, mut reader) = all.pop().unwrap();
    ends.finish();
    assert_eq!(reader.end().await, End::Complete);
    let (ends, mut reader) = all.pop().unwrap();
    ends.finish_with("x-checksum", "7");
    assert_eq!(reader.end().await, End::Complete, "trailers are an end");
    let (broken, mut revived) = all.pop().unwrap();
    broken.reset(Reason::INTERNAL_ERROR);
    let mut again = app.opens().await;
    assert!(revived.event().await.is_gap());
    again.event("again").await;
    assert_eq!(revived.data(1).await, ["again"]);
    let (mut left, reader) = all.pop().unwrap();
    drop(reader);
    assert_eq!(left.cancelled().await, Reason::CANCEL);
    for (answer, reader) in &mut all {
        answer.event("still here").await;
        assert_eq!(reader.data(1).await, ["still here"]);
    }
    assert_eq!(app.connections(), 1, "for all of that");
    drop((all, revived, connection));
    side.until_metric(SHARED, 0).await;
    side.until_metric(PLACES, 0).await;
}

#[derive(Debug, Clone, Copy)]
enum Break {
    Reset,
    Goaway,
    Close,
}

#[tokio::test]
async fn whatever_breaks_a_stream_it_is_opened_again_behind_a_gap() {
    for way in [Break::Reset, Break::Goaway, Break::Close] {
        let app = H2App::start().await;
        let side = before(&app, "");
        let connection = H2::connect(side.plain()).await;
        let (mut answer, mut reader) = opened(&app, &connection, "/feed/a").await;
        answer.event("before").await;
        assert_eq!(reader.data(1).await, ["before"]);
        match way {
            // By the code that some servers take when an app just closes: without END_STREAM it is
            // no end.
            Break::Reset => answer.reset(Reason::NO_ERROR),
            Break::Goaway => answer.abort().await,
            Break::Close => answer.vanish().await,
        }
        let mut answer = app.opens().await;
        assert!(reader.event().await.is_gap(), "{way:?}");
        answer.event("after").await;
        assert_eq!(reader.data(1).await, ["after"], "{way:?}");
        let cuts = "upstream_cuts_total{route=\"feed\",reason=\"truncated\"}";
        assert_eq!(side.metric(cuts), 1, "{way:?}");
    }
}

#[tokio::test]
async fn an_app_that_leaves_keeps_its_streams_and_gets_no_more() {
    let app = H2App::start().await;
    let side = before(&app, "");
    let connection = H2::connect(side.plain()).await;
    let (mut first, mut reader) = opened(&app, &connection, "/feed/a").await;
    first.leave().await;
    first.event("while leaving").await;
    assert_eq!(reader.data(1).await, ["while leaving"]);
    let (mut second, mut other) = opened(&app, &connection, "/feed/b").await;
    second.event("elsewhere").await;
    assert_eq!(other.data(1).await, ["elsewhere"]);
    assert_eq!(app.connections(), 2);
    first.event("still there").await;
    assert_eq!(reader.data(1).await, ["still there"]);
    first.finish();
    assert_eq!(reader.end().await, End::Complete);
    side.until_metric(SHARED, 1).await;
}

/// The h2 crate queues what is over the app's limit behind the streams that are open, which is for
/// ever.
#[tokio::test]
async fn an_app_gets_no_more_streams_on_a_connection_than_it_takes() {
    for (limit, connections) in [(1, 12), (5, 3)] {
        let mut settings = h2::server::Builder::new();
        settings.max_concurrent_streams(limit);
        let app = H2App::with_settings(settings).await;
        let side = before(&app, "");
        let connection = H2::connect(side.plain()).await;
        let mut all = many(&app, &connection, 12).await;
        assert_eq!(app.connections(), connections, "limit {limit}");
        for (answer, reader) in &mut all {
            answer.event("a").await;
            assert_eq!(reader.data(1).await, ["a"]);
        }
    }
}

#[tokio::test]
async fn a_request_looks_as_http2_wants_it() {
    let app = H2App::start().await;
    for (host, authority) in [
        ("", "shop.example"),
        ("host: inner.example:81", "inner.example:81"),
    ] {
        let upstream = format!("http: 2, {host}");
        let settings = Settings {
            upstream: &upstream,
            ..Settings::default()
        };
        let side = Side::with(app.port(), &settings);
        let ask = event_source("/feed/a?b=%2f")
            .with("Cookie", "a=1; b=2")
            .with("Connection", "keep-alive")
            .with("Keep-Alive", "5");
        let address = side.plain();
        let pending = tokio::spawn(async move { h1(address, &ask).await });
        let exchange = app.asked().await;
        assert_eq!(exchange.head.uri.authority().unwrap(), authority);
        assert_eq!(exchange.head.uri.scheme_str(), Some("http"));
        assert_eq!(exchange.head.uri.path_and_query().unwrap(), "/feed/a?b=%2f");
        assert_eq!(exchange.field("cookie"), Some("a=1; b=2"));
        assert_eq!(exchange.field("accept"), Some("text/event-stream"));
        assert_eq!(exchange.field("x-forwarded-host"), Some("shop.example"));
        for gone in [
            "host",
            "connection",
            "keep-alive",
            "transfer-encoding",
            "te",
        ] {
            assert_eq!(exchange.field(gone), None, "{gone}");
        }
        let mut answer = exchange.open();
        answer.event("a").await;
        assert_eq!(pending.await.unwrap().data(1).await, ["a"]);
    }
}

/// Answers a request with something that is no stream.
type Refuse = fn(Exchange);

#[tokio::test]
async fn what_is_no_stream_is_told_as_over_http1() {
    let cases: [(&str, Refuse, u16); 3] = [
        (
            "404",
            |exchange| exchange.end(StatusCode::NOT_FOUND, &[]),
            404,
        ),
        (
            "reset before its head",
            |exchange| exchange.refuse(Reason::INTERNAL_ERROR),
            502,
        ),
        (
            "a head beyond all bounds",
            |exchange| {
                let large = "x".repeat(30_000);
                let fields = ["a", "b", "c"].map(|name| (name, large.as_str()));
                exchange.end(StatusCode::OK, &fields);
            },
            502,
        ),
    ];
    for (case, refuse, status) in cases {
        let app = H2App::start().await;
        let side = before(&app, "open_wait: 100ms");
        let connection = H2::connect(side.plain()).await;
        let (mut answer, mut reader) = opened(&app, &connection, "/feed/other").await;
        let mut refused = asking(&connection, get("/feed/a"));
        let reader_of_refused = loop {
            tokio::select! {
                exchange = app.asked() => refuse(exchange),
                reader = &mut refused => break reader.unwrap(),
            }
        };
        assert_eq!(reader_of_refused.status, status, "{case}");
        // Whoever shares the connection has nothing to do with it.
        answer.event("a").await;
        assert_eq!(reader.data(1).await, ["a"], "{case}");
        assert_eq!(app.connections(), 1, "{case}");
    }
}

/// The app's word that it has not looked at a request: it is put again at once, elsewhere, and says
/// nothing against the app.
#[tokio::test]
async fn a_request_that_the_app_has_not_looked_at_is_put_again() {
    let app = H2App::start().await;
    let side = before(&app, "");
    let connection = H2::connect(side.plain()).await;
    let (mut answer, mut reader) = opened(&app, &connection, "/feed/other").await;
    let attempts_max = "app_attempts_max{upstream=\"app\"}";
    let before = side.metric(attempts_max);
    let pending = asking(&connection, event_source("/feed/a"));
    app.asked().await.refuse(Reason::REFUSED_STREAM);
    let mut again = app.opens().await;
    let mut second = soon("a head", pending).await.unwrap();
    again.event("again").await;
    assert_eq!(second.data(1).await, ["again"]);
    assert_eq!(app.connections(), 2);
    assert_eq!(side.metric(attempts_max), before);
    for (outcome, count) in [("opened", 2), ("no_head", 0)] {
        let connects = format!("upstream_connects_total{{route=\"feed\",outcome=\"{outcome}\"}}");
        assert_eq!(side.metric(&connects), count, "{outcome}");
    }
    // The one where it was turned away goes on.
    answer.event("undisturbed").await;
    assert_eq!(reader.data(1).await, ["undisturbed"]);
}

#[tokio::test]
async fn credentials_are_proved_again_on_the_same_connection() {
    let app = H2App::start().await;
    let side = before(&app, "reauth: 100ms");
    let connection = H2::connect(side.plain()).await;
    let ask = || get("/feed/a").with("Cookie", "session=a");
    let pending = asking(&connection, ask());
    let mut answer = app.opens().await;
    let mut first = pending.await.unwrap();
    answer.event("one").await;
    assert_eq!(first.data(1).await, ["one"]);
    // What is waited for is that time passes.
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    let pending = asking(&connection, ask());
    let proof = app.asked().await;
    assert_eq!(proof.field("cookie"), Some("session=a"));
    let mut proof = proof.open();
    let mut second = pending.await.unwrap();
    assert_eq!(
        proof.cancelled().await,
        Reason::CANCEL,
        "its head was enough"
    );
    answer.event("two").await;
    for reader in [&mut first, &mut second] {
        assert_eq!(reader.data(1).await, ["two"]);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_app_that_speaks_http1_only_is_none() {
    let app = App::start().await;
    let settings = Settings {
        fanout: "open_wait: 100ms",
        upstream: "http: 2",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let reader = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(reader.status, 502);
    let failed = "upstream_connects_total{route=\"feed\",outcome=\"unreachable\"}";
    until("it was tried", || side.metric(failed) > 0).await;
}

#[tokio::test]
async fn over_tls_the_app_picks_what_it_speaks() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    for (http, alpn, is_served) in [
        ("2", &["h2"][..], true),
        ("2", &["h2", "http/1.1"], true),
        ("2", &["http/1.1"], false),
        ("auto", &["h2"], true),
        ("auto", &["h2", "http/1.1"], true),
        ("1", &["h2"], false),
    ] {
        let case = format!("http: {http} before an app with {alpn:?}");
        let app = H2App::over_tls(folder.path(), alpn).await;
        let ca = folder.path().join("cert.pem");
        let side = Side::on(
            &format!("https://127.0.0.1:{}", app.port()),
            &Settings {
                // Who is not served waits for that long; who is may take it for a handshake.
                fanout: if is_served { "" } else { "open_wait: 1s" },
                upstream: &format!(
                    "http: {http}, tls: {{ ca: '{}', server_name: localhost }}",
                    ca.display()
                ),
                ..Settings::default()
            },
        );
        let connection = H2::connect(side.plain()).await;
        if !is_served {
            let reader = asking(&connection, get("/feed/a")).await.unwrap();
            assert_eq!(reader.status, 502, "{case}");
            assert!(app.is_unasked().await, "{case}");
            continue;
        }
        let mut all = many(&app, &connection, 3).await;
        for (answer, reader) in &mut all {
            answer.event("a").await;
            assert_eq!(reader.data(1).await, ["a"], "{case}");
        }
        assert_eq!((app.connections(), side.metric(SHARED)), (1, 1), "{case}");
    }
}
