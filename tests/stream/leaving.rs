//! A drain, and a reload that takes a route away: endless streams leave within a window, what ends by
//! itself may finish.

use crate::{
    paced::paced,
    reader::{Answer, Ask, BOTH, CHAT, EVENT_SOURCE, FETCH, Next, Over, ask, counted},
    rig::{
        Rig, Settings,
        app::{App, STREAM},
        client::Client,
        permits::Permits,
        soon,
    },
};

#[tokio::test]
async fn a_draining_process_opens_no_endless_stream_and_serves_the_rest() {
    let app = App::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        conn.body_of(&head).await;
        conn.send(format!("{STREAM}9\r\ndata: a\n\n\r\n0\r\n\r\n"))
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

/// An app whose events to a GET are begun, and whose answers are not whole, without a permit.
async fn app(permits: &Permits) -> App {
    paced(permits, |head, mut conn, permits| async move {
        conn.send(format!("{STREAM}9\r\ndata: a\n\n\r\n")).await;
        if head.starts_with("GET") {
            conn.send("8\r\ndata: b\n\r\n").await;
            permits.take().await;
            conn.send("1\r\n\n\r\n").await;
        } else {
            permits.take().await;
            conn.send("9\r\ndata: c\n\n\r\n0\r\n\r\n").await;
        }
        conn.closed().await;
    })
    .await
}

/// Streams of each kind, up to where the app waits.
async fn begun(rig: &Rig) -> Vec<(Over, Ask, Answer)> {
    let mut answers = Vec::new();
    for over in BOTH {
        for request in [CHAT, EVENT_SOURCE, FETCH] {
            let mut answer = ask(rig, over, request).await;
            answer.expect("data: a\n\n").await;
            if request.method == "GET" {
                answer.expect("data: b\n").await;
            }
            answers.push((over, request, answer));
        }
    }
    answers
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The process drains.
    Drained,
    /// A reload gave the route another app.
    Reloaded,
}

#[tokio::test]
async fn endless_streams_leave_and_answers_finish() {
    for why in [Why::Drained, Why::Reloaded] {
        let (permits, other) = (Permits::new(), App::echo().await);
        let app = app(&permits).await;
        let settings = Settings {
            stream: &["retry: {min: 1s, max: 2s}"],
            drain: &["window: 1s", "margin: 60s"],
            ..Settings::default()
        };
        let rig = Rig::watching(&app.address, settings);
        let answers = begun(&rig).await;
        match why {
            Why::Drained => {
                rig.drain();
                rig.until_metric("draining_answers", 2).await;
            }
            Why::Reloaded => {
                // Nobody leaves for what concerns no stream.
                let limits = &["channels_max: 7"];
                rig.reload(&app.address, Settings { limits, ..settings })
                    .await;
                // Longer than these answers take, whatever the machine does beside.
                let drain = &["window: 60s"];
                rig.reload(&other.address, Settings { drain, ..settings })
                    .await;
            }
        }
        // Six are to go on: the events that were begun, and the two answers.
        permits.give(6);
        for (over, request, mut answer) in answers {
            let (got, end) = answer.rest().await;
            let case = format!("{why:?} {over:?} {request:?}: {got:?}");
            match (request.method, request.fields.len()) {
                ("POST", _) => {
                    assert_eq!((got.as_str(), end), ("data: c\n\n", Next::End), "{case}");
                }
                (_, 2) => {
                    let time = got
                        .strip_prefix("\nretry: ")
                        .and_then(|rest| rest.strip_suffix('\n'))
                        .and_then(|time| time.parse::<u64>().ok());
                    let time = time.unwrap_or_else(|| panic!("{case}"));
                    assert!((1_000..=2_000).contains(&time), "{case}");
                    assert_eq!(end, Next::End, "{case}");
                }
                _ => assert_eq!((got.as_str(), end), ("\n", Next::Cut), "{case}"),
            }
        }
        let reason = match why {
            Why::Drained => "drained",
            Why::Reloaded => "reloaded",
        };
        let ended = format!("ended_total{{route=\"stream-rest\",reason=\"{reason}\"}} 4");
        counted(&rig, &ended).await;
        rig.until_metric("draining_answers", 0).await;
    }
}

#[tokio::test]
async fn an_answer_whose_route_is_gone_is_cut_where_a_drain_would_be_over() {
    let (permits, other) = (Permits::new(), App::echo().await);
    let app = app(&permits).await;
    let settings = Settings {
        drain: &["window: 0s"],
        ..Settings::default()
    };
    let rig = Rig::watching(&app.address, settings);
    let mut answers = Vec::new();
    for over in BOTH {
        // A page's fields do not make it a stream that may end anywhere.
        for fields in [CHAT.fields, EVENT_SOURCE.fields] {
            let mut answer = ask(&rig, over, Ask { fields, ..CHAT }).await;
            answer.expect("data: a\n\n").await;
            answers.push(answer);
        }
    }
    rig.reload(&other.address, settings).await;
    for mut answer in answers {
        assert_eq!(answer.rest().await, (String::new(), Next::Cut));
    }
    let ended = "ended_total{route=\"stream-rest\",reason=\"reloaded\"} 4";
    counted(&rig, ended).await;
}
