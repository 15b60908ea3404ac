//! What a client sees when the app fails, and which requests are tried again.

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, Response},
    h2::{H2, get},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

fn assert_failure(answer: &Response, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.text(), format!("{text}\n"));
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.field("server"), None);
}

#[tokio::test]
async fn an_app_that_is_not_there_is_502() {
    // A port that was free a moment ago, and a name with no address that answers.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for host in ["127.0.0.1", "localhost"] {
        let rig = Rig::start(&format!("http://{host}:{port}"));
        let mut client = Client::connect(rig.plain()).await;
        assert_failure(&client.request(GET).await, 502, "the app cannot be reached");
        assert!(client.rest().await.is_empty());
        let mut client = Client::connect(rig.plain()).await;
        assert_eq!(
            client
                .request("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .status,
            502
        );

        let stream = tokio::net::TcpStream::connect(rig.plain()).await.unwrap();
        let (head, body, _) = H2::connect(stream)
            .await
            .request(get("/"), &[])
            .await
            .unwrap();
        assert_eq!(
            (head.status.as_u16(), &body[..]),
            (502, &b"the app cannot be reached\n"[..])
        );
    }
    let rig = Rig::start("unix:/nowhere/app.sock");
    let mut client = Client::connect(rig.plain()).await;
    assert_failure(&client.request(GET).await, 502, "the app cannot be reached");
}

#[tokio::test]
async fn a_name_that_answers_on_its_other_address_is_reached() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address.replace("127.0.0.1", "localhost"));
    let mut client = Client::connect(rig.plain()).await;
    for request in [GET, POST] {
        assert_eq!(client.request(request).await.status, 200);
    }
}

#[tokio::test]
async fn a_silent_app_is_504() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::with(
        &app.address,
        Settings {
            upstream: &["read_timeout: 200ms"],
            ..Settings::default()
        },
    );
    let mut client = Client::connect(rig.plain()).await;
    assert_failure(
        &client.request(GET).await,
        504,
        "the app did not answer in time",
    );
}

#[tokio::test]
async fn garbage_and_hanging_up_are_502() {
    for (answer, text) in [
        ("hello\r\n\r\n", "the app's answer is not valid HTTP"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "the app's answer is not valid HTTP",
        ),
        ("", "the app closed the connection before it answered"),
    ] {
        let app = App::start(move |mut conn| async move {
            conn.head().await;
            conn.send(answer).await;
        })
        .await;
        let rig = Rig::start(&app.address);
        let mut client = Client::connect(rig.plain()).await;
        assert_failure(&client.request(GET).await, 502, text);
        assert_eq!(
            app.connections(),
            1,
            "a fresh connection is not tried again"
        );
    }
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced() {
    // The first connection serves one request and hangs up on the second.
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.answer(200, "", b"first").await;
        if conn.index == 0 {
            conn.head().await;
            return;
        }
        while let Some(head) = conn.head().await {
            conn.body_of(&head).await;
            conn.answer(200, "", b"again").await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    assert_eq!(client.request(GET).await.text(), "first");
    assert_eq!(
        client.request(GET).await.text(),
        "first",
        "from a second connection"
    );
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn a_post_that_the_app_may_have_seen_is_not_repeated() {
    let app = App::start(|mut conn| async move {
        for is_first in [true, false] {
            let head = conn.head().await.unwrap();
            conn.body_of(&head).await;
            if is_first {
                conn.answer(200, "", b"first").await;
            }
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let empty = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for (round, post) in [POST, empty].into_iter().enumerate() {
        assert_eq!(client.request(post).await.status, 200);
        assert_eq!(client.request(post).await.status, 502);
        assert_eq!(app.heads().len(), 2 * (round + 1));
        client = Client::connect(rig.plain()).await;
    }
}

#[tokio::test]
async fn an_early_refusal_of_an_upload_reaches_the_client() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.answer(413, "Connection: close\r\n", b"too large")
            .await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    for _ in 0..16 {
        if !client.try_send(&[0; 4096]).await {
            break;
        }
    }
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
}
