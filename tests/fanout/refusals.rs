//! Answers of the app that are no event stream.

use tokio::task::JoinHandle;

use crate::rig::{
    Settings, Side,
    app::{App, Exchange},
    opened, opened_by,
    reader::{End, H2, Pending, Reader, event_source, get, h1_pending},
    wire::Item,
};

struct Refusal {
    status: &'static str,
    fields: &'static str,
    body: &'static str,
    kept: &'static [(&'static str, &'static str)],
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        status: "204 No Content",
        fields: "",
        body: "",
        kept: &[],
    },
    Refusal {
        status: "401 Unauthorized",
        fields: "Content-Type: application/json\r\nWWW-Authenticate: Bearer\r\n",
        body: "{\"error\":\"who are you?\"}",
        kept: &[
            ("content-type", "application/json"),
            ("www-authenticate", "Bearer"),
        ],
    },
    Refusal {
        status: "503 Service Unavailable",
        fields: "Retry-After: 7\r\n",
        body: "later",
        kept: &[("retry-after", "7")],
    },
    Refusal {
        status: "302 Found",
        fields: "Location: /login?from=/feed/a\r\n",
        body: "",
        kept: &[("location", "/login?from=/feed/a")],
    },
    Refusal {
        status: "200 OK",
        fields: "Content-Type: text/html\r\n",
        body: "<html>",
        kept: &[("content-type", "text/html")],
    },
    Refusal {
        status: "200 OK",
        fields: "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n",
        body: "\u{1f}...",
        kept: &[
            ("content-type", "text/event-stream"),
            ("content-encoding", "gzip"),
        ],
    },
];

#[tokio::test]
async fn a_refusal_goes_to_all_who_wait_and_is_never_kept() {
    for refusal in REFUSALS {
        let app = App::start().await;
        let side = Side::start(app.port(), "share: public");
        let h2 = H2::connect(side.plain()).await;
        let mut over_h1 = Vec::new();
        for _ in 0..3 {
            over_h1.push(h1_pending(side.plain(), &get("/feed/a")).await);
        }
        over_h1.push(h1_pending(side.plain(), &event_source("/feed/a")).await);
        let over_h2 = tokio::spawn({
            let h2 = h2.clone();
            async move { h2.ask(&get("/feed/a")).await }
        });
        let exchange = app.asked().await;
        side.until_members(5).await;
        let fields = format!("{}Set-Cookie: s=1\r\n", refusal.fields);
        exchange
            .answer(refusal.status, &fields, refusal.body.as_bytes())
            .await;
        let mut answers = vec![over_h2.await.unwrap()];
        for pending in over_h1 {
            answers.push(pending.head().await);
        }
        for mut answer in answers {
            let status: u16 = refusal.status[..3].parse().unwrap();
            assert_eq!(answer.status, status);
            for (name, value) in refusal.kept {
                assert_eq!(answer.header(name), Some(*value), "{status} {name}");
            }
            assert_eq!(answer.header("set-cookie"), None, "{status}");
            assert_eq!(answer.body().await, refusal.body.as_bytes(), "{status}");
        }
        assert_eq!(app.requests(), 1, "{}", refusal.status);
        side.until_empty().await;

        let (mut exchange, mut next) = opened_by(&side, &app, &get("/feed/a")).await;
        exchange.event("x").await;
        assert_eq!(next.data(1).await, ["x"], "{}", refusal.status);
    }
}

/// More than is kept of a refusal.
const LONG: &[u8] = &[b'x'; (64 << 10) + 1];

/// A client over each protocol whom the app has refused at too great length, and the requests that
/// each then makes for itself.
async fn asked_by_each(side: &Side, app: &App) -> (Pending, JoinHandle<Reader>, [Exchange; 2]) {
    let h2 = H2::connect(side.plain()).await;
    let over_h1 = h1_pending(side.plain(), &get("/feed/a")).await;
    let over_h2 = tokio::spawn(async move { h2.ask(&get("/feed/a")).await });
    let shared = app.asked().await;
    side.until_members(2).await;
    shared.answer("404 Not Found", "", LONG).await;
    (over_h1, over_h2, [app.asked().await, app.asked().await])
}

