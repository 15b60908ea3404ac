use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt, time::timeout};

use super::*;
use crate::{
    channel::state::Next,
    config::{
        model::{Fanout, OnEnd},
        testing::fanout,
    },
    egress::shard::{
        self,
        testing::{Ask, Rig},
    },
    lifecycle::Lifecycle,
    metrics::labels::PanicPlace,
    sse::event::Event,
};

const STEP: Duration = Duration::from_millis(500);

/// How long anything may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a whole stream ends with, and no other.
const LAST_CHUNK: &str = "0\r\n\r\n";

/// The reconnect times in what clients were sent last.
async fn retries(clients: Vec<tokio::io::DuplexStream>) -> Vec<u64> {
    let mut retries = Vec::new();
    for mut client in clients {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let last = text.rsplit("retry: ").next().unwrap();
        let (retry, rest) = last.split_once('\n').unwrap();
        assert_eq!(
            rest.strip_prefix("\r\n"),
            Some(LAST_CHUNK),
            "the last words of a whole stream"
        );
        retries.push(retry.parse().unwrap());
    }
    retries
}

#[tokio::test]
async fn a_crowd_whose_channel_ends_leaves_evenly_and_a_few_at_once() {
    for (outcome, count, is_even) in [
        (Outcome::Refused, CROWD, false),
        (Outcome::Broken, CROWD, false),
        (Outcome::Refused, 1_000, true),
        (Outcome::Broken, 1_000, true),
        (Outcome::Retired, 100, true),
        (Outcome::Revoked, 1_000, false),
    ] {
        let rig = Rig::new(fanout(), count);
        let mut shard = rig.shard();
        let (channel, clients) = rig.readers(&mut shard, count).await;
        let start = clock::now();
        channel.finish(outcome);
        shard.work().await;
        if !is_even {
            assert_eq!(rig.reading(), 0, "{outcome:?}");
            continue;
        }
        assert_eq!(rig.reading(), count, "{outcome:?}: nobody at once");
        // The range of reconnect times ends at 5 s.
        let counts = rig.counts(&mut shard, start, STEP, 11).await;
        for (step, left) in (1..=10).zip(&counts) {
            let expected = count - count * step / 10;
            assert!(
                left.abs_diff(expected) <= count / 20 + 1,
                "{outcome:?}: {counts:?}"
            );
        }
        assert_eq!(counts.last(), Some(&0));
        assert_eq!(retries(clients).await.len(), count);
    }
}

#[tokio::test]
async fn who_lost_the_app_leaves_a_drain_earlier_and_stays_away_longer() {
    let rig = Rig::new(fanout(), 100);
    let mut shard = rig.shard();
    let (channel, clients) = rig.readers(&mut shard, 100).await;
    rig.handle.drain(Duration::from_secs(60));
    shard.work().await;
    let start = clock::now();
    let counts = rig.counts(&mut shard, start, STEP, 4).await;
    assert!(counts.iter().all(|left| *left >= 90), "{counts:?}");
    assert_eq!(channel.cut(clock::now()), Next::Retry);
    shard.work().await;
    let counts = rig
        .counts(&mut shard, start.after(STEP * 4), STEP, 10)
        .await;
    assert_eq!(counts.last(), Some(&0), "{counts:?}");
    let retries = retries(clients).await;
    let longest = retries.iter().max().unwrap();
    assert!(*longest > 30_000, "{retries:?}");
    assert!(retries.iter().all(|retry| *retry >= 1_000), "{retries:?}");
}

#[tokio::test]
async fn who_lost_the_app_before_the_drain_is_no_exception() {
    let rig = Rig::new(fanout(), 10);
    let mut shard = rig.shard();
    let (channel, _clients) = rig.readers(&mut shard, 10).await;
    assert_eq!(channel.cut(clock::now()), Next::Retry);
    shard.work().await;
    rig.handle.drain(Duration::from_secs(60));
    shard.work().await;
    let counts = rig.counts(&mut shard, clock::now(), STEP, 11).await;
    assert_eq!(counts.last(), Some(&0), "{counts:?}");
}

/// Settings of one answer, which goes on after a cut if the app `resume`s.
fn answer(resume: bool) -> Fanout {
    Fanout {
        on_end: OnEnd::Final,
        resume,
        ..fanout()
    }
}

