//! Heads: what the app sees of a request, and the client of an answer.

use crate::rig::{
    Rig,
    app::App,
    client::{Client, Response, tls},
};

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|l| l.eq_ignore_ascii_case(line))
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(has_line(text, line), "{line:?} is missing in {text}");
    }
}

#[tokio::test]
async fn the_request_arrives_with_who_asked_and_how() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let seen = client
        .request(
            "GET /a%20b?b=c&d HTTP/1.1\r\nHost: shop.example:81\r\nX-Mine: 1\r\nX-Mine: 2\r\n\
             X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nCookie: a=1\r\n\r\n",
        )
        .await
        .text();
    assert_lines(
        &seen,
        &[
            "GET /a%20b?b=c&d HTTP/1.1",
            "Host: shop.example:81",
            "X-Mine: 1",
            "X-Mine: 2",
            "Cookie: a=1",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: shop.example:81",
            "Forwarded: for=127.0.0.1;host=\"shop.example:81\";proto=http",
        ],
    );
    assert!(!seen.contains("6.6.6.6"), "{seen}");
}

#[tokio::test]
async fn an_absolute_target_arrives_as_path() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    for (target, expected) in [
        ("http://a.example/x?y", "GET /x?y HTTP/1.1"),
        ("http://a.example", "GET / HTTP/1.1"),
        ("http://a.example?y", "GET /?y HTTP/1.1"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let seen = client.request(&request).await.text();
        assert_lines(&seen, &[expected, "Host: a.example"]);
    }
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let fields = "Connection: keep-alive, X-App-Hop\r\nX-App-Hop: 1\r\n\
                          Keep-Alive: timeout=1\r\nX-App-End: 1\r\n";
            conn.answer(200, fields, head.as_bytes()).await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let answer = client
        .request(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
             Keep-Alive: 9\r\nTE: trailers\r\nProxy-Connection: x\r\nX-End: 1\r\n\r\n",
        )
        .await;
    let seen = answer.text().to_ascii_lowercase();
    for gone in ["x-hop", "keep-alive:", "te:", "proxy-connection"] {
        assert!(!seen.contains(&format!("\r\n{gone}")), "{gone} in {seen}");
    }
    assert_lines(&seen, &["x-end: 1"]);
    assert_eq!(answer.field("x-app-hop"), None);
    assert_eq!(answer.field("keep-alive"), None);
    assert_eq!(answer.field("x-app-end"), Some("1"));
    assert_eq!(answer.field("connection"), Some("keep-alive"));
}

#[tokio::test]
async fn methods_and_statuses_pass_unchanged() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let status = match head.split(' ').next().unwrap() {
                "DELETE" => 204,
                "PATCH" => 418,
                "OPTIONS" => 304,
                _ => 200,
            };
            if matches!(status, 204 | 304) {
                conn.send(format!("HTTP/1.1 {status} Status\r\nX-Method: yes\r\n\r\n"))
                    .await;
            } else if head.starts_with("HEAD") {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
                    .await;
            } else {
                conn.answer(status, "", head.as_bytes()).await;
            }
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    for (method, status) in [
        ("GET", 200),
        ("HEAD", 200),
        ("DELETE", 204),
        ("PATCH", 418),
        ("OPTIONS", 304),
        ("QUERY", 200),
        ("GET", 200),
    ] {
        let answer = client
            .request(&format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(answer.status, status, "{method}");
        if method == "HEAD" {
            assert_eq!(answer.field("content-length"), Some("77"));
        }
    }
    assert_eq!(app.connections(), 1, "the app's connection is used again");
}

#[tokio::test]
async fn http_1_0_is_answered_as_http_1_0_needs_it() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            assert!(head.to_ascii_lowercase().contains("\r\nhost: "), "{head}");
            let answer = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\
                          Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
            conn.send(answer).await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection"), Some("close"));
}

#[tokio::test]
async fn every_listener_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let app = App::start_unix(&path, |mut conn| async move {
        while let Some(head) = conn.head().await {
            conn.answer(200, "", head.as_bytes()).await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let check = |answer: Response, lines: &[&str]| {
        assert_eq!(answer.status, 200);
        assert_lines(&answer.text(), lines);
    };
    let stream = tls(rig.tls(), &rig.certificate(), &["http/1.1"]).await;
    let answer = Client::new(stream).request(request).await;
    check(
        answer,
        &["X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1"],
    );
    let stream = tls(rig.tls(), &rig.certificate(), &[]).await;
    let answer = Client::new(stream).request(request).await;
    check(answer, &["X-Forwarded-Proto: https"]);
    let answer = Client::connect_unix(&rig.unix())
        .await
        .request(request)
        .await;
    check(
        answer,
        &[
            "X-Forwarded-Proto: http",
            "Forwarded: for=unknown;host=\"localhost\";proto=http",
        ],
    );
}

#[tokio::test]
async fn what_decide_refuses_is_answered_here() {
    let app = App::echo().await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let answer = client
        .request("GET /fan/a%2fb HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(client.to_end().await.is_empty());
    assert_eq!(app.connections(), 0);
}
