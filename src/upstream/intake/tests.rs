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

/// One that comments by a clock and falls silent is found out, and one that never did is left alone.
#[tokio::test(start_paused = true)]
async fn a_frozen_app_is_told_from_a_quiet_one_by_its_comments() {
    for (line, is_regular) in [(&b": ping\n"[..], true), (b"data: x\n\n", false)] {
        let mut intake = Intake::new(testing::fanout().event);
        for _ in 0..12 {
            tokio::time::advance(Duration::from_millis(150)).await;
            assert!(intake.take(Ok(Part::Data(line))).is_ok());
        }
        let silence_max = intake.silence_max(Watchdog::Auto);
        assert_eq!(silence_max.is_some(), is_regular, "{silence_max:?}");
        assert_eq!(intake.silence_max(Watchdog::Off), None);
    }
}
