//! The parser, over what an app's connection brings in one read and in many.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use sidestream::sse::{event::Item, parser::Parser};

use crate::{EVENT_BYTES, LARGE_BYTES, rig::settings};

/// About what one read of a busy connection brings.
const STREAM_BYTES: usize = 64 << 10;
/// Neither a divisor of an event nor of anything else.
const TORN_BYTES: usize = 61;

struct Case {
    name: &'static str,
    data_bytes: usize,
    line_end: &'static str,
    read_bytes: usize,
}

const CASES: [Case; 4] = [
    Case {
        name: "small events",
        data_bytes: EVENT_BYTES,
        line_end: "\n",
        read_bytes: STREAM_BYTES,
    },
    Case {
        name: "small events with CRLF",
        data_bytes: EVENT_BYTES,
        line_end: "\r\n",
        read_bytes: STREAM_BYTES,
    },
    Case {
        name: "small events in reads of 61 bytes",
        data_bytes: EVENT_BYTES,
        line_end: "\n",
        read_bytes: TORN_BYTES,
    },
    Case {
        name: "large events",
        data_bytes: LARGE_BYTES,
        line_end: "\n",
        read_bytes: STREAM_BYTES,
    },
];

/// Whole events, as many as it takes.
fn stream(data_bytes: usize, line_end: &str) -> (Vec<u8>, usize) {
    let data = "x".repeat(data_bytes);
    let mut stream = Vec::new();
    let mut events = 0;
    while stream.len() < STREAM_BYTES {
        let event = format!("id: {events}{line_end}data: {data}{line_end}{line_end}");
        stream.extend_from_slice(event.as_bytes());
        events += 1;
    }
    (stream, events)
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let limits = settings().event;
    let mut group = criterion.benchmark_group("parser");
    for case in CASES {
        let (stream, expected) = stream(case.data_bytes, case.line_end);
        let mut parser = Parser::new(limits);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                let mut events = 0;
                for read in stream.chunks(case.read_bytes) {
                    parser.feed(black_box(read), &mut |item| {
                        events += usize::from(matches!(black_box(item), Item::Event(_)));
                    });
                }
                assert_eq!(events, expected);
            });
        });
    }
    group.finish();
}
