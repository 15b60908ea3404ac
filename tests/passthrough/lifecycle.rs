//! Connections: how many, how long, and how they end.

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, tls},
    h2::{H2, get, request},
    permits::Permits,
    soon, until,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const BY_H1: &str = "connections{protocol=\"h1\"}";

/// An app that needs a permit for each answer to a path that ends in `/slow`.
async fn slow_app(permits: &Permits) -> App {
    App::sharing(permits, |mut conn, permits| async move {
        while let Some(head) = conn.head().await {
            conn.body_of(&head).await;
            if head.contains("/slow ") {
                permits.take().await;
            }
            conn.answer(200, "", b"done").await;
        }
    })
    .await
}

#[tokio::test]
async fn connections_are_counted_and_given_back() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(rig.plain()).await;
        assert_eq!(client.request(GET).await.status, 200);
        clients.push(client);
    }
    assert_eq!(rig.connections(), 10);
    assert_eq!(rig.metric(BY_H1), 10);
    drop(clients);
    until("all to be gone", || rig.connections() == 0).await;
    rig.until_metric(BY_H1, 0).await;
}

#[tokio::test]
async fn above_the_cap_clients_are_told_so() {
    let app = App::echo().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["connections_max: 2"],
            ..Settings::default()
        },
    );
    let mut first = Client::connect(rig.plain()).await;
    let mut second = Client::connect(rig.plain()).await;
    assert_eq!(first.request(GET).await.status, 200);
    assert_eq!(second.request(GET).await.status, 200);
    // No 503: a native EventSource would never come back after one.
    for address in [rig.plain(), rig.tls()] {
        let mut third = TcpStream::connect(address).await.unwrap();
        let n = soon("close", tokio::io::AsyncReadExt::read(&mut third, &mut [0])).await;
        assert!(matches!(n, Ok(0) | Err(_)), "closed without a word");
    }
    let refused = "refused_total{reason=\"connections_max\"} 2";
    assert!(rig.metrics().render().contains(refused));
    drop(second);
    until("a place", || rig.connections() == 1).await;
    let mut fourth = Client::connect(rig.plain()).await;
    assert_eq!(fourth.request(GET).await.status, 200);
    assert_eq!(first.request(GET).await.status, 200, "nobody else noticed");
}

#[tokio::test]
async fn above_the_apps_connections_requests_are_told_to_come_back() {
    let permits = Permits::new();
    let app = slow_app(&permits).await;
    let rig = Rig::with(
        &app.address,
        Settings {
            upstream: &["connections_max: 3"],
            ..Settings::default()
        },
    );
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let client = H2::connect(stream).await;
    let hanging: Vec<_> = ["/slow", "/stream/slow", "/slow"]
        .into_iter()
        .map(|target| {
            let (mut client, body) = (client.clone(), [Bytes::from_static(b"hi")]);
            tokio::spawn(async move { client.request(request("POST", target), &body).await })
        })
        .collect();
    until("all to reach the app", || app.heads().len() == 3).await;

    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for head in [GET, post] {
        let mut other = Client::connect(rig.plain()).await;
        let refused = other.request(head).await;
        assert_eq!(refused.status, 503);
        let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert_eq!(
            refused.text(),
            format!("at capacity, come back in {seconds} s\n")
        );
    }
    let mut other = Client::connect(rig.plain()).await;
    let page = "GET /stream/a HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n\
                Accept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n";
    let shed = other.request(page).await;
    assert_eq!(
        (shed.status, shed.field("access-control-allow-origin")),
        (200, Some("https://shop.example"))
    );
    assert!(shed.text().starts_with("retry: "), "{}", shed.text());
    let (refused, ..) = client.clone().request(get("/"), &[]).await.unwrap();
    assert_eq!(refused.status, 503);
    let metrics = rig.metrics().render();
    for series in [
        "refused_total{reason=\"upstream_connections_max\"} 4",
        "app_connections{upstream=\"app\"} 3",
        "app_connections_max{upstream=\"app\"} 3",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
    assert_eq!(app.heads().len(), 3, "the app saw none of them");

    permits.give(3);
    for one in hanging {
        let (head, body, _) = soon("an answer", one).await.unwrap().unwrap();
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"done"[..]));
    }
    let places = rig.metrics().upstream("app");
    until("the places to be free", || places.connections.get() == 0).await;
    assert_eq!(other.request(GET).await.status, 200, "same connection");
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let app = App::echo().await;
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &[
                "head_timeout: 200ms",
                "handshake_timeout: 200ms",
                "keepalive_timeout: 200ms",
            ],
            ..Settings::default()
        },
    );
    for address in [rig.plain(), rig.tls()] {
        let mut silent = Client::connect(address).await;
        assert!(silent.rest().await.is_empty());
    }
    let stream = tls(rig.tls(), &rig.certificate(), &["http/1.1"]).await;
    assert!(Client::new(stream).rest().await.is_empty());
    let mut idle = Client::connect(rig.plain()).await;
    assert_eq!(idle.request(GET).await.status, 200);
    assert!(idle.rest().await.is_empty());
    until("all to be gone", || rig.connections() == 0).await;
}

#[tokio::test]
async fn on_shutdown_work_goes_on_and_keep_alive_ends() {
    let permits = Permits::new();
    let app = slow_app(&permits).await;
    let rig = Rig::start(&app.address);
    let mut idle = Client::connect(rig.plain()).await;
    assert_eq!(idle.request(GET).await.status, 200);
    let mut busy = Client::connect(rig.plain()).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let client = H2::connect(stream).await;
    let mut both = client.clone();
    let streaming = tokio::spawn(async move { both.request(get("/slow"), &[]).await });
    until("both to reach the app", || app.heads().len() == 3).await;

    rig.drain();
    assert!(idle.rest().await.is_empty(), "idle connections are closed");
    let mut late = Client::connect(rig.plain()).await;
    let answer = late.request(GET).await;
    assert_eq!(
        (answer.status, answer.field("connection")),
        (200, Some("close"))
    );

    permits.give(2);
    assert_eq!(busy.response().await.text(), "done");
    assert!(busy.rest().await.is_empty());
    let (head, ..) = streaming.await.unwrap().unwrap();
    assert_eq!(head.status, 200);

    let address = rig.plain();
    drop(rig);
    assert!(TcpStream::connect(address).await.is_err());
}
