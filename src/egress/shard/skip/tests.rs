use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream};

use crate::{
    channel::{id, shared::Channel},
    clock,
    config::{
        model::{Fanout, GapNotice, Ids, KeyBy, SlowPolicy},
        testing::fanout,
    },
    decide::Reader,
    egress::shard::{
        Shard,
        testing::{Ask, Rig},
    },
    error::GapReason,
    sse::event::Event,
};

/// A ring of 8, and readers that may be 4 behind.
fn settings() -> Fanout {
    let mut settings = fanout();
    settings.ring.events_max = 8;
    settings.slow.policy = SlowPolicy::Skip;
    settings.slow.events_max = 4;
    settings
}

/// A reader whose socket holds next to nothing.
fn narrow(reader: Reader) -> Ask {
    Ask {
        reader,
        http10: true,
        buffer: 32,
        ..Ask::page()
    }
}

/// Such a reader, who comes back.
fn returning(last_event_id: String) -> Ask {
    Ask {
        last_event_id: Some(last_event_id.into()),
        ..narrow(Reader::EventSource)
    }
}

struct World {
    rig: Rig,
    shard: Shard,
    channel: Arc<Channel>,
    published: u64,
    /// The type of the event with this number.
    key: fn(u64) -> &'static str,
    text: String,
}

impl World {
    async fn new(settings: Fanout) -> Self {
        let rig = Rig::new(settings, 9);
        let mut shard = rig.shard();
        // Holds the channel, and is never behind.
        let (channel, _gone) = rig.readers(&mut shard, 1).await;
        Self {
            rig,
            shard,
            channel,
            published: 0,
            key: |_| "",
            text: String::new(),
        }
    }

    /// As [`World::new`], of events that have [`types`].
    async fn of_types(settings: Fanout) -> Self {
        Self {
            key: types,
            ..Self::new(settings).await
        }
    }

    /// A reader who has joined and taken what there was.
    async fn join(&mut self, ask: Ask) -> DuplexStream {
        let (mut client, _) = self.rig.join(ask, clock::now());
        self.shard.work().await;
        assert!(self.read(&mut client).await);
        client
    }

    /// Events whose data are their sequence, each read of the app's swept by itself.
    async fn publish(&mut self, reads: u64, events: u64) {
        for _ in 0..reads {
            let events: Vec<Event> = (1..=events)
                .map(|n| Event {
                    name: (self.key)(self.published + n).into(),
                    data: Bytes::from((self.published + n).to_string()),
                    id: Some(Bytes::from(format!("a{}", self.published + n))),
                })
                .collect();
            self.published += events.len() as u64;
            self.channel.publish(&events, clock::now());
            self.shard.work().await;
        }
    }

    /// Everything that `client` can have now. `false`: its stream is over.
    async fn read(&mut self, client: &mut DuplexStream) -> bool {
        let mut buffer = [0; 64];
        loop {
            // Pipes count against a task's budget: this gives it a new one.
            tokio::task::yield_now().await;
            let read = {
                let mut read = pin!(client.read(&mut buffer));
                read.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            };
            match read {
                Poll::Pending => return true,
                Poll::Ready(Ok(0)) => return false,
                Poll::Ready(read) => {
                    let text = std::str::from_utf8(&buffer[..read.unwrap()]).unwrap();
                    self.text.push_str(text);
                    self.shard.work().await;
                }
            }
        }
    }

    /// A reader of HTTP/1.1 is far behind when the app ends: it gets the end all the same.
    async fn end_far_ahead(&mut self) {
        let ask = Ask {
            http10: false,
            ..narrow(Reader::Other)
        };
        let mut client = self.join(ask).await;
        self.publish(20, 1).await;
        self.channel.ended(clock::now());
        self.shard.work().await;
        assert!(!self.read(&mut client).await, "over");
        assert!(self.text.ends_with("0\r\n\r\n"), "whole: {}", self.text);
    }

    /// `client` gets the next event as soon as it is there.
    async fn expect_level(&mut self, client: &mut DuplexStream) {
        self.publish(1, 1).await;
        assert!(self.read(client).await);
        let next = self.published.to_string();
        assert_eq!(self.seen().last(), Some(&next), "it is level again");
    }

