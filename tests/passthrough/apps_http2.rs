//! Apps that speak HTTP/2, behind the pass-through.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::rig::{
    Rig,
    client::{Client, narrow, tcp},
    h2::{H2, get, request},
    h2app::{Exchange, H2App, acceptor},
    large,
    process::make_certificate,
    soon, until,
};

/// Answers with the request's body.
async fn mirror(mut exchange: Exchange) {
    let body = exchange.whole_body().await;
    let mut answer = exchange.begin(StatusCode::OK, &[("x-app", "1")]);
    answer.send(body).await;
    answer.finish_with("x-checksum", "7");
}

#[tokio::test]
async fn ten_mebibytes_each_way_and_trailers() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let body = large();

    let mut client = Client::connect(rig.plain()).await;
    let sent = client.post("/a", &body);
    let answered = async { mirror(app.asked().await).await };
    let (response, ()) = tokio::join!(sent, answered);
    assert!(response.body == body);
    assert_eq!(response.field("x-app"), Some("1"));

    let mut client = H2::connect(tcp(rig.plain()).await).await;
    let pieces = [body.clone()];
    let sent = client.request(request("POST", "/a"), &pieces);
    let answered = async { mirror(app.asked().await).await };
    let (response, ()) = tokio::join!(sent, answered);
    let (_, got, trailers) = response.unwrap();
    assert!(got == body);
    assert_eq!(trailers.unwrap()["x-checksum"], "7");
}

#[tokio::test]
async fn a_request_looks_as_http2_wants_it_and_its_connection_is_used_again() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2", "host: inner.example"]);
    let mut client = Client::connect(rig.plain()).await;
    for _ in 0..3 {
        client
            .send(
                "GET /a?b=%2f HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, x-hop\r\n\
                 X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nCookie: a=1\r\n\r\n",
            )
            .await;
        let exchange = app.asked().await;
        assert_eq!(exchange.head.uri.authority().unwrap(), "inner.example");
        assert_eq!(exchange.head.uri.path_and_query().unwrap(), "/a?b=%2f");
        assert_eq!(exchange.field("x-forwarded-host"), Some("shop.example"));
        assert_eq!(exchange.field("cookie"), Some("a=1"));
        for gone in [
            "host",
            "connection",
            "keep-alive",
            "x-hop",
            "transfer-encoding",
        ] {
            assert_eq!(exchange.field(gone), None, "{gone}");
        }
        exchange.end(StatusCode::NO_CONTENT, &[]);
        assert_eq!(client.response().await.status, 204);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_request_that_the_app_has_not_looked_at_is_sent_again() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    app.asked().await.refuse(Reason::REFUSED_STREAM);
    let mut exchange = app.asked().await;
    assert_eq!(exchange.whole_body().await, b"hi");
    exchange.end(StatusCode::NO_CONTENT, &[]);
    assert_eq!(client.response().await.status, 204);
    // With any other word it may have acted on it.
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    app.asked().await.refuse(Reason::INTERNAL_ERROR);
    assert_eq!(client.response().await.status, 502);
    assert!(app.is_unasked().await);
}

#[tokio::test]
async fn a_request_whose_client_breaks_off_is_not_sent_again() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let mut client = Client::new(narrow(rig.plain()).await);
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    app.asked().await.end(StatusCode::NO_CONTENT, &[]);
    assert_eq!(client.response().await.status, 204);
    // By the same connection, and with so much behind it that only writing shows who has left.
    client.send("POST /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.send(vec![b'x'; 64 << 10]).await;
    let mut answer = app.asked().await.begin(StatusCode::OK, &[]);
    answer.fill().await;
    drop(client);
    assert_eq!(answer.cancelled().await, Reason::CANCEL);
    until("the request to be over", || rig.connections() == 0).await;
    assert!(app.is_unasked().await);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_silent_app_is_to_blame_when_nothing_more_will_come() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2", "read_timeout: 300ms"]);
    for (method, end, status) in [
        ("GET", true, 504),
        ("POST", true, 504),
        ("POST", false, 408),
    ] {
        let (client, connection) = h2::client::handshake(tcp(rig.plain()).await).await.unwrap();
        tokio::spawn(connection);
        let mut client: SendRequest<Bytes> = soon("ready", client.ready()).await.unwrap();
        let (answer, _body) = client.send_request(request(method, "/a"), end).unwrap();
        assert_eq!(
            soon("answer", answer).await.unwrap().status(),
            status,
            "{method} {end}"
        );
    }
    for (request, status) in [
        ("DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n", 504),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            504,
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh",
            408,
        ),
    ] {
        let mut client = Client::connect(rig.plain()).await;
        client.send(request).await;
        assert_eq!(client.response().await.status, status, "{request}");
    }
    assert_eq!(rig.metrics().slow_bodies.get(), 2);
}

