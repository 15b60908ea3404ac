//! Connections: how many, how long, and how they end.

use tokio::net::TcpStream;

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, tls},
    h2::{H2, get},
    soon, until,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

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
    assert!(
        rig.metrics()
            .render()
            .contains("connections{protocol=\"h1\"} 10")
    );
    drop(clients);
    until("all to be gone", || rig.connections() == 0).await;
    assert!(
        rig.metrics()
            .render()
            .contains("connections{protocol=\"h1\"} 0")
    );
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
    drop(second);
    until("a place", || rig.connections() == 1).await;
    let mut fourth = Client::connect(rig.plain()).await;
    assert_eq!(fourth.request(GET).await.status, 200);
    assert_eq!(first.request(GET).await.status, 200, "nobody else noticed");
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
    let proceed = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = proceed.clone();
    let app = App::start(move |mut conn| {
        let gate = gate.clone();
        async move {
            while let Some(head) = conn.head().await {
                if head.starts_with("GET /slow") {
                    gate.acquire().await.unwrap().forget();
                }
                conn.answer(200, "", b"done").await;
            }
        }
    })
    .await;
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

    proceed.add_permits(2);
    assert_eq!(busy.response().await.text(), "done");
    assert!(busy.rest().await.is_empty());
    let (head, ..) = streaming.await.unwrap().unwrap();
    assert_eq!(head.status, 200);

    let address = rig.plain();
    drop(rig);
    assert!(TcpStream::connect(address).await.is_err());
}
