//! Request bodies: large ones, awaited ones, unwanted ones.

use std::time::Duration;

use bytes::Bytes;
use tokio::{net::TcpStream, time::interval};

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, tcp, tls},
    h2::{H2, request},
    large, soon,
};

#[tokio::test]
async fn ten_mebibytes_each_way() {
    let app = App::mirror().await;
    let rig = Rig::start(&app.address);
    let body = large();
    let mut client = Client::new(tls(rig.tls(), &rig.certificate(), &["http/1.1"]).await);
    let answer = client.post("/stream/up", &body).await;
    assert!(answer.body == body, "by length");

    let mut client = Client::connect(rig.plain()).await;
    let answer = client.post_in_chunks("/stream/up", &body).await;
    assert!(answer.body == body, "in chunks");

    let mut client = H2::connect(tcp(rig.plain()).await).await;
    let answer = client
        .request(request("POST", "/stream/up"), std::slice::from_ref(&body))
        .await;
    assert!(answer.unwrap().1 == body, "over HTTP/2");
}

#[tokio::test]
async fn an_empty_chunked_body_is_a_body() {
    let app = App::mirror().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    for _ in 0..2 {
        let answer = client
            .request(
                "POST /stream/up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )
            .await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    }
}

#[tokio::test]
async fn the_app_says_when_to_continue() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"));
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = conn.body_of(&head).await;
        conn.answer(200, "", &body).await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send(
            "POST /stream/up HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
             Content-Length: 5\r\n\r\n",
        )
        .await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("hello").await;
    assert_eq!(client.response().await.text(), "hello");
}

#[tokio::test]
async fn an_app_may_answer_a_body_that_it_does_not_read() {
    const BODY_BYTES: usize = 256 << 20;
    let app = App::start(|mut conn| async move {
        conn.head().await;
        // More is on its way than all buffers hold, and nobody takes it.
        conn.answer(413, "", b"too large").await;
        std::future::pending::<()>().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let (read, mut write) = stream.into_split();
    let upload = tokio::spawn(async move {
        let head =
            format!("POST /stream/up HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        let _cut = tokio::io::AsyncWriteExt::write_all(&mut write, head.as_bytes()).await;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..BODY_BYTES >> 20 {
            if tokio::io::AsyncWriteExt::write_all(&mut write, &piece)
                .await
                .is_err()
            {
                return;
            }
        }
    });
    let mut client = Client::new(tokio::io::join(read, tokio::io::sink()));
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
    upload.abort();
}

#[tokio::test]
async fn over_http_2_too_a_body_that_stops_or_drips_is_answered_408() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.closed().await;
    })
    .await;
    let settings = Settings {
        limits: &["body_timeout: 300ms"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    let stream = TcpStream::connect(rig.plain()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for drips in [false, true] {
        let asked = sender.send_request(request("POST", "/stream/up"), false);
        let (answer, mut body) = asked.unwrap();
        let dripping = async {
            // Each byte comes in time, and all together at a fifth of the least rate.
            let mut pace = interval(Duration::from_millis(20));
            while drips && body.send_data(Bytes::from_static(b"x"), false).is_ok() {
                pace.tick().await;
            }
            std::future::pending().await
        };
        let answer = tokio::select! {
            answer = soon("an answer", answer) => answer.unwrap(),
            never = dripping => never,
        };
        assert_eq!(answer.status(), 408, "{drips}");
        let text = soon("its text", answer.into_body().data()).await;
        assert_eq!(
            text.unwrap().unwrap(),
            "the request body did not arrive in time\n"
        );
    }
    assert_eq!(rig.metrics().slow_bodies.get(), 2);
}
