use std::{sync::Arc, time::Duration};

use tokio::io::AsyncReadExt;

use super::*;
use crate::{
    channel::state::Next,
    config::testing::fanout,
    egress::shard::{
        self,
        testing::{Ask, Rig},
    },
    lifecycle::Lifecycle,
    metrics::labels::PanicPlace,
};

const STEP: Duration = Duration::from_millis(500);

/// The reconnect times in what clients were sent last.
async fn retries(clients: Vec<tokio::io::DuplexStream>) -> Vec<u64> {
    let mut retries = Vec::new();
    for mut client in clients {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let last = text.rsplit("retry: ").next().unwrap();
        let (retry, rest) = last.split_once('\n').unwrap();
        assert_eq!(rest, "\r\n0\r\n\r\n", "the last words of a whole stream");
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
    while panics() == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    // Who joins the shard that took its place is sent away.
    let (mut late, _) = rig.join(Ask::page(), clock::now());
    let mut text = String::new();
    let read = late.read_to_string(&mut text);
    tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .expect("the drain goes on")
        .unwrap();
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    assert_eq!(panics(), 1);
    running.abort();
}
