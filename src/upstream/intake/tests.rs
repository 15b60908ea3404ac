use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::*;
use crate::{
    channel::{id::Epoch, shared::ShardWake},
    config::{
        model::{Action, Fanout},
        testing,
    },
    metrics::Metrics,
    route::key::{ChannelKey, Scheme},
};

const BURST: usize = 500;

/// A shard that has taken what a test says.
#[derive(Default)]
struct Shard(AtomicU64);

impl ShardWake for Shard {
    fn channel_changed(&self) {}

    fn swept(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn channel(ring: RingLimits) -> Channel {
    let settings = Arc::new(Fanout {
        ring,
        ..testing::fanout()
    });
    let route = testing::route("feed", "/feed", Action::Fanout(settings.clone()));
    let key = ChannelKey {
        route: "feed".to_owned(),
        scheme: Scheme::Http,
        host: "h".to_owned(),
        target: "/feed".to_owned(),
        headers: Vec::new(),
    };
    let metrics = Arc::new(Metrics::new());
    Channel::new(key, Epoch::new(1), route, settings, metrics, clock::now())
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_shards_that_lag_by_more_than_the_ring() {
    let ring = testing::fanout().ring;
    for (events_max, bytes_max, data_len) in [(8, 1 << 20, 1), (1_000, 16 << 10, 2_000)] {
        let channel = channel(RingLimits {
            events_max,
            bytes_max,
            ..ring
        });
        let shard = Arc::new(Shard::default());
        channel.attach(0, shard.clone());
        let mut intake = Intake::new(channel.settings().event);
        let event = Event {
            data: Bytes::from(vec![b'x'; data_len]),
            ..Event::default()
        };
        intake.events = vec![event; BURST];
        let sweeping = async {
            let (mut taken, mut sweeps) = (0, 0);
            while taken < BURST as u64 {
                // It has other things to do between its sweeps.
                tokio::time::sleep(SWEEP_LOOK * 5).await;
                let is_held = channel.visit_after(taken, |_| true);
                assert!(is_held, "outrun behind {taken} ({data_len} bytes each)");
                taken = channel.head();
                shard.0.store(taken, Ordering::Relaxed);
                sweeps += 1;
            }
            sweeps
        };
        let ((), sweeps) = tokio::join!(intake.publish(&channel), sweeping);
        assert!(sweeps > 10, "a burst of many rings full: {sweeps}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stands_still_is_not_waited_for_for_ever() {
    let channel = channel(RingLimits {
        events_max: 8,
        ..testing::fanout().ring
    });
    channel.attach(0, Arc::new(Shard::default()));
    let mut intake = Intake::new(channel.settings().event);
    intake.events = vec![Event::default(); BURST];
    let parts = u32::try_from(BURST / 4).unwrap();
    let publishing = intake.publish(&channel);
    tokio::time::timeout(SWEEP_WAIT_MAX * parts, publishing)
        .await
        .expect("a wait for each part at most");
    assert_eq!(channel.head(), BURST as u64);
}