    /// What stands between events: `1`, `2`, ..., notices, and ids of notices.
    fn seen(&self) -> Vec<String> {
        let body = self.text.split_once("\r\n\r\n").expect("a head").1;
        body.lines()
            .filter_map(|line| {
                line.strip_prefix("data: ")
                    .or_else(|| line.strip_prefix(": sidestream-gap "))
            })
            .map(str::to_owned)
            .collect()
    }

    /// The number of the last event before the notice, and the notice.
    fn skipped(&self) -> (u64, String) {
        let seen = self.seen();
        let before = seen.iter().take_while(|line| line.parse::<u64>().is_ok());
        let before = before.count();
        for (n, line) in (1..).zip(&seen[..before]) {
            assert_eq!(*line, n.to_string(), "nothing is lost before the notice");
        }
        (before as u64, seen[before].clone())
    }

    fn skips(&self) -> (u64, u64) {
        let route = &self.channel.route_metrics;
        (
            route.gaps.get(GapReason::Skipped),
            route.events_skipped.get(),
        )
    }
}

/// The id of an event on the wire.
fn local_id(world: &World, sequence: u64) -> String {
    let epoch = world.channel.epoch;
    id::LocalId {
        epoch,
        sequence,
        app_id: None,
        seal: None,
    }
    .to_string()
}

fn notice(from: u64, to: u64) -> String {
    let missed = to + 1 - from;
    format!(r#"{{"reason":"skipped","from":{from},"to":{to},"missed":{missed}}}"#)
}

#[tokio::test]
async fn a_reader_too_far_behind_is_told_what_it_missed_and_goes_on_with_the_newest() {
    use {GapNotice as G, Reader as R};
    for (gap_notice, reader, ids, form) in [
        (G::Auto, R::EventSource, Ids::Local, "event"),
        (G::Event, R::Other, Ids::Local, "event"),
        (G::Event, R::EventSource, Ids::Unique, "event without id"),
        (G::Auto, R::Other, Ids::Local, "comment"),
        (G::Comment, R::EventSource, Ids::Unique, "comment"),
    ] {
        // Held by the ring still, and far beyond it.
        for reads in [12, 100] {
            let mut world = World::new(Fanout {
                gap_notice,
                ids,
                ..settings()
            })
            .await;
            let mut client = world.join(narrow(reader)).await;
            world.publish(reads, 1).await;
            assert_eq!(world.skips(), (0, 0), "not before its turn");
            assert!(world.read(&mut client).await);
            let (before, told) = world.skipped();
            assert_eq!(told, notice(before + 1, reads - 1), "{}", world.text);
            let id = format!("id: {}\n\n", local_id(&world, reads - 1));
            assert_eq!(world.text.contains(&id), form == "event");
            let comment = format!(": sidestream-gap {told}\n");
            assert_eq!(world.text.contains(&comment), form == "comment");
            let newest = reads.to_string();
            assert_eq!(world.seen().last(), Some(&newest), "without another event");
            world.expect_level(&mut client).await;
            assert_eq!(world.skips(), (1, reads - 1 - before));
        }
    }
}

#[tokio::test]
async fn where_gaps_close_streams_a_skip_does_and_the_return_is_a_replay() {
    let mut world = World::new(Fanout {
        gap_notice: GapNotice::Close,
        ..settings()
    })
    .await;
    let mut client = world.join(narrow(Reader::EventSource)).await;
    world.publish(12, 1).await;
    assert!(!world.read(&mut client).await, "closed");
    let seen = world.seen();
    assert!((1..5).contains(&seen.len()), "{seen:?}");
    world.text.clear();
    let _back = world.join(returning(local_id(&world, 7))).await;
    let numbers: Vec<_> = (8..=12).map(|n: u64| n.to_string()).collect();
    assert_eq!(world.seen(), numbers, "more than 4, and nothing is passed");
}

#[tokio::test]
async fn a_level_reader_that_the_ring_outran_stays() {
    let mut world = World::new(settings()).await;
    let mut client = world
        .join(Ask {
            http10: true,
            ..Ask::page()
        })
        .await;
    world.publish(1, 2).await;
    world.publish(1, 1_000).await;
    world.publish(1, 1).await;
    assert!(world.read(&mut client).await);
    assert_eq!(world.seen(), ["1", "2", &notice(3, 1_001), "1002", "1003"]);
}

#[tokio::test]
async fn the_apps_end_is_not_passed_over() {
    let mut world = World::new(settings()).await;
    world.end_far_ahead().await;
    let (before, told) = world.skipped();
    assert_eq!(told, notice(before + 1, 20));
}

/// The same, of readers who get the newest of each type.
fn conflating() -> Fanout {
    let mut settings = settings();
    settings.slow.policy = SlowPolicy::Conflate(Arc::new(KeyBy::Event));
    settings
}

/// Two types that change all the time, and two that do not.
fn types(number: u64) -> &'static str {
    match number {
        4 => "seldom",
        6 => "once",
        number if number.is_multiple_of(2) => "even",
        _ => "odd",
    }
}

