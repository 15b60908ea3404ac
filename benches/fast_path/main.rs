//! What each event costs on its way from the app's bytes to the clients', without sockets: parser,
//! ring, framing, sweep. `make bench` measures; `make test` runs each once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark has nobody to tell but who runs it"
)]

mod framing;
mod parser;
mod peer;
mod rig;
mod ring;
mod sweep;

use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use sidestream::sse::event::Event;

/// The binary's, whose cost is part of what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Data of an event where nothing else is said: that of the load tests.
const EVENT_BYTES: usize = 200;

/// Of an event that is a whole record.
const LARGE_BYTES: usize = 16 << 10;

/// An event with so many bytes of data.
fn event(bytes: usize) -> Event {
    Event {
        data: Bytes::from(vec![b'x'; bytes]),
        ..Event::default()
    }
}

fn main() {
    // Half a minute in all. What the command line says goes before.
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    parser::bench(&mut criterion);
    ring::bench(&mut criterion);
    framing::bench(&mut criterion);
    sweep::bench(&mut criterion);
    criterion.final_summary();
}