#[tokio::test]
async fn a_drain_lets_an_answer_finish_and_waits_for_no_other() {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Then {
        Ends,
        Breaks,
        IsLate,
    }
    for then in [Then::Ends, Then::Breaks, Then::IsLate] {
        let rig = Rig::new(answer(false), 20);
        let mut shard = rig.shard();
        let (channel, mut clients) = rig.readers(&mut shard, 10).await;
        rig.handle.drain(STEP * 10);
        shard.work().await;
        let start = clock::now();
        clients.push(rig.join(Ask::page(), start).0);
        shard.work().await;
        let counts = rig.counts(&mut shard, start, STEP, 20).await;
        assert_eq!(counts, [11; 20], "{then:?}: nobody leaves before the end");
        assert_eq!(rig.metrics.drain.answers.get(), 11, "{then:?}");
        match then {
            Then::Ends => assert_eq!(channel.ended(clock::now()), Next::Stop),
            Then::Breaks => assert_eq!(channel.cut(clock::now()), Next::Stop),
            Then::IsLate => rig.handle.cut(),
        }
        shard.work().await;
        let end = start.after(STEP * 21);
        let counts = rig.counts(&mut shard, end, STEP, 1).await;
        assert_eq!(counts, [0], "{then:?}: all at once");
        assert_eq!(rig.metrics.drain.answers.get(), 0, "{then:?}");
        for mut client in clients {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            let is_whole = text.ends_with(LAST_CHUNK);
            assert_eq!(is_whole, then == Then::Ends, "{then:?}: {text}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_waited_for_no_longer_than_other_streams() {
    let rig = Rig::new(answer(true), 20);
    let mut shard = rig.shard();
    let (channel, _clients) = rig.readers(&mut shard, 10).await;
    let event = Event {
        data: "x".into(),
        id: Some("1".into()),
        ..Event::default()
    };
    channel.publish(&[event], clock::now());
    rig.handle.drain(Duration::from_secs(60));
    shard.work().await;
    assert_eq!(rig.metrics.drain.answers.get(), 10);
    assert_eq!(channel.cut(clock::now()), Next::Retry, "the app resumes");
    shard.work().await;
    assert_eq!(rig.metrics.drain.answers.get(), 0);
    let (_late, _) = rig.join(Ask::page(), clock::now());
    shard.work().await;
    assert_eq!(rig.metrics.drain.answers.get(), 0, "nor for who joins it");
    let counts = rig.counts(&mut shard, clock::now(), STEP, 11).await;
    assert!(counts[0] > 0, "along the slope: {counts:?}");
    assert!(counts[10] <= 1, "but for who joined late: {counts:?}");
}

#[tokio::test]
async fn after_the_deadline_no_answer_may_finish() {
    let rig = Rig::new(answer(false), 20);
    let mut shard = rig.shard();
    let (_channel, _clients) = rig.readers(&mut shard, 1).await;
    rig.handle.drain(Duration::ZERO);
    shard.work().await;
    rig.handle.cut();
    shard.work().await;
    let now = clock::now();
    let (_late, _) = rig.join(Ask::page(), now);
    shard.work().await;
    assert_eq!(rig.reading(), 1);
    assert_eq!(rig.counts(&mut shard, now, STEP, 1).await, [0]);
}

/// A client's socket on which the shard falls over.
struct Bomb;

impl crate::egress::sink::ClientSocket for Bomb {
    fn reset_on_close(&self, _: bool) {
        panic!("as a bug would");
    }
}

#[tokio::test]
async fn a_shard_that_panics_goes_on_with_the_drain() {
    let rig = Rig::new(fanout(), 10);
    let pulse = Lifecycle::new().pulse(clock::now());
    let (handle, run) = shard::spawn(0, rig.context(), pulse);
    let running = tokio::spawn(run);
    let rig = Rig { handle, ..rig };
    rig.handle.drain(Duration::from_millis(1));
    let now = clock::now();
    let client = rig.join_over(Arc::new(Bomb), Ask::page(), now);
    let channel = rig.asked.0.lock().pop().expect("the app is asked");
    assert!(channel.opened(&http::HeaderMap::new(), now));
    let panics = || rig.metrics.panics.get(PanicPlace::Shard);
    let panicked = async {
        while panics() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, panicked).await.expect("it panics");
    drop(client);
    // Who joins the shard that took its place is sent away.
    let (mut late, _) = rig.join(Ask::page(), clock::now());
    let mut text = String::new();
    let read = late.read_to_string(&mut text);
    timeout(PATIENCE, read)
        .await
        .expect("the drain goes on")
        .unwrap();
    assert!(text.ends_with(LAST_CHUNK), "{text}");
    assert_eq!(panics(), 1);
    running.abort();
}
