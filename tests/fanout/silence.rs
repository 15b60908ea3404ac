//! The app's silence: from one that comments by a clock it is a sign that it is frozen, from any
//! other it means nothing.

use std::time::Duration;

use sidestream::clock;

use crate::{
    base::PATIENCE,
    rig::{Side, app::App, opened},
};

const CUTS: &str = "upstream_cuts_total{route=\"feed\",reason=\"silence\"}";

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

/// Enough comments by a clock: the last of them came as regularly as they were meant to.
fn are_regular(gaps: &[Duration]) -> bool {
    let last = gaps.last_chunk::<6>().filter(|_| gaps.len() >= 12);
    last.is_some_and(|last| *last.iter().max().unwrap() * 2 <= *last.iter().min().unwrap() * 3)
}

/// An app that comments each `gap` and then freezes, its connection open: it is found after four times
/// the gap, or `least` if that is more, at most `late_max` later, and asked again. Its reader stays.
/// (Exact times are tested where the clock is an argument, in `rhythm`.)
async fn is_found(gap: Duration, least: Duration, late_max: Duration) {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (mut frozen, mut reader) = opened(&side, &app).await;
    let mut clock_of_app = tokio::time::interval(gap);
    let (mut last, mut gaps) = (clock::now(), Vec::new());
    let comments = async {
        while !are_regular(&gaps) {
            clock_of_app.tick().await;
            frozen.chunk(": still here\n\n").await;
            let now = clock::now();
            gaps.push(now.since(last));
            last = now;
        }
    };
    let regular = tokio::time::timeout(gap * 20 + PATIENCE, comments).await;
    regular.expect("regular comments, also on a crowded machine");
    let longest = gaps.into_iter().max().unwrap_or_default();
    let allowed = (longest * 4).max(least);
    let mut again = app.opens_within(allowed + late_max).await;
    let silence = clock::now().since(last);
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
    // Well above what counts as one burst of comments.
    let gaps = [250, 400].map(Duration::from_millis);
    tokio::join!(
        is_found(gaps[0], LEAST, PATIENCE),
        is_found(gaps[1], LEAST, PATIENCE),
    );
}

#[tokio::test]
#[ignore = "takes ten minutes; `make bars` runs it"]
async fn silence_in_full_time() {
    const HALF: Duration = Duration::from_secs(300);
    // A tick of the process, the way to the app, and a machine that others use as well.
    const LATE_MAX: Duration = Duration::from_secs(2);
    let every_5_s = Duration::from_secs(5);
    let events = [every_5_s; 60];
    tokio::join!(
        is_left_alone(HALF * 2, &[]),
        is_left_alone(HALF, &events),
        is_found(every_5_s, LEAST, LATE_MAX),
    );
}
