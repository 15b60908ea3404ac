//! Ids, resuming, and gaps.

use crate::rig::{
    Side,
    app::App,
    opened,
    reader::{End, H2, Reader, event_source, get, h1, h1_pending},
    until,
    wire::{Event, Item},
};

async fn events(reader: &mut Reader, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(reader.event().await);
    }
    events
}

fn reason(gap: &Event) -> &str {
    assert!(gap.is_gap(), "{gap:?}");
    let json = gap.data.split('"').collect::<Vec<_>>();
    json[3]
}

#[tokio::test]
async fn a_client_resumes_exactly_by_header_and_by_query() {
    let app = App::start().await;
    let side = Side::start(app.port(), "");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    for n in 0..10 {
        exchange.event(&n.to_string()).await;
    }
    let all = events(&mut reader, 10).await;
    let h2 = H2::connect(side.plain()).await;
    for (at, event) in all.iter().enumerate() {
        let header = event_source("/feed/a").last_id(event.id());
        let query = get(&format!("/feed/a?last_event_id={}", event.id()));
        // The header wins: the query of a page that reconnects is the old one.
        let both = get(&format!("/feed/a?last_event_id={}", all[0].id())).last_id(event.id());
        for ask in [header, query, both] {
            let rest = &all[at + 1..];
            let mut over_h1 = h1(side.plain(), &ask).await;
            assert_eq!(events(&mut over_h1, rest.len()).await, rest);
            let mut over_h2 = h2.ask(&ask).await;
            assert_eq!(events(&mut over_h2, rest.len()).await, rest);
        }
    }
    // The position of the opening block resumes as well: a cut before the first event is no hole.
    let mut fresh = h1(side.plain(), &event_source("/feed/a")).await;
    let position = loop {
        if let Some(Item::Id(id)) = fresh.next().await {
            break id;
        }
    };
    drop(fresh);
    exchange.event("meanwhile").await;
    reader.event().await;
    let ask = event_source("/feed/a").last_id(&position);
    assert_eq!(h1(side.plain(), &ask).await.data(1).await, ["meanwhile"]);
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn what_cannot_be_resumed_is_announced() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 100ms\nring: { events_max: 4 }");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    for n in 1..=10 {
        exchange.event(&n.to_string()).await;
    }
    let all = events(&mut reader, 10).await;

    let ask = event_source("/feed/a").last_id(all[0].id());
    let mut evicted = h1(side.plain(), &ask).await;
    let gap = evicted.event().await;
    assert_eq!(reason(&gap), "evicted");
    assert!(gap.data.contains("\"missed\":5"), "{}", gap.data);
    assert_eq!(events(&mut evicted, 4).await, all[6..]);

    for id in [
        "7",
        "nonsense",
        "0000000000-99",
        &format!("{}9", all[9].id()),
    ] {
        let mut unknown = h1(side.plain(), &event_source("/feed/a").last_id(id)).await;
        let expected = if id.starts_with("0000000000-") {
            "other_epoch"
        } else {
            "unknown_id"
        };
        assert_eq!(reason(&unknown.event().await), expected, "{id}");
        exchange.event("next").await;
        assert_eq!(
            unknown.data(1).await,
            ["next"],
            "nothing is replayed on a guess"
        );
    }

    drop((reader, evicted));
    exchange.closed().await;
    let ask = event_source("/feed/a").last_id(all[9].id());
    let pending = h1_pending(side.plain(), &ask).await;
    let mut exchange = app.opens().await;
    let mut next_life = pending.head().await;
    assert_eq!(reason(&next_life.event().await), "other_epoch");
    exchange.event("new").await;
    assert_eq!(next_life.data(1).await, ["new"]);
}

