//! Apps that resume by their own ids (`resume: true`).

use crate::rig::{
    Settings, Side,
    app::{App, Exchange},
    opened,
    reader::{H2, event_source, get, h1, h1_pending},
    until,
};

/// One pod of several, which share a key.
fn pod(app: &App, fanout: &str) -> Side {
    let settings = Settings {
        fanout,
        file: "ids_key: the same for all pods\n",
        ..Settings::default()
    };
    Side::with(app.port(), &settings)
}

/// An event with an id of the app's.
async fn say(exchange: &mut Exchange, numbers: impl IntoIterator<Item = u32>) {
    for n in numbers {
        exchange.chunk(&format!("id: a {n}\ndata: {n}\n\n")).await;
    }
}

fn words(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}

/// The ids of the app's events 1 to `count` as a client of another pod has them.
async fn ids_of_another_pod(settings: &str, count: u32) -> Vec<String> {
    let app = App::start().await;
    let side = pod(&app, settings);
    let (mut exchange, mut reader) = opened(&side, &app).await;
    say(&mut exchange, 1..=count).await;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(reader.event().await.id().to_owned());
    }
    ids
}

#[tokio::test]
async fn an_app_goes_on_where_its_stream_was_cut_and_nobody_notices() {
    let app = App::start().await;
    let side = Side::start(app.port(), "resume: true\nlinger: 10m");
    let (mut exchange, mut page) = opened(&side, &app).await;
    let mut library = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(exchange.field("last-event-id"), None);
    say(&mut exchange, 1..=3).await;
    let first = page.event().await;
    assert!(first.id().ends_with("-1~a%201"), "{}", first.id());
    assert_eq!(page.data(2).await, ["2", "3"]);
    assert_eq!(library.data(3).await, ["1", "2", "3"]);

    exchange.reset();
    let mut exchange = app.opens().await;
    assert_eq!(exchange.field("last-event-id"), Some("a 3"));
    say(&mut exchange, 4..=5).await;
    for reader in [&mut page, &mut library] {
        assert_eq!(reader.event().await.data, "4", "no gap");
        assert_eq!(reader.data(1).await, ["5"]);
    }

    // Lost while nobody was there: the next one goes on as well.
    drop((page, library));
    side.until_members(0).await;
    exchange.reset();
    until("the cut", || {
        side.metric("upstream_connections{route=\"feed\"}") == 0
    })
    .await;
    let ask = event_source("/feed/a").last_id(first.id());
    let mut back = h1(side.plain(), &ask).await;
    let mut exchange = app.opens().await;
    assert_eq!(exchange.field("last-event-id"), Some("a 5"));
    say(&mut exchange, 6..=6).await;
    assert_eq!(back.data(5).await, words(2..=6));
    assert_eq!(side.metric("upstream_resumes_total{route=\"feed\"}"), 2);
    assert_eq!(
        side.metric("gaps_total{route=\"feed\",kind=\"upstream_cut\"}"),
        0
    );
}

#[tokio::test]
async fn a_crowd_from_another_pod_resumes_exactly_by_one_connection() {
    for settings in ["resume: true", "resume: true\nids: unique"] {
        let ids = ids_of_another_pod(settings, 20).await;
        let app = App::start().await;
        let side = pod(&app, settings);
        let ask = |seen: usize| event_source("/feed/a").last_id(&ids[seen - 1]);
        // The first one is the furthest behind; the others wait for their places.
        let mut crowd = vec![(5, h1_pending(side.plain(), &ask(5)).await)];
        let mut exchange = app.asked().await;
        assert_eq!(exchange.field("last-event-id"), Some("a 5"));
        for client in 0..200 {
            let seen = 5 + client % 16;
            crowd.push((seen, h1_pending(side.plain(), &ask(seen)).await));
        }
        side.until_members(201).await;
        exchange.send(crate::rig::app::STREAM).await;
        say(&mut exchange, 6..=21).await;
        for (seen, pending) in crowd {
            let mut reader = pending.head().await;
            let mut data = Vec::new();
            while data.last().is_none_or(|last| last != "21") {
                let event = reader.event().await;
                assert!(!event.is_gap(), "{event:?}");
                data.push(event.data);
            }
            let expected = words(u32::try_from(seen).unwrap() + 1..=21);
            assert_eq!(data, expected, "{settings}");
        }
        assert_eq!(app.requests(), 1);
        side.until_empty().await;
    }
}

#[tokio::test]
async fn a_place_that_does_not_pass_is_a_gap_after_a_while() {
    let ids = ids_of_another_pod("resume: true", 9).await;
    let app = App::start().await;
    let side = pod(&app, "resume: true\nresume_wait: 300ms");
    let ask = |seen: usize| event_source("/feed/a").last_id(&ids[seen - 1]);
    let pending = h1_pending(side.plain(), &ask(5)).await;
    let mut exchange = app.opens().await;
    let mut opener = pending.head().await;
    say(&mut exchange, 6..=7).await;
    assert_eq!(opener.data(2).await, ["6", "7"]);
    let h2 = H2::connect(side.plain()).await;
    // Before what the ring goes back to, and after what has come: neither is guessed at.
    for seen in [2, 9] {
        let mut lost = h2.ask(&ask(seen)).await;
        let gap = lost.event().await;
        assert!(gap.data.contains("\"other_epoch\""), "{gap:?}");
        exchange
            .chunk(&format!("id: n{seen}\ndata: next\n\n"))
            .await;
        assert_eq!(lost.data(1).await, ["next"], "nothing twice");
    }
    // A newcomer is live from where the channel is.
    let mut fresh = h1(side.plain(), &get("/feed/a")).await;
    exchange.chunk("id: b\ndata: b\n\n").await;
    assert_eq!(fresh.data(1).await, ["b"]);
    assert_eq!(app.requests(), 1);
}

