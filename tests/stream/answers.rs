//! What the app answers is what the client gets, at once and byte for byte.

use crate::{
    reader::{Answer, BOTH, CHAT, FETCH, Next, Over, ask, counted, http1, http1_answer},
    rig::{Rig, Settings, app::App, client::Client, permits::Permits},
};

/// Everything that a parser may treat in its own way.
const PIECES: [&str; 5] = [
    ": hello\n",
    "retry: 700\nid: 1\nevent: token\ndata: a\n\n",
    "data: b\r\ndata: c\r\n\r\n",
    "id\ndata",
    ":d\n\ndata: [DONE]\n\n",
];

/// An app that streams [`PIECES`], one for each permit, after it has read the body.
async fn app(permits: &Permits) -> App {
    App::sharing(permits, |mut conn, permits| async move {
        while let Some(head) = conn.head().await {
            let body = conn.body_of(&head).await;
            let expected = if head.starts_with("POST") {
                CHAT.body
            } else {
                b""
            };
            assert_eq!(body, expected);
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Cache-Control: no-cache\r\nSet-Cookie: a=1\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            )
            .await;
            for piece in PIECES {
                permits.take().await;
                conn.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
            }
            conn.send("0\r\n\r\n").await;
        }
    })
    .await
}

async fn read(answer: &mut Answer, permits: &Permits) {
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
        ("set-cookie", "a=1"),
    ] {
        assert_eq!(answer.field(name), value, "{name}");
    }
    for piece in PIECES {
        permits.give(1);
        answer.expect(piece).await;
    }
    assert_eq!(answer.next().await, Next::End);
}

#[tokio::test]
async fn events_pass_as_they_come_and_as_they_are() {
    let permits = Permits::new();
    let app = app(&permits).await;
    let rig = Rig::start(&app.address);
    let mut streams = 0;
    for over in BOTH {
        for request in [CHAT, FETCH] {
            let mut answer = ask(&rig, over, request).await;
            let gauge = format!(
                "subscribers{{route=\"stream-rest\",protocol=\"{}\"}} 1",
                over.label()
            );
            counted(&rig, &gauge).await;
            read(&mut answer, &permits).await;
            streams += 1;
            if over == Over::Http1 {
                let mut client = answer.into_client();
                client.send(http1(CHAT)).await;
                read(&mut http1_answer(client).await, &permits).await;
                streams += 1;
            }
        }
    }
    let ended = format!("ended_total{{route=\"stream-rest\",reason=\"upstream_ended\"}} {streams}");
    counted(&rig, &ended).await;
    assert_eq!(app.connections(), streams, "one connection for each");
}

#[tokio::test]
async fn the_app_sees_the_request_as_it_was() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let answer = client
        .request(
            "DELETE /stream/mcp?a=%20b HTTP/1.1\r\nHost: shop.example\r\nMcp-Session-Id: s\r\n\
             Last-Event-ID: 7\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip\r\n\
             Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n",
        )
        .await;
    let seen = answer.text();
    assert!(
        seen.starts_with("DELETE /stream/mcp?a=%20b HTTP/1.1\r\n"),
        "{seen}"
    );
    for line in [
        "Host: shop.example",
        "Mcp-Session-Id: s",
        "Last-Event-ID: 7",
        "Accept-Encoding: identity",
        "X-Forwarded-For: 127.0.0.1",
    ] {
        let line = format!("\r\n{line}\r\n").to_ascii_lowercase();
        assert!(seen.to_ascii_lowercase().contains(&line), "{line}: {seen}");
    }
    assert!(!seen.contains("X-Hop"), "{seen}");
}

#[tokio::test]
async fn other_answers_pass_and_keep_the_connection() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            conn.body_of(&head).await;
            match head.split(' ').nth(1).unwrap() {
                "/stream/json" => conn.answer(200, "Content-Type: application/json\r\n", b"{}").await,
                "/stream/accepted" => conn.answer(202, "", b"").await,
                "/stream/none" => conn.send("HTTP/1.1 204 No Content\r\n\r\n").await,
                "/stream/chunked" => {
                    conn.send("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").await;
                }
                "/stream/close" => {
                    conn.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
                    return;
                }
                _ => conn.answer(404, "Content-Type: text/event-stream\r\n", b"data: no\n\n").await,
            }
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    for method in ["GET", "POST"] {
        for (path, status, body) in [
            ("json", 200, "{}"),
            ("accepted", 202, ""),
            ("none", 204, ""),
            ("missing", 404, "data: no\n\n"),
            ("chunked", 201, "a"),
            ("close", 200, "until the end"),
        ] {
            let case = format!("{method} {path}");
            let head =
                format!("{method} /stream/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            client.send(&head).await;
            let answer = client.response_to(method).await.expect("a response");
            assert_eq!(answer.status, status, "{case}");
            assert_eq!(answer.text(), body, "{case}");
            assert_eq!(answer.field("connection"), Some("keep-alive"), "{case}");
        }
    }
    assert!(
        rig.metrics()
            .render()
            .contains("subscribers_started_total{route=\"stream-rest\",protocol=\"h1\"} 0")
    );
}

#[tokio::test]
async fn http10_gets_its_stream_without_chunks() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n",
        )
        .await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let answer = client
        .request("GET /stream/a HTTP/1.0\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.text(), "data: a\n\n");
}

#[tokio::test]
async fn above_the_cap_clients_are_turned_away_in_their_own_form() {
    let permits = Permits::new();
    let app = app(&permits).await;
    let settings = Settings {
        limits: &["subscribers_max: 1"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    let mut first = ask(&rig, Over::Http1, CHAT).await;
    for over in BOTH {
        let answer = ask(&rig, over, CHAT).await;
        assert_eq!(answer.status, 503, "{over:?}");
        assert!(!answer.field("retry-after").is_empty(), "{over:?}");
        let answer = ask(&rig, over, crate::reader::EVENT_SOURCE).await;
        assert_eq!(answer.status, 200, "{over:?}");
        assert_eq!(answer.field("content-type"), "text/event-stream");
    }
    assert_eq!(app.connections(), 1, "the app was not asked");
    read(&mut first, &permits).await;
}
