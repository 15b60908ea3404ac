use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::{clock, config::testing::fanout, egress::shard::testing::Rig, error::EndReason};

const COUNT: usize = 400;

#[tokio::test]
async fn streams_are_closed_between_80_and_100_percent_of_their_age() {
    for heartbeat in [1, 60].map(Duration::from_secs) {
        let mut settings = fanout();
        settings.connection_age_max = Some(Duration::from_secs(100));
        settings.heartbeat = heartbeat;
        let rig = Rig::new(settings, COUNT);
        let mut shard = rig.shard();
        let (_channel, clients) = rig.readers(&mut shard, COUNT).await;
        let step = Duration::from_secs(5);
        let counts = rig.counts(&mut shard, clock::now(), step, 21).await;
        assert!(counts[..15].iter().all(|left| *left == COUNT), "{counts:?}");
        for (left, expected) in counts[15..19].iter().zip([400, 300, 200, 100]) {
            assert!(left.abs_diff(expected) <= 50, "{counts:?}");
        }
        assert_eq!(counts[20], 0, "{counts:?}");
        let route = rig.metrics.route("r");
        assert_eq!(route.subscribers_ended.get(EndReason::Age), COUNT as u64);
        for mut client in clients {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            let last = text.rsplit("retry: ").next().unwrap();
            assert!(last.ends_with("\n\r\n0\r\n\r\n"), "whole: {text}");
            let retry: u64 = last.lines().next().unwrap().parse().unwrap();
            assert!((1_000..=5_000).contains(&retry), "{text}");
        }
    }
}

#[tokio::test]
async fn streams_live_as_long_as_they_like_by_default() {
    let rig = Rig::new(fanout(), 10);
    let mut shard = rig.shard();
    let (_channel, _clients) = rig.readers(&mut shard, 10).await;
    let day = Duration::from_secs(24 * 3_600);
    let counts = rig.counts(&mut shard, clock::now(), day, 3).await;
    assert_eq!(counts, [10, 10, 10]);
}