#[tokio::test]
async fn each_side_sees_how_the_other_one_leaves() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let mut client = H2::connect(tcp(rig.plain()).await).await;
    for way in ["the app resets", "the app closes", "the client leaves"] {
        let mut asking = client.clone();
        let answered = tokio::spawn(async move { asking.send(get("/a"), &[]).await });
        let mut answer = app.asked().await.begin(StatusCode::OK, &[]);
        answer.send("half").await;
        let mut body = answered.await.unwrap().unwrap().into_body();
        assert_eq!(soon("half", body.data()).await.unwrap().unwrap(), "half");
        match way {
            "the app resets" => answer.reset(Reason::INTERNAL_ERROR),
            "the app closes" => answer.vanish().await,
            _ => {
                drop(body);
                assert_eq!(answer.cancelled().await, Reason::CANCEL);
                continue;
            }
        }
        let end = soon("the cut", body.data()).await;
        assert!(end.is_some_and(|end| end.is_err()), "{way}");
    }
    // None of that was the client's connection's fault.
    let answered = client.request(get("/b"), &[]);
    let answering = async { app.asked().await.end(StatusCode::OK, &[]) };
    let (answered, ()) = tokio::join!(answered, answering);
    assert_eq!(answered.unwrap().0.status, 200);
}

/// Which HTTP the app was asked for, for one request with these fields.
async fn picked(folder: &Path, http: &str, fields: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor(folder, &["h2", "http/1.1"]);
    let app = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let picked = stream.get_ref().1.alpn_protocol().unwrap().to_vec();
        if picked == b"http/1.1" {
            let answer = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
            stream.read_u8().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
        }
        (picked, stream)
    });
    let rig = Rig::start(&format!(
        "https://{address}\n    http: {http}\n    tls: {{ verify: false, server_name: localhost }}"
    ));
    let mut client = Client::connect(rig.plain()).await;
    client
        .send(format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
        .await;
    let (picked, _stream) = soon("the app is asked", app).await.unwrap();
    String::from_utf8(picked).unwrap()
}

#[tokio::test]
async fn what_wants_another_protocol_goes_by_http1_where_both_do() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (http, fields, expected) in [
        ("auto", "", "h2"),
        ("auto", websocket, "http/1.1"),
        ("2", "", "h2"),
        ("2", websocket, "h2"),
        ("1", "", "http/1.1"),
    ] {
        let picked = picked(folder.path(), http, fields).await;
        assert_eq!(picked, expected, "http: {http}, {fields:?}");
    }
}

#[tokio::test]
async fn an_app_that_ignores_alpn_is_not_asked_in_http1() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let app = H2App::over_tls(folder.path(), &[]).await;
    let rig = Rig::start(&format!(
        "https://{}\n    http: 2\n    tls: {{ verify: false, server_name: localhost }}",
        app.address
    ));
    let mut client = Client::connect(rig.plain()).await;
    for target in ["/a", "/stream/a"] {
        client
            .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answered = tokio::time::timeout(Duration::from_secs(10), client.response()).await;
        assert_eq!(answered.unwrap().status, 502, "{target}");
        client = Client::connect(rig.plain()).await;
    }
}