fn conflated(from: u64, to: u64) -> String {
    format!(r#"{{"reason":"conflated","from":{from},"to":{to},"missed":null}}"#)
}

#[tokio::test]
async fn a_reader_too_far_behind_gets_the_newest_of_each_key() {
    use {GapNotice as G, Reader as R};
    for (gap_notice, reader, ids) in [
        (G::Auto, R::EventSource, Ids::Local),
        (G::Auto, R::Other, Ids::Local),
        (G::Event, R::EventSource, Ids::Unique),
    ] {
        // Held by the ring still, and far beyond it.
        for reads in [12, 100] {
            let mut world = World::of_types(Fanout {
                gap_notice,
                ids,
                ..conflating()
            })
            .await;
            let mut client = world.join(narrow(reader)).await;
            world.publish(reads, 1).await;
            let route = world.channel.route_metrics.clone();
            assert_eq!(route.events_skipped.get(), 0, "not before its turn");
            assert!(world.read(&mut client).await);
            let (before, told) = world.skipped();
            assert_eq!(told, conflated(before + 1, reads), "{}", world.text);
            let newest = [4, 6, reads - 1, reads].map(|n| n.to_string());
            assert_eq!(world.seen()[usize::try_from(before).unwrap() + 1..], newest);
            world.expect_level(&mut client).await;
            assert_eq!(route.gaps.get(GapReason::Conflated), 1);
            assert_eq!(route.events_skipped.get(), reads - before - 4);
        }
    }
}

#[tokio::test]
async fn who_leaves_amid_the_newest_comes_back_right_behind() {
    let mut world = World::of_types(conflating()).await;
    let mut client = world.join(narrow(Reader::EventSource)).await;
    world.publish(9, 1).await;
    assert!(world.read(&mut client).await);
    let seen = world.seen();
    assert_eq!(seen[seen.len() - 4..], ["4", "6", "8", "9"]);
    for (id, rest) in [(4, &["5", "6", "7", "8", "9"][..]), (6, &["7", "8", "9"])] {
        world.text.clear();
        let _back = world.join(returning(local_id(&world, id))).await;
        assert_eq!(world.seen(), rest, "a replay leaves nothing out");
    }
}

/// No event has a key, so that each stands for itself: what is gone for good is told, and the rest
/// comes.
#[tokio::test]
async fn what_even_the_newest_lack_is_told() {
    let mut settings = conflating();
    let by = serde_json::from_value("/none".into()).unwrap();
    settings.slow.policy = SlowPolicy::Conflate(Arc::new(by));
    let mut world = World::new(settings).await;
    let mut client = world.join(narrow(Reader::Other)).await;
    world.publish(100, 1).await;
    assert!(world.read(&mut client).await);
    let (before, told) = world.skipped();
    // The ring holds 8, and as many beside it.
    assert_eq!(told, notice(before + 1, 84), "{}", world.text);
    let seen = &world.seen()[usize::try_from(before).unwrap() + 1..];
    let rest = (85..=100).map(|n: u64| n.to_string());
    let rest: Vec<_> = std::iter::once(conflated(85, 100)).chain(rest).collect();
    assert_eq!(seen, rest);
}

#[tokio::test]
async fn the_newest_of_each_key_come_before_the_apps_end() {
    let mut world = World::of_types(conflating()).await;
    world.end_far_ahead().await;
    assert!(
        world
            .seen()
            .ends_with(&["4", "6", "19", "20"].map(str::to_owned))
    );
}
