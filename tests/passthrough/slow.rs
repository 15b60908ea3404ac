//! Clients that send or read too slowly, or leave too much behind them.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::interval,
};

use crate::rig::{
    Rig, Settings,
    app::App,
    client::Client,
    h2::{get, request},
    h2raw::{self, RawH2, frame},
    permits::Permits,
    soon, until,
};

const LENGTH: &str = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n";
const CHUNKED: &str = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An app that answers nothing, and counts the connections that it has seen closed.
async fn silent_app() -> (App, Permits) {
    let closed = Permits::new();
    let app = App::sharing(&closed, |mut conn, closed| async move {
        conn.head().await;
        conn.closed().await;
        closed.give(1);
    })
    .await;
    (app, closed)
}

async fn h2(rig: &Rig) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    soon("ready", send.ready()).await.unwrap()
}

#[tokio::test]
async fn a_body_that_stops_or_drips_is_answered_408() {
    let (app, closed) = silent_app().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["body_timeout: 300ms"],
            ..Settings::default()
        },
    );
    for head in [LENGTH, CHUNKED] {
        for drips in [false, true] {
            let mut client = Client::connect(rig.plain()).await;
            client.send(head).await;
            let mut pace = interval(Duration::from_millis(20));
            // Each byte comes in time, and all together at a fifth of the least rate. A chunk's size
            // may be this long, and so may its extension.
            let mut piece = "1;".bytes().chain(std::iter::repeat_n(b'x', 200));
            soon("the end of the drip", async {
                while drips && client.try_send(&[piece.next().unwrap()]).await {
                    pace.tick().await;
                }
            })
            .await;
            let answer = client.response().await;
            assert_eq!(answer.status, 408, "{}", answer.text());
            assert_eq!(answer.text(), "the request body did not arrive in time\n");
            assert!(client.rest().await.is_empty());
        }
    }
    for _ in 0..4 {
        closed.expect("the app to be rid of them").await;
    }
    assert_eq!(rig.metrics().slow_bodies.get(), 4);
}

#[tokio::test]
async fn a_slow_and_honest_body_passes() {
    let app = App::echo().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["body_timeout: 1s"],
            ..Settings::default()
        },
    );
    let mut client = Client::connect(rig.plain()).await;
    let mut sender = h2(&rig).await;
    client.send(LENGTH).await;
    let (answer, mut body) = sender.send_request(request("POST", "/up"), false).unwrap();
    // Twice as long as the longest silence, and far above the least rate.
    let mut pace = interval(Duration::from_millis(100));
    for n in 0..20 {
        pace.tick().await;
        client.send([b'x'; 100]).await;
        body.send_data(Bytes::from_static(&[b'x'; 100]), n == 19)
            .unwrap();
    }
    assert!(client.response().await.body.ends_with(&[b'x'; 2000]));
    assert_eq!(soon("answer", answer).await.unwrap().status(), 200);
    assert_eq!(rig.metrics().slow_bodies.get(), 0);
}

#[tokio::test]
async fn a_silent_body_on_http_2_resets_its_stream_and_no_other() {
    let (app, closed) = silent_app().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["body_timeout: 300ms"],
            upstream: &["write_timeout: 200ms"],
            ..Settings::default()
        },
    );
    let mut sender = h2(&rig).await;
    let (answer, mut body) = sender.send_request(request("POST", "/up"), false).unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    let (whole, _) = sender.send_request(get("/whole"), true).unwrap();
    let error = soon("the reset", answer).await.unwrap_err();
    assert!(error.is_reset(), "{error}");
    closed.expect("the app to be rid of it").await;
    assert_eq!(rig.metrics().slow_bodies.get(), 1);
    assert_eq!(closed.left(), 0, "the other one goes on");
    drop(whole);
    closed.expect("its end").await;
}

