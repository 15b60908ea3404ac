//! The app's silence: from one that comments by a clock it is a sign that it is frozen, from any
//! other it means nothing.

use std::time::Duration;

use sidestream::clock;

use crate::rig::{Side, app::App, opened};

const CUTS: &str = "upstream_cuts_total{route=\"feed\",reason=\"silence\"}";

/// A tick of the process, the way to the app, and a machine that others use as well.
const LATE_MAX: Duration = Duration::from_secs(2);

/// An app that has nothing to say for so long, after events that came with `pauses` between them.
async fn is_left_alone(silence: Duration, pauses: &[Duration]) {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    for pause in pauses {
        exchange.event("now and then").await;
        reader.data(1).await;
        tokio::time::sleep(*pause).await;
    }
    tokio::time::sleep(silence).await;
    exchange.event("at last").await;
    assert_eq!(reader.data(1).await, ["at last"], "on the same stream");
    assert_eq!(app.requests(), 1);
    assert_eq!(side.metric_if_any(CUTS).unwrap_or(0), 0);
}

/// An app that comments each `gap` and then freezes, its connection open: it is found within four
/// times the gap, or `least` if that is more, and asked again. Its reader stays.
async fn is_found(gap: Duration, least: Duration) {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (mut frozen, mut reader) = opened(&side, &app).await;
    let mut clock_of_app = tokio::time::interval(gap);
    let (mut last, mut longest) = (clock::now(), Duration::ZERO);
    for n in 0..8 {
        clock_of_app.tick().await;
        frozen.chunk(": still here\n\n").await;
        let now = clock::now();
        if n > 0 {
            longest = longest.max(now.since(last));
        }
        last = now;
    }
    let mut again = app.opens_within(gap * 10 + least).await;
    let silence = clock::now().since(last);
    let allowed = (longest * 4).max(least);
    let late = silence.saturating_sub(allowed);
    assert!(late < LATE_MAX, "found after {silence:?}");
    assert!(silence > gap * 3, "found after {silence:?}: too rash");
    assert_eq!(side.metric(CUTS), 1);
    again.event("alive").await;
    assert!(reader.event().await.is_gap());
    assert_eq!(reader.data(1).await, ["alive"]);
    assert_eq!(app.requests(), 2);
}

/// The least silence that means anything.
const LEAST: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_app_without_a_clock_of_comments_may_be_silent() {
    // Events at a regular pace are no such clock.
    let pauses = [Duration::from_millis(100); 10];
    tokio::join!(
        is_left_alone(LEAST * 5, &[]),
        is_left_alone(LEAST * 5, &pauses),
    );
}

#[tokio::test]
async fn an_app_that_comments_by_a_clock_and_freezes_is_found() {
    let gaps = [100, 400].map(Duration::from_millis);
    tokio::join!(is_found(gaps[0], LEAST), is_found(gaps[1], LEAST));
}

#[tokio::test]
#[ignore = "takes ten minutes; `make bars` runs it"]
async fn silence_in_full_time() {
    const HALF: Duration = Duration::from_secs(300);
    let every_5_s = Duration::from_secs(5);
    let events = [every_5_s; 60];
    tokio::join!(
        is_left_alone(HALF * 2, &[]),
        is_left_alone(HALF, &events),
        is_found(every_5_s, LEAST),
    );
}
