//! What the app sends in pieces arrives in pieces, whatever the framing: each piece is sent only
//! after the client has the one before, so that nothing that is held back goes unnoticed.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::rig::{
    Rig,
    app::App,
    client::{Client, narrow, tls},
    h2::{H2, get},
    permits::Permits,
    soon,
};

const PIECES: usize = 5;

fn piece(n: usize) -> String {
    format!("data: {n}\n\n")
}

/// How the app frames its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
}

/// An app that streams by what the path names, one piece for each permit.
async fn app(permits: &Permits) -> App {
    App::sharing(permits, |mut conn, permits| async move {
        while let Some(head) = conn.head().await {
            let framing = match head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap() {
                "length" => Framing::Length,
                "chunked" => Framing::Chunked,
                _ => Framing::UntilClose,
            };
            let field = match framing {
                Framing::Length => format!("Content-Length: {}\r\n", PIECES * piece(0).len()),
                Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
                Framing::UntilClose => "Connection: close\r\n".to_owned(),
            };
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{field}\r\n"
            ))
            .await;
            for n in 0..PIECES {
                permits.take().await;
                match framing {
                    Framing::Chunked => conn.send(format!("9\r\n{}\r\n", piece(n))).await,
                    Framing::Length | Framing::UntilClose => conn.send(piece(n)).await,
                }
            }
            match framing {
                Framing::Length => {}
                Framing::Chunked => conn.send("0\r\n\r\n").await,
                Framing::UntilClose => return,
            }
        }
    })
    .await
}

async fn read_h1<S>(mut client: Client<S>, path: &str, permits: &Permits)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    let head = client.head().await.unwrap().to_ascii_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    assert_eq!(
        head.contains("x-accel-buffering: no"),
        path.starts_with("/stream/"),
        "{head}"
    );
    for n in 0..PIECES {
        permits.give(1);
        if chunked {
            assert_eq!(client.chunk().await.unwrap(), piece(n).as_bytes());
        } else {
            client.expect(&piece(n)).await;
        }
    }
    if chunked {
        assert_eq!(client.chunk().await, Some(Vec::new()), "a clean end");
    }
}

#[tokio::test]
async fn pieces_arrive_as_they_are_sent() {
    let permits = Permits::new();
    let app = app(&permits).await;
    let rig = Rig::start(&app.address);
    for path in [
        "/length",
        "/chunked",
        "/close",
        "/stream/length",
        "/stream/chunked",
    ] {
        read_h1(Client::connect(rig.plain()).await, path, &permits).await;
        let stream = tls(rig.tls(), &rig.certificate(), &["http/1.1"]).await;
        read_h1(Client::new(stream), path, &permits).await;

        let stream = tls(rig.tls(), &rig.certificate(), &["h2"]).await;
        let mut client = H2::connect(stream).await;
        let mut body = client.send(get(path), &[]).await.unwrap().into_body();
        for n in 0..PIECES {
            permits.give(1);
            let data = soon("a piece", body.data()).await.unwrap().unwrap();
            assert_eq!(data, piece(n));
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let end = soon("the end", body.data()).await;
        assert!(end.is_none_or(|data| data.unwrap().is_empty()), "{path}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_look_complete() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"abc");
    assert_eq!(client.chunk().await, None, "cut, not ended");

    let stream = tls(rig.tls(), &rig.certificate(), &["h2"]).await;
    let mut client = H2::connect(stream).await;
    assert!(
        client.request(get("/"), &[]).await.is_err(),
        "reset, not ended"
    );
}

/// What its client takes slowly, and then breaks off, or is whole.
#[tokio::test]
async fn over_http_1_0_all_that_was_sent_arrives_and_only_what_is_whole_ends() {
    let body = piece(0).repeat(20_000);
    let app = App::sharing(&body, |mut conn, body| async move {
        let head = conn.head().await.unwrap();
        let kind = if head.contains("/events") {
            "text/event-stream"
        } else {
            "text/plain"
        };
        let last = if head.contains("-whole") {
            "0\r\n\r\n"
        } else {
            ""
        };
        let length = body.len();
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{body}\r\n{last}"
        ))
        .await;
    })
    .await;
    let rig = Rig::start(&app.address);
    for path in ["/plain", "/stream/plain", "/stream/events"] {
        for (suffix, is_whole) in [("", false), ("-whole", true)] {
            let mut client = Client::new(narrow(rig.plain()).await);
            let request = format!("GET {path}{suffix} HTTP/1.0\r\nHost: a\r\n\r\n");
            client.send(request).await;
            client.head().await.unwrap();
            let end = loop {
                match client.try_sip(4096).await {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
            };
            let got = client.take_read();
            assert_eq!(got.len(), body.len(), "{path}{suffix}: all of it");
            assert!(got == body.as_bytes(), "{path}{suffix}");
            assert_eq!(end, is_whole, "{path}{suffix}: ends cleanly");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let left = Permits::new();
    let app = App::sharing(&left, |mut conn, left| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            .await;
        conn.closed().await;
        left.give(1);
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    drop(client);
    left.expect("the app to see it").await;

    let stream = tls(rig.tls(), &rig.certificate(), &["h2"]).await;
    let mut client = H2::connect(stream).await;
    let response = client.send(get("/"), &[]).await.unwrap();
    drop(response);
    left.expect("the app to see it").await;
}
