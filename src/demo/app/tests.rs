use super::*;
use crate::demo::testing::{Client, eventually, request};

async fn app() -> App {
    App::start(([127, 0, 0, 1], 0).into(), 7).await.unwrap()
}

fn used(app: &App, kind: Kind) -> (usize, u64) {
    let streams = app.streams();
    let stream = streams.iter().find(|stream| stream.kind == kind).unwrap();
    (stream.open, stream.opened)
}

#[tokio::test]
async fn a_stream_looks_like_that_of_nestjs() {
    let app = app().await;
    let mut client = Client::get(app.address(), "/any/stream").await;
    client.until("data: {\"msg\":\"aaa\"}\n\n").await;
    let head = client.received.to_lowercase();
    for line in [
        "content-type: text/event-stream\r\n",
        "cache-control: private, no-cache, no-store, must-revalidate, max-age=0, no-transform\r\n",
        "x-accel-buffering: no\r\n",
        "transfer-encoding: chunked\r\n",
        "\r\nid: 1\ndata: {\"msg\":\"aaa\"}\n\n",
    ] {
        assert!(head.contains(line), "{line:?} in {head:?}");
    }
}

#[tokio::test]
async fn ids_begin_at_1_on_every_connection_whatever_the_client_knows() {
    let app = app().await;
    for _ in 0..2 {
        let extra = "last-event-id: 41\r\n";
        let mut client = Client::send(app.address(), "GET /demo/ticker", extra).await;
        client.until("id: 2\n").await;
        assert_eq!(client.received.matches("id: 1\n").count(), 1);
    }
}

#[tokio::test]
async fn streams_are_counted_while_they_are_open() {
    let app = app().await;
    let mut first = Client::get(app.address(), "/a/stream").await;
    let mut second = Client::get(app.address(), "/b/stream").await;
    first.until("aaa").await;
    second.until("aaa").await;
    assert_eq!(used(&app, Kind::Tutorial), (2, 2));
    assert_eq!(used(&app, Kind::Log), (0, 0));
    drop(first);
    eventually("one stream left", || used(&app, Kind::Tutorial) == (1, 2)).await;
}

#[tokio::test]
async fn a_chat_ends_with_the_last_chunk() {
    let app = app().await;
    let wire = request(app.address(), "GET /demo/chat?prompt=why%3F", "").await;
    assert!(wire.contains("event: done\nid: "), "{wire}");
    assert!(wire.contains("why?"), "{wire}");
    assert!(wire.ends_with("\r\n0\r\n\r\n"), "{wire}");
}

#[tokio::test]
async fn a_kill_cuts_every_stream_without_an_end_and_the_port_refuses() {
    let app = app().await;
    let mut client = Client::get(app.address(), "/xxx/stream").await;
    client.until("aaa").await;
    app.kill().await.unwrap();
    assert!(!app.is_up());
    assert!(!client.until_closed().await.contains("\r\n0\r\n"));
    assert_eq!(used(&app, Kind::Tutorial), (0, 1));
    let refused = tokio::net::TcpStream::connect(app.address()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn a_restart_serves_on_the_same_port_and_counts_on() {
    let app = app().await;
    for round in 1..=3 {
        let mut client = Client::get(app.address(), "/xxx/stream").await;
        client.until("id: 1\n").await;
        app.kill().await.unwrap();
        app.kill().await.unwrap();
        app.restart().await.unwrap();
        app.restart().await.unwrap();
        assert_eq!((app.starts(), app.is_up()), (round + 1, true));
        assert_eq!(used(&app, Kind::Tutorial).1, round);
    }
}

#[tokio::test]
async fn other_requests_are_answered() {
    let app = app().await;
    for (request_line, status) in [
        ("GET /", "200"),
        ("GET /nothing", "404"),
        ("POST /xxx/stream", "405"),
        ("HEAD /demo/log", "405"),
    ] {
        let wire = request(app.address(), request_line, "").await;
        assert!(
            wire.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request_line}: {wire}"
        );
    }
}
