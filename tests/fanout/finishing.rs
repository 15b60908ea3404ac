//! Draining: what ends by itself may finish.

use std::time::Duration;

use crate::{
    leaving::now,
    rig::{
        Settings, Side,
        app::App,
        reader::{End, H2, event_source, get, h1, h1_pending},
        soon,
    },
};

/// A route whose channels bring one answer.
pub(crate) const FINAL: &str =
    "{ name: final, path: '/final/{*rest}', action: fanout, on_end: final }";

#[tokio::test]
async fn an_answer_that_is_late_passes_for_whole_to_nobody() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            drain: "{ window: 200ms, margin: 300ms }",
            routes: &[FINAL],
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &event_source("/final/a")).await;
    let mut answer = app.opens().await;
    let h2 = H2::connect(side.plain()).await;
    let mut answered = [
        pending.head().await,
        h1(side.plain(), &get("/final/a").http10()).await,
        h2.ask(&event_source("/final/a")).await,
        h2.ask(&get("/final/a")).await,
    ];
    answer.event("the beginning").await;
    for reader in &mut answered {
        assert_eq!(reader.data(1).await, ["the beginning"]);
    }
    let start = now();
    let leaving = tokio::task::spawn_blocking(move || side.leave_now());
    for reader in &mut answered {
        assert_eq!(reader.end().await, End::Cut);
    }
    assert!(start.elapsed() >= Duration::from_millis(500), "not before");
    soon("the process ends in time", leaving).await.unwrap();
}

#[tokio::test]
async fn a_drain_by_command_is_over_when_all_answers_are() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            drain: "{ window: 0s, margin: 1h }",
            routes: &[FINAL, "{ name: chat, path: /chat, action: stream }"],
            ..Settings::default()
        },
    );
    let mut answers = Vec::new();
    for ask in [get("/final/a"), get("/chat").method("POST")] {
        let pending = h1_pending(side.plain(), &ask).await;
        let exchange = app.opens().await;
        answers.push((pending.head().await, exchange));
    }
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let _exchange = app.opens().await;
    let mut feed = pending.head().await;
    side.drain_by_command().await;
    assert_eq!(feed.end().await, End::Complete);
    for (left, (mut reader, exchange)) in (1..=2).rev().zip(answers) {
        side.until_metric("draining_answers", left).await;
        assert!(side.admin("/readyz").await.contains("\"draining\""));
        exchange.finish().await;
        assert_eq!(reader.end().await, End::Complete);
    }
    let drained = async { while !side.admin("/readyz").await.contains("\"drained\"") {} };
    soon("drained", drained).await;
}
