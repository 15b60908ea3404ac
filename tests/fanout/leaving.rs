//! Draining: everybody is moved elsewhere, evenly, in a form that each kind of client survives.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::rig::{
    Settings, Side,
    app::App,
    reader::{End, H2, Reader, event_source, get, h1, h1_pending},
    soon,
    wire::Item,
};

const WINDOW: Duration = Duration::from_secs(4);

struct Left {
    kind: &'static str,
    after: Duration,
    items: Vec<Item>,
    end: End,
}

/// When the stream of `reader` ends, counted from `start`.
async fn leave(kind: &'static str, mut reader: Reader, start: tokio::time::Instant) -> Left {
    let (items, end) = reader.rest().await;
    Left {
        kind,
        after: start.elapsed(),
        items,
        end,
    }
}

#[tokio::test]
async fn a_drain_closes_along_an_even_slope_and_suits_each_client() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            fanout: "retry: { min: 1s, max: 2s }",
            drain: "{ window: 4s, margin: 20s }",
            ..Settings::default()
        },
    );
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let _exchange = app.opens().await;
    let mut readers = vec![("h1 page", pending.head().await)];
    let h2 = H2::connect(side.plain()).await;
    for n in 1..200 {
        readers.push(match n % 5 {
            0 => ("h1 page", h1(side.plain(), &event_source("/feed/a")).await),
            1 => ("h1 library", h1(side.plain(), &get("/feed/a")).await),
            2 => ("h2 page", h2.ask(&event_source("/feed/a")).await),
            3 => ("h2 library", h2.ask(&get("/feed/a")).await),
            // Bytes without framing: a close would pass for the end of the answer.
            _ => (
                "h1.0 library",
                h1(side.plain(), &get("/feed/a").http10()).await,
            ),
        });
    }
    side.until_members(200).await;
    let mut leaving = JoinSet::new();
    let start = now();
    side.drain();
    for (kind, reader) in readers {
        leaving.spawn(leave(kind, reader, start));
    }
    let left = soon("everybody leaves", leaving.join_all()).await;

    let mut slices = [0; 4];
    for left in &left {
        slices[(left.after.as_secs() as usize).min(3)] += 1;
        let retry = left.items.iter().rev().find_map(|item| match item {
            Item::Retry(retry) => Some(*retry),
            Item::Comment(_) | Item::Id(_) | Item::Event(_) => None,
        });
        if left.kind.ends_with("page") {
            assert_eq!(left.end, End::Complete, "{}", left.kind);
            assert!(
                matches!(left.items.last(), Some(Item::Retry(_))),
                "{:?}",
                left.items
            );
            assert!(retry.is_some_and(|retry| (1_000..=2_000).contains(&retry)));
        } else {
            assert_eq!(left.end, End::Cut, "{}", left.kind);
            assert!(
                !matches!(left.items.last(), Some(Item::Retry(_))),
                "{:?}",
                left.items
            );
        }
    }
    // 50 in each second; a quarter of them may be early or late on a crowded machine.
    assert!(slices.iter().all(|n| (35..=65).contains(n)), "{slices:?}");
    side.until_metric(
        "subscribers_ended_total{route=\"feed\",reason=\"drained\"}",
        200,
    )
    .await;
    side.until_empty().await;
    soon("drained", tokio::task::spawn_blocking(move || side.leave()))
        .await
        .unwrap();
    assert!(start.elapsed() < WINDOW + Duration::from_secs(10));
}

#[expect(clippy::disallowed_methods, reason = "the test measures the slope")]
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test]
async fn who_joins_while_we_leave_joins_what_is_there_and_nothing_new() {
    let app = App::start().await;
    let side = Side::with(
        app.port(),
        &Settings {
            drain: "{ window: 1h, margin: 0s }",
            ..Settings::default()
        },
    );
    // Both connections are there before the listeners close.
    let h2 = H2::connect(side.plain()).await;
    let pending = h1_pending(side.plain(), &get("/feed/a")).await;
    let mut exchange = app.opens().await;
    let mut first = pending.head().await;
    let mut keep_alive = TcpStream::connect(side.plain()).await.unwrap();
    side.drain();
    side.until_metric("draining", 1).await;
    assert!(side.admin("/readyz").await.starts_with("HTTP/1.1 503"));

    if let Some(mut joined) = h2.try_ask(&get("/feed/a")).await {
        exchange.event("x").await;
        assert_eq!(joined.data(1).await, ["x"]);
    } else {
        exchange.event("x").await;
    }
    assert_eq!(first.data(1).await, ["x"]);
    if let Some(reader) = h2.try_ask(&get("/feed/new")).await {
        assert_eq!(reader.status, 503);
    }
    assert_eq!(app.requests(), 1);

    let head = "GET /pass/x HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    keep_alive.write_all(head.as_bytes()).await.unwrap();
    let serve = async {
        let mut exchange = app.asked().await;
        assert_eq!(exchange.line(), "GET /pass/x HTTP/1.1");
        exchange.send_answer("200 OK", "", b"passed").await;
        exchange
    };
    let mut text = String::new();
    let read = soon("the answer", keep_alive.read_to_string(&mut text));
    let (_exchange, read) = tokio::join!(serve, read);
    read.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("passed"),
        "{text}"
    );
}
