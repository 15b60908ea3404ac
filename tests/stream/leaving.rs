//! A drain: endless streams leave within the window, what ends by itself may finish.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{
    reader::{BOTH, CHAT, EVENT_SOURCE, FETCH, Next, Over, ask, counted},
    rig::{Rig, Settings, app::App, client::Client, soon},
};

#[tokio::test]
async fn a_draining_process_opens_no_endless_stream_and_serves_the_rest() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        conn.body_of(&head).await;
        conn.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n",
        )
        .await;
        conn.closed().await;
    })
    .await;
    let settings = Settings {
        drain: &["window: 60s"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    // Keeps the process from being done at once.
    let _held = Client::connect(rig.plain()).await;
    rig.drain();
    soon("a refusal", async {
        while ask(&rig, Over::Http1, FETCH).await.status != 503 {}
    })
    .await;
    let answer = ask(&rig, Over::Http1, EVENT_SOURCE).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), "text/event-stream");
    assert!(
        !answer.field("content-length").is_empty(),
        "it ends at once"
    );
    let (got, end) = ask(&rig, Over::Http1, CHAT).await.rest().await;
    assert_eq!((got.as_str(), end), ("data: a\n\n", Next::End));
    let refused = "refused_total{reason=\"draining\"} 2";
    counted(&rig, refused).await;
}

#[tokio::test]
async fn endless_streams_leave_and_answers_finish() {
    let next = Arc::new(Semaphore::new(0));
    let permits = next.clone();
    let app = App::start(move |mut conn| {
        let next = permits.clone();
        async move {
            let head = conn.head().await.unwrap();
            conn.body_of(&head).await;
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n",
            )
            .await;
            if head.starts_with("GET") {
                // An event is begun: nobody leaves before it is over.
                conn.send("8\r\ndata: b\n\r\n").await;
                soon("a permit", next.acquire()).await.unwrap().forget();
                conn.send("1\r\n\n\r\n").await;
            } else {
                soon("a permit", next.acquire()).await.unwrap().forget();
                conn.send("9\r\ndata: c\n\n\r\n0\r\n\r\n").await;
            }
            conn.closed().await;
        }
    })
    .await;
    let settings = Settings {
        drain: &["window: 1s", "margin: 60s"],
        ..Settings::default()
    };
    let rig = Rig::with(&app.address, settings);
    let mut answers = Vec::new();
    for over in BOTH {
        for request in [CHAT, EVENT_SOURCE, FETCH] {
            let mut answer = ask(&rig, over, request).await;
            answer.expect("data: a\n\n").await;
            if request.method == "GET" {
                answer.expect("data: b\n").await;
            }
            answers.push((over, request, answer));
        }
    }
    rig.drain();
    // Six are to go on: the events that were begun, and the two answers.
    next.add_permits(6);
    for (over, request, mut answer) in answers {
        let (got, end) = answer.rest().await;
        let case = format!("{over:?} {request:?}: {got:?}");
        match (request.method, request.fields.len()) {
            ("POST", _) => assert_eq!((got.as_str(), end), ("data: c\n\n", Next::End), "{case}"),
            (_, 2) => {
                let time = got
                    .strip_prefix("\nretry: ")
                    .and_then(|rest| rest.strip_suffix('\n'))
                    .and_then(|time| time.parse::<u64>().ok());
                let time = time.unwrap_or_else(|| panic!("{case}"));
                assert!((1_000..=5_000).contains(&time), "{case}");
                assert_eq!(end, Next::End, "{case}");
            }
            _ => assert_eq!((got.as_str(), end), ("\n", Next::Cut), "{case}"),
        }
    }
    let drained = "ended_total{route=\"stream-rest\",reason=\"drained\"} 4";
    counted(&rig, drained).await;
}
