//! From a body's bytes to the ring: parses, and publishes in batches.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use super::exchange::{Body, Cut, CutKind, Part};
use crate::{
    channel::{ring::ENTRY_OVERHEAD, shared::Channel},
    clock,
    config::model::{EventLimits, RingLimits},
    metrics::labels::{self, CutReason},
    sse::{
        event::{Event, Item},
        parser::{ParseError, Parser},
    },
};

/// Bytes that are parsed before the shards are told, if so many are there at once: a burst is one
/// wake-up, and no event waits for bytes that have yet to come.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// How long a burst is held back at most for shards that have not taken the last part of it.
const SWEEP_WAIT_MAX: Duration = Duration::from_secs(1);

/// Grain of that wait.
const SWEEP_LOOK: Duration = Duration::from_millis(1);

/// Room for events that is kept from batch to batch.
const BATCH_EVENTS_KEPT: usize = 256;

/// How an open stream ended.
pub(super) enum Ending {
    /// By the app's word.
    Done,
    /// Otherwise.
    Cut(CutReason, String),
}

/// The bytes of one stream on their way to the ring.
pub(super) struct Intake {
    parser: Parser,
    /// Events to publish.
    events: Vec<Event>,
    /// The last `retry:` since the last publication, in milliseconds.
    retry: Option<u64>,
}

impl Intake {
    /// A new stream.
    pub(super) fn new(limits: EventLimits) -> Self {
        Self {
            parser: Parser::new(limits),
            events: Vec::new(),
            retry: None,
        }
    }

    /// Waits for bytes, and takes what else is there already.
    pub(super) async fn fill(
        &mut self,
        body: &mut Body,
        silence_max: Option<Duration>,
    ) -> Option<Ending> {
        let first = match silence_max {
            None => body.read().await,
            Some(silence_max) => match tokio::time::timeout(silence_max, body.read()).await {
                Ok(part) => part,
                Err(_) => {
                    let text = format!("silent for {silence_max:?} (upstream_silence_max)");
                    return Some(Ending::Cut(CutReason::Silence, text));
                }
            },
        };
        let mut taken = match self.take(first) {
            Ok(bytes) => bytes,
            Err(ending) => return Some(ending),
        };
        while taken < BATCH_BYTES_MAX {
            let part = poll_once(body.read()).await?;
            match self.take(part) {
                Ok(bytes) => taken += bytes,
                Err(ending) => return Some(ending),
            }
        }
        None
    }

    /// Parses one part; its size, or how the stream ended.
    fn take(&mut self, part: Result<Part<'_>, Cut>) -> Result<usize, Ending> {
        let data = match part {
            Ok(Part::Data(data)) => data,
            Ok(Part::End) => return Err(Ending::Done),
            Err(cut) => return Err(Ending::Cut(reason(cut.kind), cut.to_string())),
        };
        let (events, retry) = (&mut self.events, &mut self.retry);
        let parsed = self.parser.feed(data, &mut |item| match item {
            Item::Event(event) => events.push(event),
            Item::Retry(milliseconds) => *retry = Some(milliseconds),
            // The parser carries the id into the next event.
            Item::Id(_) | Item::Comment => {}
        });
        match parsed {
            Ok(()) => Ok(data.len()),
            Err(error) => Err(Ending::Cut(CutReason::Limit, error.to_string())),
        }
    }

    /// Hands on what was parsed, and counts what was refused. A burst goes in parts that the ring
    /// holds, each after the shards had their turn: readers who keep up must not be outrun by one
    /// read of the app. That waits for no subscriber, because a sweep does not.
    pub(super) async fn publish(&mut self, channel: &Channel) {
        if let Some(milliseconds) = self.retry.take() {
            channel.set_app_retry(Duration::from_millis(milliseconds));
        }
        let ring = channel.settings().ring;
        let mut rest = &self.events[..];
        while !rest.is_empty() {
            let (part, later) = rest.split_at(part_len(rest, ring));
            channel.publish(part, clock::now());
            rest = later;
            turn_of_shards(channel, ring.events_max as u64).await;
        }
        self.events.clear();
        self.events.shrink_to(BATCH_EVENTS_KEPT);
        let errors = &channel.route_metrics.parse_errors;
        match self.parser.take_ids_ignored() {
            0 => {}
            ignored => errors.add(labels::ParseError::Id, ignored),
        }
        match self.parser.failure() {
            Some(ParseError::EventTooLarge { .. }) => errors.inc(labels::ParseError::EventBytes),
            Some(ParseError::TooManyFields { .. }) => errors.inc(labels::ParseError::EventFields),
            None => {}
        }
    }
}

/// How many of `events` make up half a ring at most; at least one.
fn part_len(events: &[Event], ring: RingLimits) -> usize {
    let mut bytes = 0;
    let fitting = events
        .iter()
        .take((ring.events_max / 2).max(1))
        .take_while(|event| {
            bytes += event.data.len() + ENTRY_OVERHEAD;
            bytes <= ring.bytes_max / 2
        });
    fitting.count().max(1)
}

/// Lets the shards sweep, and waits for those that lag by more than `lag_max` events: not for ever,
/// so that a shard that stands still costs the other shards little.
async fn turn_of_shards(channel: &Channel, lag_max: u64) {
    tokio::task::yield_now().await;
    let deadline = clock::now().after(SWEEP_WAIT_MAX);
    while channel.unswept() > lag_max && clock::now() < deadline {
        tokio::time::sleep(SWEEP_LOOK).await;
    }
}

fn reason(kind: CutKind) -> CutReason {
    match kind {
        CutKind::Truncated | CutKind::Framing => CutReason::Truncated,
        CutKind::Connection => CutReason::Reset,
    }
}

/// The future's value if it is there at once.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}
