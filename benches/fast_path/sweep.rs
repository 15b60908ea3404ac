//! A whole shard, from the publishing of an event until all its subscribers have it. The figures are
//! per delivery.

use criterion::{Criterion, Throughput};

use crate::{
    EVENT_BYTES, event,
    peer::WINDOW_BYTES,
    rig::{Rig, timed},
};

const READERS: usize = 1_000;
/// On each HTTP/2 connection.
const STREAMS: usize = 100;
/// Id, field names and a frame's head are less than this.
const FRAMING_BYTES: usize = 100;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sweep, 1,000 subscribers");
    for events in [1, 64] {
        let batch = vec![event(EVENT_BYTES); events];
        let bytes = events * STREAMS * (EVENT_BYTES + FRAMING_BYTES);
        group.throughput(Throughput::Elements((READERS * events) as u64));
        group.bench_function(format!("HTTP/1.1, {events} events"), |bencher| {
            bencher.iter_custom(|times| {
                let run = |rig: &Rig, times| rig.sweeps(times, &batch, READERS);
                timed(times, u64::MAX, by_h1, run)
            });
        });
        group.bench_function(format!("HTTP/2, {events} events"), |bencher| {
            bencher.iter_custom(|times| {
                let times_max = (WINDOW_BYTES / bytes) as u64;
                let run = |rig: &Rig, times| rig.sweeps(times, &batch, READERS);
                timed(times, times_max, by_h2, run)
            });
        });
    }
    group.finish();
}

fn by_h1() -> Rig {
    let rig = Rig::new();
    rig.join_h1(READERS);
    rig.until_reading(READERS);
    rig
}

fn by_h2() -> Rig {
    let rig = Rig::new();
    for _ in 0..READERS / STREAMS {
        rig.join_h2(STREAMS);
    }
    rig.until_reading(READERS);
    rig
}