/// What is too long to keep runs as pass-through: each client that waited asks for itself, and gets
/// its own `Set-Cookie` with the whole body.
#[tokio::test]
async fn a_refusal_that_is_too_long_to_share_is_asked_for_by_each() {
    for (status, seen) in [("302 Found", 302), ("404 Not Found", 404), ("200 OK", 200)] {
        let app = App::start().await;
        let side = Side::start(app.port(), "share: public");
        let h2 = H2::connect(side.plain()).await;
        // Read as it comes: an HTTP/2 client's window is smaller than the body.
        let over_h1 = h1_pending(side.plain(), &get("/feed/a")).await;
        let over_h1 = tokio::spawn(async move {
            let mut answer = over_h1.head().await;
            let body = answer.body().await;
            (answer, body)
        });
        let over_h2 = tokio::spawn(async move {
            let mut answer = h2.ask(&event_source("/feed/a")).await;
            let body = answer.body().await;
            (answer, body)
        });
        let shared = app.asked().await;
        side.until_members(2).await;
        let fields = "Content-Type: text/html\r\nLocation: /login\r\nSet-Cookie: s=1\r\n";
        shared.answer(status, fields, LONG).await;
        for _ in 0..2 {
            app.asked().await.answer(status, fields, LONG).await;
        }
        for (answer, body) in [over_h1.await.unwrap(), over_h2.await.unwrap()] {
            assert_eq!(answer.status, seen);
            assert_eq!(answer.header("location"), Some("/login"));
            assert_eq!(answer.header("content-type"), Some("text/html"));
            assert_eq!(answer.header("set-cookie"), Some("s=1"));
            assert_eq!(body, LONG, "{status}");
        }
        assert_eq!(app.requests(), 3);
        side.until_empty().await;
    }
}

/// The app streams by the time the client asks for itself: the stream goes by way of a channel.
#[tokio::test]
async fn a_long_refusal_whose_app_recovered_sends_its_clients_back_to_the_channel() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    app.asked().await.answer("500 Oh", "", LONG).await;
    let mut exchange = app.opens().await;
    let answer = pending.head().await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    exchange.closed().await;
}

/// An answer without a body has no framing of one either, and one with a length keeps it.
#[tokio::test]
async fn a_long_refusal_that_became_short_is_framed_as_the_app_framed_it() {
    for (second, status, length, body) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, None, ""),
        (
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
            304,
            None,
            "",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nbody",
            404,
            Some("4"),
            "body",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            404,
            None,
            "body",
        ),
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), "share: public");
        let (over_h1, over_h2, mut exchanges) = asked_by_each(&side, &app).await;
        for exchange in &mut exchanges {
            exchange.send(second).await;
        }
        let (over_h1, over_h2) = (over_h1.head().await, over_h2.await.unwrap());
        let is_chunked = over_h1.header("transfer-encoding").is_some();
        assert_eq!(is_chunked, length.is_none() && !body.is_empty(), "{second}");
        for mut answer in [over_h1, over_h2] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("content-length"), length, "{second}");
            assert_eq!(answer.body().await, body.as_bytes(), "{second}");
        }
        let class = format!("{}xx", status / 100);
        let counter = format!("passthrough_requests_total{{route=\"feed\",status=\"{class}\"}}");
        side.until_metric(&counter, 2).await;
        side.until_empty().await;
    }
}

/// Who leaves while the app is asked for it takes its request along: before the head, and while
/// the app is silent in the middle of the body.
#[tokio::test]
async fn a_client_that_leaves_cancels_its_own_exchange() {
    for begun in [
        "",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nbody",
    ] {
        let app = App::start().await;
        let side = Side::start(app.port(), "share: public");
        let (over_h1, over_h2, mut exchanges) = asked_by_each(&side, &app).await;
        for exchange in &mut exchanges {
            exchange.send(begun).await;
        }
        if begun.is_empty() {
            drop(over_h1);
            over_h2.abort();
        } else {
            drop((over_h1.head().await, over_h2.await.unwrap()));
        }
        for exchange in &mut exchanges {
            exchange.closed().await;
        }
        side.until_empty().await;
    }
}

