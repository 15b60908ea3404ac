//! Streams that break off, stall, or are left.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::net::TcpStream;

use crate::{
    reader::{BOTH, CHAT, FETCH, Next, Over, ask, counted, http1},
    rig::{
        Rig, Settings,
        app::{App, STREAM},
        client::Client,
        h2::{H2, get, request},
        permits::Permits,
        soon,
    },
};

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        conn.body_of(&head).await;
        conn.send(format!("{STREAM}9\r\ndata: a\n\n\r\n")).await;
    })
    .await;
    let rig = Rig::start(&app.address);
    for over in BOTH {
        for request in [CHAT, FETCH] {
            let mut answer = ask(&rig, over, request).await;
            let (got, end) = answer.rest().await;
            assert_eq!((got.as_str(), end), ("data: a\n\n", Next::Cut), "{over:?}");
        }
    }
    counted(
        &rig,
        "ended_total{route=\"stream-rest\",reason=\"upstream_cut\"} 4",
    )
    .await;
    counted(
        &rig,
        "upstream_cuts_total{route=\"stream-rest\",reason=\"truncated\"} 4",
    )
    .await;
}

#[tokio::test]
async fn over_http_1_0_only_a_reset_shows_that_an_answer_broke_off() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
        conn.send(format!("{STREAM}9\r\ndata: a\n\n\r\n")).await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let mut client = Client::connect(rig.plain()).await;
    client
        .send("GET /stream/a HTTP/1.0\r\nHost: a\r\n\r\n")
        .await;
    let end = loop {
        match client.try_sip(1024).await {
            Ok(0) => break "closed",
            Ok(_) => {}
            Err(_) => break "reset",
        }
    };
    assert_eq!(end, "reset");
}

#[tokio::test]
async fn an_app_without_an_answer_is_a_bad_gateway() {
    let app = App::start(|mut conn| async move {
        conn.head().await;
    })
    .await;
    let rig = Rig::start(&app.address);
    let gone = TcpStream::connect("127.0.0.1:1").await.is_err();
    assert!(gone, "nobody listens on port 1");
    let unreachable = Rig::start("http://127.0.0.1:1");
    for over in BOTH {
        for request in [CHAT, FETCH] {
            assert_eq!(ask(&rig, over, request).await.status, 502, "{over:?}");
            assert_eq!(
                ask(&unreachable, over, request).await.status,
                502,
                "{over:?}"
            );
        }
    }
    counted(
        &rig,
        "connects_total{route=\"stream-rest\",outcome=\"no_head\"} 4",
    )
    .await;
    counted(
        &unreachable,
        "connects_total{route=\"stream-rest\",outcome=\"unreachable\"} 4",
    )
    .await;
}

#[tokio::test]
async fn a_silent_app_is_given_up() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        if head.starts_with("GET") {
            conn.send(format!("{STREAM}9\r\ndata: a\n\n\r\n")).await;
        }
        conn.closed().await;
    })
    .await;
    let settings = Settings {
        stream: &["watchdog: 1s"],
        upstream: &["read_timeout: 1s"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    for over in BOTH {
        let (got, end) = ask(&rig, over, FETCH).await.rest().await;
        assert_eq!((got.as_str(), end), ("data: a\n\n", Next::Cut), "{over:?}");
        assert_eq!(ask(&rig, over, CHAT).await.status, 504, "{over:?}");
    }
    counted(
        &rig,
        "upstream_cuts_total{route=\"stream-rest\",reason=\"silence\"} 2",
    )
    .await;
}

/// How far the app goes before it waits for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Head,
    Body,
    Stream,
}

/// An app that tells when a request has come so far, and when its connection is closed.
async fn watchful(until: Until, reached: &Permits, closed: &Permits) -> App {
    let told = (reached.clone(), closed.clone());
    App::sharing(&told, move |mut conn, (reached, closed)| async move {
        conn.head().await;
        match until {
            Until::Head => {}
            Until::Body => {
                conn.take(1).await;
            }
            Until::Stream => conn.send(format!("{STREAM}9\r\ndata: a\n\n\r\n")).await,
        }
        reached.give(1);
        conn.closed().await;
        closed.give(1);
    })
    .await
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    const UNFINISHED: &str =
        "POST /stream/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf of it";
    for until in [Until::Head, Until::Body, Until::Stream] {
        let (reached, closed) = (Permits::new(), Permits::new());
        let app = watchful(until, &reached, &closed).await;
        let rig = Rig::start(&app.address);
        let streaming = async |over: Over| {
            let label = over.label();
            let line = format!("subscribers{{route=\"stream-rest\",protocol=\"{label}\"}} 1");
            counted(&rig, &line).await;
        };

        let mut client = Client::connect(rig.plain()).await;
        match until {
            Until::Head | Until::Stream => client.send(http1(FETCH)).await,
            Until::Body => client.send(UNFINISHED).await,
        }
        reached.expect("the request").await;
        if until == Until::Stream {
            streaming(Over::Http1).await;
        }
        drop(client);
        closed.expect("the end over HTTP/1").await;

        let stream = TcpStream::connect(rig.plain()).await.unwrap();
        let mut client = H2::connect(stream).await;
        let asking = tokio::spawn(async move {
            let body = [bytes::Bytes::from(vec![b'x'; 60_000])];
            let answer = match until {
                Until::Head | Until::Stream => client.send(get("/stream/a"), &[]).await,
                Until::Body => client.send(request("POST", "/stream/a"), &body).await,
            };
            let _held = (answer, client);
            std::future::pending::<()>().await;
        });
        reached.expect("the request").await;
        if until == Until::Stream {
            streaming(Over::Http2).await;
        }
        asking.abort();
        closed.expect("the end over HTTP/2").await;
        if until == Until::Stream {
            counted(
                &rig,
                "ended_total{route=\"stream-rest\",reason=\"client_left\"} 2",
            )
            .await;
        }
        counted(&rig, "upstream_connections{route=\"stream-rest\"} 0").await;
        let taken = async {
            while rig.hub().admission.subscribers.taken() > 0 {
                tokio::task::yield_now().await;
            }
        };
        soon("the permit", taken).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_makes_the_app_wait_and_is_cut_off() {
    /// Far more than the kernel's buffers on the way hold.
    const WANTED_BYTES: usize = 512 << 20;
    const TAKEN_BYTES_MAX: usize = 64 << 20;
    let (sent, closed) = (Arc::new(AtomicUsize::new(0)), Permits::new());
    let told = (sent.clone(), closed.clone());
    let app = App::sharing(&told, |mut conn, (sent, closed)| async move {
        conn.head().await;
        conn.send(STREAM).await;
        let event = format!("data: {}\n\n", "x".repeat(64 << 10));
        let chunk = format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
        while sent.load(Ordering::Relaxed) < WANTED_BYTES && conn.try_send(&chunk).await {
            sent.fetch_add(chunk.len(), Ordering::Relaxed);
        }
        closed.give(1);
    })
    .await;
    let settings = Settings {
        stream: &["slow: {stall_max: 500ms}"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    for (n, over) in BOTH.into_iter().enumerate() {
        sent.store(0, Ordering::Relaxed);
        let answer = ask(&rig, over, FETCH).await;
        closed.expect("the app to be let go").await;
        let taken = sent.load(Ordering::Relaxed);
        assert!(taken < TAKEN_BYTES_MAX, "{over:?}: {taken}");
        let ended = format!(
            "ended_total{{route=\"stream-rest\",reason=\"slow\"}} {}",
            n + 1
        );
        counted(&rig, &ended).await;
        drop(answer);
    }
}