#[tokio::test]
async fn whoever_keeps_the_other_waiting_is_blamed() {
    let (app, _) = silent_app().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            upstream: &["read_timeout: 300ms"],
            ..Settings::default()
        },
    );
    let whole = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let websocket = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Key: x\r\n\r\n";
    for (request, status) in [
        (LENGTH, 408),
        (CHUNKED, 408),
        (whole, 504),
        (websocket, 504),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 504),
    ] {
        let mut client = Client::connect(rig.plain()).await;
        client.send(request).await;
        assert_eq!(client.response().await.status, status, "{request}");
    }
    let mut sender = h2(&rig).await;
    for (end, status) in [(false, 408), (true, 504)] {
        let (answer, _body) = sender.send_request(request("POST", "/"), end).unwrap();
        assert_eq!(soon("answer", answer).await.unwrap().status(), status);
    }
    assert_eq!(rig.metrics().slow_bodies.get(), 3);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        conn.send(vec![b'x'; 100_000_000]).await;
    })
    .await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["client_timeout: 1s", "tcp_send_buffer_bytes: 16KiB"],
            ..Settings::default()
        },
    );
    // All windows wide open: nothing but the socket holds the server back.
    let mut h2 = RawH2::connect(rig.plain(), &[(4, 0x7fff_ffff)]).await;
    h2.send(&frame(
        h2raw::WINDOW_UPDATE,
        0,
        0,
        &0x7fff_0000_u32.to_be_bytes(),
    ))
    .await;
    let head = h2raw::block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"a"),
    ]);
    for stream in [1, 3, 5] {
        let flags = h2raw::END_STREAM | h2raw::END_HEADERS;
        h2.send(&frame(h2raw::HEADERS, flags, stream, &head)).await;
    }
    let mut h1 = Client::connect(rig.plain()).await;
    h1.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("both to be served", || app.connections() == 4).await;
    until("both to be cut", || rig.connections() == 0).await;
}

#[tokio::test]
async fn more_pipelined_requests_than_are_held_are_all_answered() {
    const REQUESTS: usize = 100;
    let first = Permits::new();
    let app = App::sharing(&first, |mut conn, first| async move {
        let mut begun = false;
        while let Some(head) = conn.head().await {
            if !begun {
                first.take().await;
                begun = true;
            }
            let target = head.split(' ').nth(1).unwrap();
            conn.answer(200, "", target.as_bytes()).await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let filler = "x".repeat(1000);
    for n in 0..REQUESTS {
        client
            .send(format!(
                "GET /{n} HTTP/1.1\r\nHost: a\r\nX-Filler: {filler}\r\n\r\n"
            ))
            .await;
    }
    first.give(1);
    for n in 0..REQUESTS {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_behind_a_full_pipeline_is_noticed() {
    let (app, closed) = silent_app().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            upstream: &["read_timeout: 500ms"],
            ..Settings::default()
        },
    );
    let mut client = Client::connect(rig.plain()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.send(vec![b'x'; 64 << 10]).await;
    until("the app to be asked", || app.heads().len() == 1).await;
    drop(client);
    closed.expect("the app to be rid of it").await;
    until("the place to be free", || rig.connections() == 0).await;
}

#[tokio::test]
async fn an_answer_is_not_lost_by_what_the_client_sent_behind_its_request() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    for (request, status) in [
        // By the gate, by what decides, and by the app's will.
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /fan/a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            200,
        ),
    ] {
        let mut stream = TcpStream::connect(rig.plain()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 64 << 10]).await.unwrap();
        let mut answer = Vec::new();
        soon("the end", stream.read_to_end(&mut answer))
            .await
            .unwrap_or_else(|error| panic!("{request:?}: {error}"));
        // What it still sends must not meet a reset, which elsewhere takes unread answers with it.
        let mut pace = interval(Duration::from_millis(5));
        for _ in 0..20 {
            pace.tick().await;
            let sent = stream.write_all(b"x").await;
            sent.unwrap_or_else(|error| panic!("{request:?}: {error}"));
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}