/// On a stream of many, whoever comes first must not choose where the app begins for all.
#[tokio::test]
async fn an_id_that_nothing_proves_decides_for_nobody_but_its_bearer() {
    let ids = ids_of_another_pod("resume: true", 5).await;
    let proven = ids[2].as_str();
    let seal = proven.find('.').unwrap();
    let unsealed = format!("{}~a%203", &proven[..seal]);
    let elsewhere = proven.replace("a%203", "a%204");
    let me = ("Authorization", "me");
    let nobody = ("Accept", "*/*");
    let quick = "resume: true\nresume_wait: 50ms";
    for (fanout, has_key, id, (name, value), expected) in [
        (quick, true, proven, nobody, Some("a 3")),
        (quick, true, &*unsealed, nobody, None),
        (quick, true, &*elsewhere, nobody, None),
        (quick, false, proven, nobody, None),
        (quick, false, &*unsealed, nobody, None),
        (quick, false, &*unsealed, me, Some("a 3")),
        (
            "resume: true\nids: unique",
            false,
            "a 3",
            nobody,
            Some("a 3"),
        ),
    ] {
        let app = App::start().await;
        let side = if has_key {
            pod(&app, fanout)
        } else {
            Side::start(app.port(), fanout)
        };
        let ask = get("/feed/a").with(name, value).last_id(id);
        let pending = h1_pending(side.plain(), &ask).await;
        let mut exchange = app.opens().await;
        assert_eq!(exchange.field("last-event-id"), expected, "{id} {name}");
        if expected.is_none() {
            until("the gap", || {
                side.metric("gaps_total{route=\"feed\",kind=\"other_epoch\"}") == 1
            })
            .await;
        }
        say(&mut exchange, 6..=6).await;
        assert_eq!(pending.head().await.data(1).await, ["6"]);
        let hint = side.metric("hints{route=\"feed\",hint=\"unproven_ids\"}");
        assert_eq!(hint == 1, !has_key && expected.is_none(), "{id} {name}");
    }
}

#[tokio::test]
async fn an_id_that_is_not_ours_is_never_sent_to_the_app() {
    for id in [
        "7",
        "0000000000-5~%0d%0aX:%20y",
        "0000000000-5~a b",
        "x-1~7",
        "0-1~7",
        "0000000000-5.0~7",
    ] {
        let app = App::start().await;
        let side = pod(&app, "resume: true");
        let pending = h1_pending(side.plain(), &event_source("/feed/a").last_id(id)).await;
        let mut exchange = app.opens().await;
        assert_eq!(exchange.field("last-event-id"), None, "{id}");
        let mut reader = pending.head().await;
        assert!(reader.event().await.is_gap(), "{id}");
        say(&mut exchange, 1..=1).await;
        assert_eq!(reader.data(1).await, ["1"]);
    }
}

/// An app that counts from 1 again, whatever it was asked: that is told, and it is not believed again.
#[tokio::test]
async fn a_promise_that_is_not_kept_is_a_gap() {
    let app = App::start().await;
    let side = Side::start(app.port(), "resume: true");
    let (mut exchange, mut page) = opened(&side, &app).await;
    say(&mut exchange, 1..=3).await;
    assert_eq!(page.data(3).await, ["1", "2", "3"]);
    exchange.reset();
    let mut exchange = app.opens().await;
    say(&mut exchange, 1..=1).await;
    assert_eq!(page.data(1).await, ["1"]);
    let gap = page.event().await;
    assert!(gap.data.contains("\"ambiguous_id\""), "{gap:?}");
    exchange.reset();
    let exchange = app.opens().await;
    assert_eq!(exchange.field("last-event-id"), None);
    let gap = page.event().await;
    assert!(gap.data.contains("\"upstream_cut\""), "{gap:?}");
}

/// One answer that the app resumes is whole in the end.
#[tokio::test]
async fn one_answer_goes_on_after_a_cut_when_the_app_resumes() {
    let app = App::start().await;
    let side = Side::start(app.port(), "resume: true\non_end: final");
    let (mut exchange, mut page) = opened(&side, &app).await;
    say(&mut exchange, 1..=2).await;
    assert_eq!(page.data(2).await, ["1", "2"]);
    exchange.reset();
    let mut exchange = app.opens().await;
    assert_eq!(exchange.field("last-event-id"), Some("a 2"));
    say(&mut exchange, 3..=3).await;
    exchange.finish().await;
    assert_eq!(page.data(1).await, ["3"]);
    let mut late = h1(side.plain(), &get("/feed/a")).await;
    assert_eq!(late.data(3).await, ["1", "2", "3"]);
}
