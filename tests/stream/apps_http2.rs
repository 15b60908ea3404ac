//! Apps that speak HTTP/2: each client has a stream of its own on a connection that they share.

use bytes::Bytes;
use h2::Reason;
use http::StatusCode;

use crate::rig::{
    Rig,
    client::{Client, tcp},
    h2::{H2, get, request},
    h2app::{Answer, Exchange, H2App},
    large, soon,
};

const EVENTS: (&str, &str) = ("content-type", "text/event-stream");

/// Answers with the request's body.
async fn mirror(mut exchange: Exchange) {
    let body = exchange.whole_body().await;
    let length = body.len().to_string();
    let mut answer = exchange.begin(StatusCode::OK, &[("content-length", &length)]);
    answer.send(body).await;
    answer.finish();
}

#[tokio::test]
async fn ten_mebibytes_each_way() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let body = large();

    let mut client = Client::connect(rig.plain()).await;
    let sent = client.post("/stream/a", &body);
    let answered = async {
        let exchange = app.asked().await;
        assert_eq!(
            exchange.field("content-length"),
            Some(&*body.len().to_string())
        );
        mirror(exchange).await;
    };
    let (response, ()) = tokio::join!(sent, answered);
    assert!(response.body == body, "by length");

    let sent = client.post_in_chunks("/stream/a", &body);
    let answered = async {
        let exchange = app.asked().await;
        assert_eq!(exchange.field("transfer-encoding"), None);
        assert_eq!(exchange.field("content-length"), None);
        mirror(exchange).await;
    };
    let (response, ()) = tokio::join!(sent, answered);
    assert!(response.body == body, "in chunks");

    let mut client = H2::connect(tcp(rig.plain()).await).await;
    let pieces = [body.clone()];
    let sent = client.request(request("POST", "/stream/a"), &pieces);
    let answered = async { mirror(app.asked().await).await };
    let (response, ()) = tokio::join!(sent, answered);
    assert!(response.unwrap().1 == body, "over HTTP/2");
}

/// Two streams of one client connection, so of one thread, and the app's side of both.
async fn two(app: &H2App, client: &H2) -> [(Answer, h2::RecvStream); 2] {
    let mut both = Vec::new();
    let mut connections = Vec::new();
    for target in ["/stream/a", "/stream/b"] {
        let mut client = client.clone();
        let answered = tokio::spawn(async move { client.send(get(target), &[]).await });
        let exchange = app.asked().await;
        connections.push(exchange.connection);
        let answer = exchange.begin(StatusCode::OK, &[EVENTS]);
        both.push((answer, answered.await.unwrap().unwrap().into_body()));
    }
    assert_eq!(connections[0], connections[1], "they share it");
    both.try_into().unwrap_or_else(|_| unreachable!("two"))
}

async fn expect(body: &mut h2::RecvStream, wanted: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let data = soon(wanted, body.data()).await.unwrap().unwrap();
        seen.extend_from_slice(&data);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_its_own_stream_alone() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let mut windows = h2::client::Builder::new();
    windows.initial_connection_window_size(16 << 20);
    let client = H2::over(tcp(rig.plain()).await, windows).await;
    let [(mut flood, _unread), (mut quiet, mut read)] = two(&app, &client).await;
    let taken = flood.fill().await;
    assert!(taken > 0, "something is always taken");
    assert!(
        taken < 1 << 20,
        "{taken} bytes were taken that nobody reads"
    );
    for n in 0..10 {
        quiet.event(&n.to_string()).await;
        expect(&mut read, &format!("data: {n}\n\n")).await;
    }
}

#[tokio::test]
async fn streams_that_share_a_connection_end_one_by_one() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let client = H2::connect(tcp(rig.plain()).await).await;

    let [(mut left, gone), (mut other, mut read)] = two(&app, &client).await;
    drop(gone);
    assert_eq!(left.cancelled().await, Reason::CANCEL);
    other.event("a").await;
    expect(&mut read, "data: a\n\n").await;
    other.finish();
    assert!(
        soon("the end", read.data())
            .await
            .is_none_or(|data| data.unwrap().is_empty())
    );

    let [(broken, mut cut), (mut other, mut read)] = two(&app, &client).await;
    broken.reset(Reason::INTERNAL_ERROR);
    let end = loop {
        match soon("the cut", cut.data()).await {
            Some(Ok(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_some_and(|end| end.is_err()), "it broke off");
    other.event("b").await;
    expect(&mut read, "data: b\n\n").await;
    drop((client, other, read));
    rig.until_metric("app_shared_connections{upstream=\"app\"}", 0)
        .await;
}

#[tokio::test]
async fn an_answer_may_come_before_the_body_is_wanted() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST /stream/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let mut exchange = app.asked().await;
    assert_eq!(exchange.field("expect"), Some("100-continue"));
    exchange.inform(StatusCode::CONTINUE);
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 100"));
    client.send(Bytes::from(vec![b'x'; 10_000])).await;
    // RST_STREAM without error follows the answer: no more of the body is wanted.
    let mut answer = exchange.begin(StatusCode::PAYLOAD_TOO_LARGE, &[("content-length", "9")]);
    answer.send("too large").await;
    answer.finish();
    let response = client.response().await;
    assert_eq!(
        (response.status, response.text().as_str()),
        (413, "too large")
    );
}

#[tokio::test]
async fn an_app_that_opens_no_window_is_given_up() {
    let mut settings = h2::server::Builder::new();
    settings.initial_window_size(0);
    let app = H2App::with_settings(settings).await;
    let rig = Rig::before(&app, &["http: 2", "write_timeout: 200ms"]);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST /stream/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let mut exchange = app.asked().await;
    assert_eq!(client.response().await.status, 504);
    assert_eq!(exchange.cancelled().await, Reason::CANCEL);
}

#[tokio::test]
async fn a_request_that_the_app_has_not_looked_at_is_sent_again_while_it_is_whole() {
    let app = H2App::start().await;
    let rig = Rig::before(&app, &["http: 2"]);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("GET /stream/a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    app.asked().await.refuse(Reason::REFUSED_STREAM);
    app.asked().await.end(StatusCode::NO_CONTENT, &[]);
    assert_eq!(client.response().await.status, 204);
    // Once: an app that turns all away is not to be hammered.
    client
        .send("GET /stream/a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    for _ in 0..2 {
        app.asked().await.refuse(Reason::REFUSED_STREAM);
    }
    assert_eq!(client.response().await.status, 502);
    // The body is gone by then.
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST /stream/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let mut exchange = app.asked().await;
    assert_eq!(exchange.whole_body().await, b"hi");
    exchange.refuse(Reason::REFUSED_STREAM);
    assert_eq!(client.response().await.status, 502);
    assert!(app.is_unasked().await);
}
