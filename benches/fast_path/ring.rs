//! A full ring: what an event costs that pushes the oldest out, and what readers ask of it.

use std::hint::black_box;

use criterion::Criterion;
use sidestream::{
    channel::{
        id::Epoch,
        ring::{Ring, Start},
    },
    clock::Millis,
    config::model::{Ids, LateJoin, RingLimits},
    egress::batch::{Batch, Form, Framing, GapForm, Gathered},
    sse::event::Event,
};

use crate::{EVENT_BYTES, event, rig::Rig, rig::settings};

const NOW: Millis = Millis(1);

/// Full by the number of its events, and the ids of its first, its middle and its last.
fn full(ids: Ids) -> (Ring, Vec<Vec<u8>>) {
    let limits = settings().ring;
    let mut ring = Ring::new(Epoch::new(1), ids, limits);
    let mut known = Vec::new();
    for n in 0..2 * limits.events_max {
        ring.push_event(&numbered(n), NOW);
        let head = ring.head();
        known.push(ring.id_at(head).unwrap().to_vec());
    }
    assert_eq!(ring.len(), limits.events_max);
    let kept = known.split_off(known.len() - limits.events_max);
    let picked = [0, kept.len() / 2, kept.len() - 1].map(|at| kept.get(at).unwrap().clone());
    (ring, picked.to_vec())
}

fn numbered(n: usize) -> Event {
    Event {
        id: Some(n.to_string().into()),
        ..event(EVENT_BYTES)
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    for (name, ids) in [("ids: local", Ids::Local), ("ids: unique", Ids::Unique)] {
        let (mut ring, known) = full(ids);
        group.bench_function(format!("resume, {name}"), |bencher| {
            let mut next = known.iter().cycle();
            bencher.iter(|| {
                let id = next.next().map(Vec::as_slice);
                let start: Start = ring.start(black_box(id), LateJoin::Live, ring.head(), NOW);
                assert_eq!(start.hole, None);
                start
            });
        });
        group.bench_function(format!("push and evict, {name}"), |bencher| {
            let mut n = ring.len();
            bencher.iter(|| {
                n += 1;
                ring.push_event(black_box(&numbered(n)), NOW)
            });
        });
    }

    let RingLimits { events_max, .. } = settings().ring;
    let form = Form {
        framing: Framing::Chunked,
        gap: GapForm::Event,
    };
    let channel = Rig::new().channel();
    channel.publish(&vec![event(EVENT_BYTES); events_max], NOW);
    for count in [1, 64, events_max] {
        group.bench_function(format!("gather {count}"), |bencher| {
            let after = channel.head() - count as u64;
            bencher.iter(|| {
                let gathered = Batch::gather(&channel, after, channel.head(), usize::MAX);
                let Gathered::Batch(batch) = gathered else {
                    panic!("{gathered:?}");
                };
                assert_eq!(batch.last, channel.head());
                black_box(batch.laid(form)).unwrap().bytes.len()
            });
        });
    }
    group.finish();
}