#[tokio::test]
async fn a_gap_is_told_in_the_form_that_the_client_survives() {
    let cases = [
        ("auto", event_source("/feed/a"), true),
        ("auto", get("/feed/a"), false),
        ("event", get("/feed/a"), true),
        ("comment", event_source("/feed/a"), false),
    ];
    for (notice, ask, as_event) in cases {
        let app = App::start().await;
        let side = Side::start(app.port(), &format!("gap_notice: {notice}"));
        let pending = h1_pending(side.plain(), &ask).await;
        let mut exchange = app.opens().await;
        let mut reader = pending.head().await;
        exchange.event("a").await;
        assert_eq!(reader.data(1).await, ["a"]);
        exchange.reset();
        let mut exchange = app.opens().await;
        exchange.event("b").await;
        let seen = reader.next().await.unwrap();
        let is_event = matches!(&seen, Item::Event(event) if event.is_gap());
        let is_comment =
            matches!(&seen, Item::Comment(text) if text.starts_with(" sidestream-gap {"));
        assert_eq!(
            (is_event, is_comment),
            (as_event, !as_event),
            "{notice}: {seen:?}"
        );
        assert_eq!(reader.data(1).await, ["b"]);
    }
}

/// The stream is closed at the gap; who comes back with its last id goes on behind it, and is not
/// closed at the same gap for ever.
#[tokio::test]
async fn a_gap_that_closes_closes_once() {
    let app = App::start().await;
    let side = Side::start(app.port(), "gap_notice: close");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let mut library = h1(side.plain(), &get("/feed/a")).await;
    exchange.event("a").await;
    let last = page.event().await;
    assert_eq!(library.data(1).await, ["a"]);
    exchange.reset();
    let mut exchange = app.opens().await;
    exchange.event("b").await;
    assert_eq!(page.end().await, End::Complete);
    assert_eq!(library.end().await, End::Cut);
    for _ in 0..3 {
        let ask = event_source("/feed/a").last_id(last.id());
        let mut back = h1(side.plain(), &ask).await;
        assert_eq!(back.data(1).await, ["b"]);
    }
    side.until_metric("subscribers_ended_total{route=\"feed\",reason=\"gap\"}", 2)
        .await;
}

#[tokio::test]
async fn the_apps_own_ids_pass_and_resume_when_they_are_unique() {
    let app = App::start().await;
    let side = Side::start(app.port(), "ids: unique");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    for n in 1..=5 {
        exchange
            .chunk(&format!("id: {n}\nevent: tick\ndata: {n}\n\n"))
            .await;
    }
    exchange.event("without").await;
    let all = events(&mut reader, 6).await;
    for (event, n) in all.iter().zip(1..=5) {
        assert_eq!(
            (event.id(), event.name.as_str()),
            (n.to_string().as_str(), "tick")
        );
    }
    assert_eq!(all[5].id, None);
    let mut back = h1(side.plain(), &event_source("/feed/a").last_id("3")).await;
    assert_eq!(events(&mut back, 3).await, all[3..]);

    // The app is restarted and counts from 1 again: "3" has two meanings now, so it has none.
    exchange.reset();
    let mut exchange = app.opens().await;
    for n in 1..=5 {
        exchange
            .chunk(&format!("id: {n}\ndata: again {n}\n\n"))
            .await;
    }
    for reader in [&mut reader, &mut back] {
        assert_eq!(reason(&reader.event().await), "upstream_cut");
        assert_eq!(reader.event().await.data, "again 1");
        assert_eq!(reader.data(4).await.last().unwrap(), "again 5");
    }
    for id in ["1", "3", "5"] {
        let mut lost = h1(side.plain(), &event_source("/feed/a").last_id(id)).await;
        assert_eq!(reason(&lost.event().await), "ambiguous_id", "{id}");
    }
}

/// What goes wrong with the app's connection.
#[derive(Debug, Clone, Copy)]
enum Break {
    Reset,
    /// The connection closes without the last chunk.
    Truncated,
    /// The whole app is gone for a while.
    Killed,
}