/// The app is gone when the client asks for itself: an answer of ours.
#[tokio::test]
async fn a_long_refusal_whose_app_dies_is_a_bad_gateway() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    app.asked().await.answer("404 Not Found", "", LONG).await;
    app.asked().await.reset();
    let answer = pending.head().await;
    assert_eq!(answer.status, 502);
    side.until_empty().await;
}

/// The line for a connection is as long as `open_wait`, as it is for channels: who stands in it until
/// then is turned away, and not told that the app was silent.
#[tokio::test]
async fn who_gets_no_connection_of_its_own_in_time_is_turned_away() {
    let app = App::start().await;
    let settings = Settings {
        upstream: "connections_max: 1",
        fanout: "share: public\nopen_wait: 300ms",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut pending = Vec::new();
    for _ in 0..2 {
        pending.push(h1_pending(side.plain(), &get("/feed/a")).await);
    }
    let shared = app.asked().await;
    side.until_members(2).await;
    shared.answer("404 Not Found", "", LONG).await;
    let (second, first) = (pending.pop().unwrap(), pending.pop().unwrap());
    let (mut first, mut second) = (tokio::spawn(first.head()), tokio::spawn(second.head()));
    let exchange = app.asked().await;
    let (turned_away, served) = tokio::select! {
        answer = &mut first => (answer.unwrap(), second),
        answer = &mut second => (answer.unwrap(), first),
    };
    assert_eq!(turned_away.status, 503);
    assert!(turned_away.header("retry-after").is_some());
    exchange.answer("404 Not Found", "", b"short").await;
    assert_eq!(served.await.unwrap().status, 404);
}

#[tokio::test]
async fn a_refusal_of_64_kib_is_whole() {
    let body = vec![b'x'; 64 << 10];
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    app.asked().await.answer("404 Not Found", "", &body).await;
    let mut answer = pending.head().await;
    assert_eq!((answer.status, answer.body().await), (404, body));
}

/// Readers that have their stream are told to come back; the next one meets the real answer.
#[tokio::test]
async fn a_refusal_on_reconnect_ends_the_channel() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let h2 = H2::connect(side.plain()).await;
    let mut library = h2.ask(&get("/feed/a")).await;
    exchange.event("x").await;
    assert_eq!(page.data(1).await, ["x"]);
    assert_eq!(library.data(1).await, ["x"]);
    exchange.reset();
    app.asked().await.answer("403 Forbidden", "", b"no").await;
    let (items, end) = page.rest().await;
    assert!(matches!(items[..], [Item::Retry(_)]), "{items:?}");
    assert_eq!(end, End::Complete);
    assert_eq!(library.end().await, End::Cut);
    let next = h1_pending(side.plain(), &get("/feed/a")).await;
    app.asked().await.answer("403 Forbidden", "", b"no").await;
    assert_eq!(next.head().await.status, 403);
    side.until_metric(
        "subscribers_ended_total{route=\"feed\",reason=\"upstream_refused\"}",
        2,
    )
    .await;
    side.until_empty().await;
}

/// What says "later" on a reconnect is waited out, and readers do not notice.
#[tokio::test]
async fn an_app_that_says_later_on_reconnect_is_asked_again() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (exchange, mut reader) = opened(&side, &app).await;
    exchange.reset();
    for status in [
        "503 Service Unavailable",
        "429 Too Many Requests",
        "502 Bad Gateway",
    ] {
        app.asked().await.answer(status, "", b"").await;
    }
    let mut exchange = app.opens().await;
    exchange.event("x").await;
    assert!(reader.event().await.is_gap());
    assert_eq!(reader.data(1).await, ["x"]);
}
