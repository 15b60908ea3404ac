//! The gate before the app: connections and attempts are bounded, whoever wants them.

use std::collections::VecDeque;

use tokio::task::JoinSet;

use crate::rig::{
    Settings, Side,
    app::{App, Exchange, STREAM},
    reader::{End, Reader, event_source, get, h1, h1_pending},
    until,
    wire::Item,
};

const CHANNELS: usize = 2_000;
const ATTEMPTS_MAX: usize = 8;

/// Nobody is answered for want of time, and no attempt is given up for it.
const PATIENT: Settings<'_> = Settings {
    upstream: "attempts_max: 8, connections_max: 2100, connect_timeout: 60s",
    fanout: "open_wait: 60s\nhead_wait: 60s",
    limits: "",
    routes: &[],
    drain: "",
    file: "",
};

/// Answers one attempt after the other as they come, always the one that waits longest.
async fn answer_all(app: &App, answered: usize) -> Vec<Exchange> {
    let mut open = Vec::new();
    let mut asking = VecDeque::new();
    while answered + open.len() < CHANNELS {
        let left = CHANNELS - answered - open.len();
        while asking.len() < ATTEMPTS_MAX.min(left) {
            asking.push_back(app.asked().await);
        }
        assert!(
            app.requests() <= answered + open.len() + ATTEMPTS_MAX,
            "{} asked while {} are answered",
            app.requests(),
            open.len()
        );
        let mut exchange: Exchange = asking.pop_front().unwrap();
        exchange.send(STREAM).await;
        open.push(exchange);
    }
    assert_eq!(app.requests(), CHANNELS);
    open
}

/// A channel for each of the clients, which differ by their credentials.
fn crowd(side: &Side) -> JoinSet<Reader> {
    let address = side.plain();
    (0..CHANNELS)
        .map(|n| {
            let ask = get("/feed/a").with("Authorization", &n.to_string());
            async move { h1(address, &ask).await }
        })
        .collect()
}

#[tokio::test]
async fn a_crowd_comes_back_to_a_restarted_app_a_few_at_a_time() {
    let app = App::start().await;
    let side = Side::with(app.port(), &PATIENT);
    let crowd = crowd(&side);
    let waiting = "app_attempts_waiting{upstream=\"app\"}";
    side.until_metric(waiting, (CHANNELS - ATTEMPTS_MAX) as i64)
        .await;
    let open = answer_all(&app, 0).await;
    let readers = crowd.join_all().await;

    let address = app.kill().await;
    drop(open);
    let (attempts, attempts_max) = (
        "app_attempts{upstream=\"app\"}",
        "app_attempts_max{upstream=\"app\"}",
    );
    until("one asks for all", || {
        side.metric(attempts_max) == 1 && side.metric(attempts) <= 1
    })
    .await;
    let app = App::listen(address);
    let mut open = Vec::new();
    for round in [1, 2, 4, 8] {
        side.until_metric(attempts, round).await;
        side.until_metric(waiting, (CHANNELS - open.len()) as i64 - round)
            .await;
        let mut asking = Vec::new();
        for _ in 0..round {
            asking.push(app.asked().await);
        }
        assert_eq!(app.requests(), open.len() + asking.len());
        for mut exchange in asking {
            exchange.send(STREAM).await;
            open.push(exchange);
        }
    }
    open.extend(answer_all(&app, open.len()).await);
    for exchange in &mut open {
        exchange.event("again").await;
    }
    for mut reader in readers {
        assert_eq!(reader.data(1).await, ["again"]);
    }
}

/// An app that sends its head with its first event would hold all attempts for as long as it has
/// nothing to say.
#[tokio::test]
async fn a_silent_app_is_asked_for_all_channels() {
    let app = App::start().await;
    let settings = Settings {
        upstream: "attempts_max: 1, connect_timeout: 50ms",
        ..PATIENT
    };
    let side = Side::with(app.port(), &settings);
    let mut asked = Vec::new();
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(h1_pending(side.plain(), &get(&format!("/feed/{n}"))).await);
        asked.push(app.asked().await);
    }
    for mut exchange in asked {
        exchange.send(STREAM).await;
        exchange.event("at last").await;
        exchange.stay_open().await;
    }
    for pending in pending {
        assert_eq!(pending.head().await.data(1).await, ["at last"]);
    }
}

/// Pass-through requests that hang leave no connection for a channel: its clients are told in time,
/// and come back.
#[tokio::test]
async fn who_gets_no_connection_in_time_is_turned_away_and_served_later() {
    let app = App::start().await;
    let settings = Settings {
        upstream: "connections_max: 2",
        fanout: "open_wait: 300ms",
        ..Settings::default()
    };
    let side = Side::with(app.port(), &settings);
    let mut hanging = Vec::new();
    for _ in 0..2 {
        let pending = h1_pending(side.plain(), &get("/pass/a")).await;
        hanging.push((pending, app.asked().await));
    }
    let mut page = h1(side.plain(), &event_source("/feed/a")).await;
    assert_eq!(page.status, 200);
    let (items, end) = page.rest().await;
    assert!(
        matches!(items[..], [Item::Retry(_), Item::Comment(_)]),
        "{items:?}"
    );
    assert_eq!(end, End::Complete);
    let library = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(library.status, 503, "it is there, only busy");
    assert!(library.header("retry-after").is_some());
    let busy = "upstream_connects_total{route=\"feed\",outcome=\"busy\"}";
    assert!(side.metric(busy) > 0);
    assert_eq!(app.requests(), 2, "the app was not asked");

    let waiting = h1_pending(side.plain(), &event_source("/feed/a")).await;
    side.until_metric("app_attempts_waiting{upstream=\"app\"}", 1)
        .await;
    let (pending, exchange) = hanging.pop().unwrap();
    let answering = tokio::spawn(exchange.answer("200 OK", "Connection: close\r\n", b"done"));
    assert_eq!(pending.head().await.status, 200);
    let mut exchange = app.opens().await;
    exchange.event("served").await;
    assert_eq!(waiting.head().await.data(1).await, ["served"]);
    answering.await.unwrap();
    side.until_metric("app_connections{upstream=\"app\"}", 2)
        .await;
}
