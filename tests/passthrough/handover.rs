//! Fan-out requests leave the pass-through: on every listener and protocol the connection goes to a
//! shard as it is, and pass-through beside it goes on.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::rig::{
    Rig,
    app::{App, STREAM},
    client::{Client, tls},
    h2::{H2, get},
    permits::Permits,
    soon, until,
};

const REQUEST: &str = "GET /fan/x HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";

/// An app whose streams carry one event for each permit.
async fn app(permits: &Permits) -> App {
    App::sharing(permits, |mut conn, permits| async move {
        while let Some(head) = conn.head().await {
            if !head.starts_with("GET /fan/") {
                conn.answer(200, "", b"passed").await;
                continue;
            }
            conn.send(STREAM).await;
            loop {
                permits.take().await;
                conn.send("d\r\ndata: hello\n\n\r\n").await;
            }
        }
    })
    .await
}

/// Opens a stream; it is open when its head is there.
async fn open<S>(io: S, request: &str) -> Client<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Client::new(io);
    client.send(request).await;
    let head = client.head().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    client
}

#[tokio::test]
async fn streams_of_every_kind_share_and_receive() {
    let permits = Permits::new();
    let app = app(&permits).await;
    let rig = Rig::start(&app.address);
    let tcp = async || TcpStream::connect(rig.plain()).await.unwrap();
    let certificate = rig.certificate();
    let secure = async |alpn| tls(rig.tls(), &certificate, &[alpn]).await;

    let mut plain = open(tcp().await, REQUEST).await;
    let old = REQUEST.replace("HTTP/1.1", "HTTP/1.0");
    let mut old = open(tcp().await, &old).await;
    let mut encrypted = open(secure("http/1.1").await, REQUEST).await;
    let mut bodies = Vec::new();
    let mut over_plain = H2::connect(tcp().await).await;
    let mut over_tls = H2::connect(secure("h2").await).await;
    for client in [&mut over_plain, &mut over_tls] {
        for _ in 0..3 {
            let response = client.send(get("/fan/x"), &[]).await.unwrap();
            assert_eq!(response.status(), 200);
            bodies.push(response.into_body());
        }
    }
    assert_eq!(app.connections(), 2, "one for http, one for https");

    permits.give(2);
    plain.wait_for("data: hello\n").await;
    old.wait_for("data: hello\n").await;
    encrypted.wait_for("data: hello\n").await;
    for body in &mut bodies {
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains("data: hello\n") {
            let data = soon("an event", body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            got.extend_from_slice(&data);
        }
    }
    for client in [&mut over_plain, &mut over_tls] {
        let (head, body, _) = client.request(get("/other"), &[]).await.unwrap();
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"passed"[..]));
    }
}

#[tokio::test]
async fn a_connection_may_pass_through_first_and_fan_out_then() {
    let permits = Permits::new();
    let app = app(&permits).await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let other = "GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(client.request(other).await.text(), "passed");
    // What follows the request for a stream is nobody's any more.
    client.send(format!("{REQUEST}{other}")).await;
    client.head().await.unwrap();
    permits.give(1);
    client.wait_for("data: hello\n").await;
    assert_eq!(app.heads().len(), 2);
    assert_eq!(rig.connections(), 1);
    drop(client);
    until("the connection to be given back", || rig.connections() == 0).await;
}
