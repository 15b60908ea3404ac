//! The seam of replay and live: a thousand joins while the app writes as fast as it can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::rig::{
    Side,
    app::{App, Exchange, chunk},
    reader::{Ask, H2, Reader, event_source, get, h1, h1_pending},
    wire::Item,
};

const JOINS: usize = 1_000;
/// Joins under way at a time.
const CREW: usize = 40;
/// Events that each joiner looks at.
const EVENTS: u64 = 20;

/// Events that the app may be ahead of what any client has seen before it slows down: the test is
/// about the seam, not about how much fits into a ring.
const LEAD: u64 = 5_000;

/// Writes numbered events until told to stop; returns how many.
async fn feed(mut exchange: Exchange, seen: Seen, stop: Arc<AtomicBool>) -> u64 {
    let mut next = 0;
    while !stop.load(Ordering::SeqCst) {
        let newest = seen.lock().last().map_or(0, |(_, number)| *number);
        if next > newest + LEAD {
            // And never stops: who joins at the head waits for what comes next.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut bytes = String::new();
        for _ in 0..=next % 7 {
            bytes.push_str(&chunk(&format!("data: {next}\n\n")));
            next += 1;
        }
        exchange.send(bytes).await;
        tokio::task::yield_now().await;
    }
    next
}

/// Ids that were seen, with the number of their event.
type Seen = Arc<Mutex<Vec<(String, u64)>>>;

/// Joins and looks at the first events. A resumed reader starts right behind its id.
async fn join(reader: Reader, resumed: Option<u64>, seen: Seen) {
    let mut reader = reader;
    let mut last = resumed;
    for _ in 0..EVENTS {
        let event = loop {
            match reader.next_but_beats().await {
                Item::Event(event) => break event,
                Item::Comment(text) => assert!(!text.contains("gap"), "{text} after {last:?}"),
                Item::Retry(_) | Item::Id(_) => {}
            }
        };
        assert!(!event.is_gap(), "{event:?} after {last:?}");
        let number: u64 = event.data.parse().unwrap();
        if let Some(last) = last {
            assert_eq!(number, last + 1, "resumed at {resumed:?}");
        }
        last = Some(number);
        seen.lock().push((event.id().to_owned(), number));
    }
}

#[tokio::test]
async fn a_thousand_joins_while_events_flow_lose_nothing_and_see_nothing_twice() {
    let app = App::start().await;
    // Nobody is to be cut for being slow: the machine may be.
    let side = Side::start(
        app.port(),
        "ring: { events_max: 1000000, bytes_max: 256MiB }\n\
         slow: { events_max: 1000000, bytes_max: 256MiB, stall_max: 1m }",
    );
    let pending = h1_pending(side.plain(), &event_source("/feed/a")).await;
    let exchange = app.opens().await;
    let seen: Seen = Seen::default();
    let stop = Arc::new(AtomicBool::new(false));
    let feeding = tokio::spawn(feed(exchange, seen.clone(), stop.clone()));
    join(pending.head().await, None, seen.clone()).await;

    let connections = [
        H2::connect(side.plain()).await,
        H2::connect(side.plain()).await,
    ];
    let address = side.plain();
    let mut joins = JoinSet::new();
    for n in 0..JOINS {
        if joins.len() >= CREW {
            joins.join_next().await.unwrap().unwrap();
        }
        let resumes = (n % 2 == 0).then(|| {
            let seen = seen.lock();
            // Now a recent one, now one from long ago.
            let back = if n % 4 == 0 { 1 } else { 100 };
            let at = seen.len().saturating_sub(back);
            seen[at].clone()
        });
        let kind: fn(&str) -> Ask = if n % 3 == 0 { get } else { event_source };
        let mut ask = kind("/feed/a");
        let mut from = None;
        if let Some((id, number)) = resumes {
            ask = ask.last_id(&id);
            from = Some(number);
        }
        let (seen, connection) = (seen.clone(), connections[n % 2].clone());
        joins.spawn(async move {
            let reader = if n % 5 < 2 {
                connection.ask(&ask).await
            } else {
                h1(address, &ask).await
            };
            join(reader, from, seen).await;
        });
    }
    while let Some(joined) = joins.join_next().await {
        joined.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    assert!(feeding.await.unwrap() > EVENTS);
    assert_eq!(app.requests(), 1);
    side.until_empty().await;
}
