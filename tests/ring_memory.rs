//! What a ring is accounted with is what it takes, in a process of its own with our allocator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic is how a failed expectation is told"
)]

use std::{fs, time::Duration};

use bytes::Bytes;
use sidestream::{
    channel::{
        id::Epoch,
        ring::{EntryKind, Ring},
    },
    clock::Millis,
    config::model::{Ids, RingLimits},
    sse::event::Event,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Enough for the pages of 2 MiB that the kernel may give to be a small part.
const RINGS: u64 = 200;
const LIMITS: RingLimits = RingLimits {
    events_max: 1_024,
    bytes_max: 1 << 24,
    age_max: Duration::from_secs(600),
};

fn resident_bytes() -> usize {
    // The sums of other files are of a moment ago.
    let exact = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = exact.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<usize>().unwrap() * 1_024
}

/// A ring that was full for a while, whose events were shared by readers.
fn full(epoch: u64, ids: Ids, data_len: usize) -> Ring {
    let mut ring = Ring::new(Epoch::new(epoch), ids, LIMITS);
    for n in 0..1_200 {
        let event = Event {
            name: Bytes::new(),
            data: Bytes::from(vec![b'x'; data_len + n % 100]),
            id: Some(Bytes::from(format!("{n:08}"))),
        };
        ring.push_event(&event, Millis(1));
        let newest = ring.after(ring.head() - 1).unwrap().next().unwrap();
        if let EntryKind::Event { frame, .. } = &newest.kind {
            drop(frame.clone());
        }
    }
    ring
}

#[test]
fn a_ring_takes_what_it_is_accounted_with() {
    // What the allocator takes once.
    drop(full(0, Ids::Unique, 100));
    let mut kept = Vec::new();
    for (ids, data_len) in [(Ids::Local, 20), (Ids::Local, 600), (Ids::Unique, 100)] {
        let before = resident_bytes();
        let rings: Vec<Ring> = (0..RINGS).map(|n| full(n, ids, data_len)).collect();
        let taken = resident_bytes() - before;
        let accounted: usize = rings.iter().map(Ring::bytes).sum();
        let ratio = taken as f64 / accounted as f64;
        println!("{ids:?} {data_len}: {taken} taken, {accounted} accounted, {ratio:.2}");
        assert!(
            (0.85..1.15).contains(&ratio),
            "{ids:?} {data_len}: {ratio:.2}"
        );
        // The next ones are not to find room here.
        kept.push(rings);
    }
}
