//! Bodies up and down, pipelining, and protocol switches.

use crate::rig::{
    Rig,
    app::App,
    client::{Client, tls},
    large,
};

#[tokio::test]
async fn ten_mebibytes_each_way() {
    let app = App::mirror().await;
    let rig = Rig::start(&app.address);
    let body = large();
    let mut client = Client::connect(rig.plain()).await;
    let answer = client.post("/up", &body).await;
    assert!(answer.body == body, "plain");

    let mut client = Client::new(tls(rig.tls(), &rig.certificate(), &["http/1.1"]).await);
    let answer = client.post("/up", &body).await;
    assert!(answer.body == body, "TLS");
}

#[tokio::test]
async fn chunked_bodies_pass_in_both_directions() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            assert!(
                head.to_ascii_lowercase()
                    .contains("transfer-encoding: chunked"),
                "{head}"
            );
            let body = conn.body_of(&head).await;
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            for piece in body.chunks(5) {
                conn.send(format!("{:x}\r\n", piece.len())).await;
                conn.send([piece, b"\r\n"].concat()).await;
            }
            conn.send("0\r\n\r\n").await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    for _ in 0..2 {
        client
            .send(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3;x=y\r\nabc\r\n00A\r\n0123456789\r\n",
            )
            .await;
        client.send("0\r\nX-Trailer: 1\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "abc0123456789");
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_broken_chunk_ends_the_connection() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n")
        .await;
    client
        .try_send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let answer = client.response().await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(client.rest().await.is_empty());
    assert!(!app.heads().concat().contains("smuggled"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
                    POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    2\r\nde\r\n0\r\n\r\n\
                    GET /4 HTTP/1.1\r\nHost: a\r\n\r\n";
    // In one piece, and in pieces that come while an earlier request is being answered.
    for piece in [requests.len(), 1, 7, 64] {
        for part in requests.as_bytes().chunks(piece) {
            client.send(part).await;
        }
        for (target, end) in [
            ("/1", "\r\n\r\n"),
            ("/2", "abc"),
            ("/3", "de"),
            ("/4", "\r\n\r\n"),
        ] {
            let text = client.response().await.text();
            assert!(
                text.split(' ').nth(1) == Some(target) && text.ends_with(end),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_behind_a_request_is_checked_like_any_other() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 400);
    assert!(client.rest().await.is_empty());
    assert_eq!(app.heads().len(), 1);
}

#[tokio::test]
async fn expect_continue_waits_for_the_app() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        assert!(
            head.to_ascii_lowercase().contains("expect: 100-continue"),
            "{head}"
        );
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = conn.body_of(&head).await;
        conn.answer(200, "", &body).await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let first = client.head().await.unwrap();
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    client.send("ok").await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn early_hints_are_forwarded() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
            .await;
        conn.answer(200, "", b"page").await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hints = client.head().await.unwrap();
    assert!(
        hints.starts_with("HTTP/1.1 103 ") && hints.contains("/a.css"),
        "{hints}"
    );
    assert_eq!(client.response().await.text(), "page");
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                         Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nhello";

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        conn.send(SWITCHED).await;
        loop {
            let bytes = conn.some().await;
            if bytes.is_empty() {
                return;
            }
            conn.send(bytes.to_ascii_uppercase()).await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    // A hasty client's first frame waits until the app has agreed.
    client.send(format!("{HANDSHAKE}early ")).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("upgrade: websocket"),
        "{head}"
    );
    client.expect("hello").await;
    client.expect("EARLY ").await;
    for text in ["one", "GET / HTTP/1.1\r\n\r\n", "two"] {
        client.send(text).await;
        client.expect(&text.to_ascii_uppercase()).await;
    }
}

#[tokio::test]
async fn a_websocket_that_breaks_off_carries_not_a_byte_of_ours() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send(SWITCHED).await;
        assert_eq!(conn.some().await, b"go");
        conn.reset();
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client.send(HANDSHAKE).await;
    client.head().await.unwrap();
    client.expect("hello").await;
    client.send("go").await;
    assert_eq!(String::from_utf8_lossy(&client.rest().await), "");
    assert_eq!(app.heads().len(), 1, "nor is it asked for again");
}

#[tokio::test]
async fn the_last_frames_of_an_app_are_not_lost_by_what_crosses_them() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send(SWITCHED).await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client.send(HANDSHAKE).await;
    client.head().await.unwrap();
    // The app is gone; what is left is between the client and us.
    rig.until_metric("app_connections{upstream=\"app\"}", 0)
        .await;
    client.send(vec![b'x'; 64 << 10]).await;
    client.expect("hello").await;
    assert_eq!(client.try_sip(1).await.unwrap(), 0, "a clean end");
    // What it still sends must not meet a reset, which elsewhere takes unread frames with it.
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..20 {
        pace.tick().await;
        client.send("x").await;
    }
}

#[tokio::test]
async fn a_refused_websocket_leaves_an_ordinary_connection() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let status = if head.contains("/ws") { 403 } else { 200 };
            conn.answer(status, "", b"x").await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send(format!("{HANDSHAKE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_eq!(client.response().await.status, 403);
    assert_eq!(client.response().await.status, 200);
}
