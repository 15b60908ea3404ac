//! Events as they go on the wire: HTTP/1.1 chunks, which all readers share, and HTTP/2 DATA frames,
//! of which each stream gets its own.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use sidestream::{egress::h2::Key, sse::encode::Frame};

use crate::{
    EVENT_BYTES, LARGE_BYTES, event,
    peer::WINDOW_BYTES,
    rig::{self, H2Link, timed},
};

const STREAMS: usize = 100;
/// As ours are.
const ID: &[u8] = b"0123456789abc-1";

pub(crate) fn bench(criterion: &mut Criterion) {
    chunks(criterion);
    data_frames(criterion);
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing, HTTP/1.1 chunk");
    let lines = vec!["x".repeat(80); 25].join("\n");
    for (name, data) in [
        ("200 bytes", event(EVENT_BYTES).data),
        ("16 KiB", event(LARGE_BYTES).data),
        ("25 lines of 80 bytes", lines.into()),
    ] {
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Frame::event(Some(ID), b"", black_box(&data)));
        });
    }
    group.finish();
}

fn data_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing, HTTP/2 DATA to 100 streams");
    group.throughput(Throughput::Elements(STREAMS as u64));
    for (name, bytes) in [("200 bytes", EVENT_BYTES), ("16 KiB", LARGE_BYTES)] {
        let payload = Frame::event(Some(ID), b"", &event(bytes).data).payload();
        let times_max = (WINDOW_BYTES / (payload.len() * STREAMS)) as u64;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                timed(times, times_max, Streams::open, |streams, times| {
                    for _ in 0..times {
                        streams.sweep(black_box(&payload));
                    }
                })
            });
        });
    }
    group.finish();
}

/// Of one connection; each is a subscriber that has everything.
struct Streams {
    link: H2Link,
    keys: Vec<Key>,
}

impl Streams {
    fn open() -> Self {
        rig::runtime().block_on(async {
            let mut link = H2Link::new(STREAMS).await;
            let keys = link.adopt().await;
            Self { link, keys }
        })
    }

    fn sweep(&self, bytes: &[u8]) {
        let lags = |at| panic!("stream {at} has no room");
        let reached = self.link.shared.sweep(&self.keys, 0, bytes, lags);
        assert_eq!(reached, STREAMS);
    }
}