/// Readers of each kind, over each protocol.
async fn crowd(side: &Side) -> Vec<(Reader, bool)> {
    let h2 = H2::connect(side.plain()).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        for (ask, is_page) in [(event_source("/feed/a"), true), (get("/feed/a"), false)] {
            readers.push((h1(side.plain(), &ask).await, is_page));
            readers.push((h2.ask(&ask).await, is_page));
        }
    }
    readers
}

#[tokio::test]
async fn a_cut_of_the_app_costs_readers_a_pause_and_one_announced_gap() {
    for kind in [Break::Reset, Break::Truncated, Break::Killed] {
        let mut app = App::start().await;
        let side = Side::start(app.port(), "");
        let (mut exchange, mut first) = opened(&side, &app).await;
        let mut readers = crowd(&side).await;
        exchange.event("a").await;
        let last = first.event().await;
        exchange.chunk("data: torn").await;
        match kind {
            Break::Reset => exchange.reset(),
            Break::Truncated => drop(exchange),
            Break::Killed => {
                let address = app.kill().await;
                exchange.reset();
                until("tries in vain", || unreachable_tries(&side) > 1).await;
                app = App::listen(address);
            }
        }
        let mut exchange = app.opens().await;
        exchange.event("b").await;
        exchange.event("c").await;
        for (reader, is_page) in &mut readers {
            let mut seen = Vec::new();
            while seen.last().is_none_or(|word| word != "c") {
                match reader.next_but_beats().await {
                    Item::Event(event) if event.is_gap() => seen.push("gap".to_owned()),
                    Item::Event(event) => seen.push(event.data),
                    Item::Comment(text) if text.contains("gap") => seen.push("gap".to_owned()),
                    Item::Comment(_) | Item::Retry(_) | Item::Id(_) => {}
                }
            }
            assert_eq!(seen, ["a", "gap", "b", "c"], "{kind:?}, page: {is_page}");
        }
        assert_eq!(reason(&first.event().await), "upstream_cut");
        assert_eq!(first.data(2).await, ["b", "c"]);
        // In its place for who resumes from before it, with an id to resume from behind it.
        let mut back = h1(side.plain(), &event_source("/feed/a").last_id(last.id())).await;
        let gap = back.event().await;
        assert_eq!(reason(&gap), "upstream_cut");
        let behind = event_source("/feed/a").last_id(gap.id());
        for mut reader in [back, h1(side.plain(), &behind).await] {
            assert_eq!(reader.data(2).await, ["b", "c"]);
        }
        assert_eq!(
            side.metric("gaps_total{route=\"feed\",kind=\"upstream_cut\"}"),
            1
        );
        drop((readers, first));
        side.until_empty().await;
    }
}

fn unreachable_tries(side: &Side) -> i64 {
    side.metric("upstream_connects_total{route=\"feed\",outcome=\"unreachable\"}")
}

/// A newcomer that opens a stream anew has missed nothing; who resumes from before has.
#[tokio::test]
async fn after_a_cut_that_nobody_saw_the_next_one_opens_without_a_gap_and_resumers_are_told() {
    let app = App::start().await;
    let side = Side::start(app.port(), "linger: 10m");
    let (mut exchange, mut reader) = opened(&side, &app).await;
    exchange.event("a").await;
    let last = reader.event().await;
    drop(reader);
    side.until_members(0).await;
    exchange.reset();
    until("the cut", || {
        side.metric("upstream_connections{route=\"feed\"}") == 0
    })
    .await;
    let mut fresh = h1(side.plain(), &event_source("/feed/a")).await;
    let mut back = h1(side.plain(), &event_source("/feed/a").last_id(last.id())).await;
    let mut exchange = app.opens().await;
    exchange.event("b").await;
    assert_eq!(fresh.data(1).await, ["b"]);
    assert_eq!(reason(&back.event().await), "upstream_cut");
    assert_eq!(back.data(1).await, ["b"]);
}
