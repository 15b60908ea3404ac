//! The two ways to an app: the direct one, and pingora's, which a request takes that says more about
//! its connection.

use crate::rig::{
    Rig, Settings,
    app::App,
    client::{Client, Response, tcp, tls_over},
    permits::Permits,
    until,
};

/// Requests of one kind that go either way.
fn both_ways(method: &str) -> [String; 2] {
    ["", "TE: trailers\r\n"].map(|field| format!("{method} / HTTP/1.1\r\nHost: a\r\n{field}\r\n"))
}

/// Status and fields of an answer, in an order of its own. Pingora sets a date of ours, the direct way
/// where there is none.
fn told(answer: &Response) -> Vec<String> {
    let mut lines: Vec<String> = answer
        .head
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((name, _)) if name.eq_ignore_ascii_case("date") => "date".to_owned(),
            Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
            None => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn an_answer_is_the_same_by_either_way() {
    for (method, answer) in [
        (
            "GET",
            "200 OK\r\nContent-Length: 4\r\nX-Mixed: Case\r\n\r\nbody",
        ),
        (
            "GET",
            "200\r\nContent-Length: 0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        ),
        (
            "GET",
            "200 Fine by me\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        ("GET", "200 OK\r\nX: y\r\n\r\nuntil it closes"),
        (
            "GET",
            "200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        ),
        (
            "GET",
            "200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nContent-Length: 1\r\n\r\na",
        ),
        (
            "GET",
            "200 OK\r\nUpgrade: h2c\r\nContent-Length: 1\r\nX-Spaced : v\r\n\r\na",
        ),
        (
            "GET",
            "404 Not Found\r\nContent-Length: 1\r\nX-Raw: \u{e9}\r\n\r\na",
        ),
        ("DELETE", "204 No Content\r\nX: y\r\n\r\n"),
        (
            "GET",
            "304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n",
        ),
        ("HEAD", "200 OK\r\nContent-Length: 77\r\n\r\n"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let app = App::start(move |mut conn| async move {
                conn.head().await;
                conn.send(format!("{version} {answer}")).await;
            })
            .await;
            let rig = Rig::start(&app.address);
            let mut answers = Vec::new();
            for request in both_ways(method) {
                let mut client = Client::connect(rig.plain()).await;
                client.send(&request).await;
                let response = client.response_to(method).await.unwrap();
                answers.push((told(&response), response.text()));
            }
            assert_eq!(answers[0], answers[1], "{method} {version} {answer}");
        }
    }
}

#[tokio::test]
async fn a_failure_is_the_same_by_either_way() {
    for answer in [
        "",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nnonsense\r\n\r\n",
    ] {
        let app = App::start(move |mut conn| async move {
            conn.head().await;
            conn.send(answer).await;
        })
        .await;
        let rig = Rig::start(&app.address);
        for method in ["GET", "HEAD"] {
            let mut answers = Vec::new();
            for request in both_ways(method) {
                let mut client = Client::connect(rig.plain()).await;
                client.send(&request).await;
                let mut response = client.response_to(method).await.unwrap();
                if response.status == 103 {
                    response = client.response_to(method).await.unwrap();
                }
                let rest = client.rest().await;
                answers.push((told(&response), response.text(), rest));
            }
            let lines = answers[0].0.iter().filter(|line| *line != "date");
            let others = answers[1].0.iter().filter(|line| *line != "date");
            assert!(lines.eq(others), "{method} {answer:?}: {answers:?}");
            assert_eq!(answers[0].1, answers[1].1, "{method} {answer:?}");
            assert!(
                answers.iter().all(|(.., rest)| rest.is_empty()),
                "{answers:?}"
            );
        }
        let failed = "passthrough_requests_total{route=\"rest\",status=\"5xx\"}";
        rig.until_metric(failed, 4).await;
    }
}

#[tokio::test]
async fn chunks_pass_as_they_come_and_trailers_stay_behind() {
    let chunks = "3;x=y\r\nabc\r\n0002  \r\nde\r\n0\r\n";
    let app = App::start(move |mut conn| async move {
        while let Some(head) = conn.head().await {
            let step: usize = head.split([' ', '/']).nth(2).unwrap().parse().unwrap();
            let fields = "Trailer: X-End\r\nTransfer-Encoding: chunked";
            let answer =
                format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{chunks}X-End: 1\r\n folded\r\n\r\n");
            for piece in answer.as_bytes().chunks(step) {
                conn.send(piece).await;
            }
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    for step in [1, 2, 3, 7, 1000] {
        let mut client = Client::connect(rig.plain()).await;
        let fields = "Host: a\r\nConnection: close\r\n";
        client
            .send(format!("GET /{step} HTTP/1.1\r\n{fields}\r\n"))
            .await;
        let head = client.head().await.unwrap().to_ascii_lowercase();
        assert!(
            !head.contains("trailer") && head.contains("\r\nconnection: close"),
            "{head}"
        );
        assert_eq!(client.rest().await, format!("{chunks}\r\n").as_bytes());
    }
    // Each worker has its own.
    assert!(app.connections() < 5, "they were read to their ends");
}

/// However it leaves, and whatever it asked for: the app is asked once.
#[tokio::test]
async fn the_request_of_a_client_that_left_is_not_repeated() {
    let (closed, proceed) = (Permits::new(), Permits::new());
    let shared = (closed.clone(), proceed.clone());
    let app = App::sharing(&shared, |mut conn, (closed, proceed)| async move {
        while let Some(head) = conn.head().await {
            if head.starts_with("GET /never") {
                break;
            }
            proceed.take().await;
            conn.answer(200, "", b"").await;
        }
        conn.closed().await;
        closed.give(1);
    })
    .await;
    let rig = Rig::start(&app.address);
    for is_tls in [false, true] {
        // Some connections to the app are kept.
        let before = app.heads().len();
        let mut busy = Vec::new();
        for _ in 0..4 {
            busy.push(Client::connect(rig.plain()).await);
        }
        for client in &mut busy {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        }
        until("all to be asked", || {
            app.heads().len() == before + busy.len()
        })
        .await;
        proceed.give(busy.len());
        for client in &mut busy {
            assert_eq!(client.response().await.status, 200);
        }
        let asked = app.heads().len();
        let request = b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
        // No goodbye over TLS, and a reset below it.
        let socket = tcp(if is_tls { rig.tls() } else { rig.plain() }).await;
        socket.set_zero_linger().unwrap();
        let seen = || app.heads().len() > asked;
        if is_tls {
            let mut client = Client::new(tls_over(socket, &rig.certificate(), &["http/1.1"]).await);
            client.send(request).await;
            until("the app to be asked", seen).await;
            drop(client);
        } else {
            let mut client = Client::new(socket);
            client.send(request).await;
            until("the app to be asked", seen).await;
            drop(client);
        }
        closed.expect("the app to see it").await;
        until("the client to be gone", || rig.connections() == busy.len()).await;
        assert_eq!(app.heads().len(), asked + 1, "tls: {is_tls}");
    }
}

#[tokio::test]
async fn heads_before_the_final_one_arrive_in_their_own_time() {
    let proceed = Permits::new();
    let app = App::sharing(&proceed, |mut conn, proceed| async move {
        conn.head().await;
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
            .await;
        proceed.take().await;
        conn.answer(200, "", b"page").await;
    })
    .await;
    let rig = Rig::start(&app.address);
    for request in both_ways("GET") {
        let mut client = Client::connect(rig.plain()).await;
        client.send(&request).await;
        let early = client.head().await.unwrap();
        assert!(
            early.starts_with("HTTP/1.1 103 ") && early.contains("</a.css>"),
            "{early}"
        );
        proceed.give(1);
        assert_eq!(client.response().await.text(), "page");
    }
}

/// An app whose connections serve one request each, and then do what the test says.
async fn once(then: &'static str) -> App {
    App::start(move |mut conn| async move {
        conn.head().await;
        conn.answer(200, "", conn.index.to_string().as_bytes())
            .await;
        match then {
            "closes" => {}
            "talks" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
                    .await;
                conn.closed().await;
            }
            _ => {
                conn.closed().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_is_used_again_only_while_it_is_quiet() {
    let [get, _] = both_ways("GET");
    for then in ["closes", "talks"] {
        let app = once(then).await;
        let rig = Rig::start(&app.address);
        let mut client = Client::connect(rig.plain()).await;
        for index in 0..5 {
            assert_eq!(
                client.request(&get).await.text(),
                index.to_string(),
                "{then}"
            );
        }
    }
}

#[tokio::test]
async fn an_idle_connection_to_the_app_is_closed_in_time() {
    let closed = Permits::new();
    let app = App::sharing(&closed, |mut conn, closed| async move {
        conn.head().await;
        conn.answer(200, "", b"").await;
        conn.closed().await;
        closed.give(1);
    })
    .await;
    let rig = Rig::with(
        &app.address,
        Settings {
            upstream: &["idle_timeout: 200ms"],
            ..Settings::default()
        },
    );
    for request in both_ways("GET") {
        let mut client = Client::connect(rig.plain()).await;
        assert_eq!(client.request(&request).await.status, 200);
        closed.expect("the app to see it").await;
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_order() {
    let app = App::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            conn.answer(200, "", head.split(' ').nth(1).unwrap().as_bytes())
                .await;
        }
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    let mut requests = String::new();
    for n in 0..40 {
        let field = ["", "TE: trailers\r\n"][n % 2];
        requests.push_str(&format!("GET /{n} HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
    }
    client.send(&requests).await;
    for n in 0..40 {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
}
