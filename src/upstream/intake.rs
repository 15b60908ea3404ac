//! From a body's bytes to the ring: parses, and publishes in batches.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use super::{
    exchange::{Body, Cut, CutKind, Part},
    rhythm::Rhythm,
};
use crate::{
    channel::{ring::ENTRY_OVERHEAD, shared::Channel},
    clock,
    config::model::{EventLimits, RingLimits, Watchdog},
    logging::Seldom,
    metrics::labels::{CutReason, ParseError},
    sse::{
        encode::encoded_len,
        event::{Event, Excess, Item},
        parser::Parser,
    },
};

/// Events left out are counted; a line about them is written at most this often, in seconds.
static OVERSIZED: Seldom = Seldom::new(10);

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
    /// How many of `events` stand before each place where some were left out.
    holes: Vec<usize>,
    /// Events that were left out since the last publication, by the limit that they broke.
    too_large: u64,
    too_many_fields: u64,
    /// The last `retry:` since the last publication, in milliseconds.
    retry: Option<u64>,
    rhythm: Rhythm,
}

impl Intake {
    /// A new stream.
    pub(super) fn new(limits: EventLimits) -> Self {
        Self {
            parser: Parser::new(limits),
            events: Vec::new(),
            holes: Vec::new(),
            too_large: 0,
            too_many_fields: 0,
            retry: None,
            rhythm: Rhythm::default(),
        }
    }

    /// Limits for what comes next.
    pub(super) fn set_limits(&mut self, limits: EventLimits) {
        self.parser.set_limits(limits);
    }

    /// The silence after which the app counts as frozen.
    pub(super) fn silence_max(&self, watchdog: Watchdog) -> Option<Duration> {
        match watchdog {
            Watchdog::Off => None,
            Watchdog::After(silence_max) => Some(silence_max),
            Watchdog::Auto => self.rhythm.silence_max(),
        }
    }

    /// Waits for bytes, and takes what else is there already. Cancel safe: it waits for nothing else.
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
                    let text = format!("silent for {silence_max:?} (watchdog)");
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
        let Self {
            parser,
            events,
            holes,
            too_large,
            too_many_fields,
            retry,
            rhythm,
        } = self;
        let mut commented = false;
        parser.feed(data, &mut |item| match item {
            Item::Event(event) => events.push(event),
            Item::Skipped(excess) => {
                // One gap for several in a row: it says no more of each.
                if holes.last() != Some(&events.len()) {
                    holes.push(events.len());
                }
                match excess {
                    Excess::Bytes => *too_large += 1,
                    Excess::Fields => *too_many_fields += 1,
                }
            }
            Item::Retry(milliseconds) => *retry = Some(milliseconds),
            // The parser carries the id into the next event.
            Item::Id(_) => {}
            Item::Comment => commented = true,
        });
        if commented {
            rhythm.comment(clock::now());
        }
        Ok(data.len())
    }

    /// Hands on what was parsed, and counts what was left out.
    pub(super) async fn publish(&mut self, channel: &Channel) {
        if let Some(milliseconds) = self.retry.take() {
            channel.set_app_retry(Duration::from_millis(milliseconds));
        }
        let (mut rest, mut done) = (&self.events[..], 0);
        for hole in self.holes.drain(..) {
            let (before, behind) = rest.split_at(hole - done);
            in_parts(before, channel).await;
            channel.skipped(clock::now());
            (rest, done) = (behind, hole);
        }
        in_parts(rest, channel).await;
        self.events.clear();
        self.events.shrink_to(BATCH_EVENTS_KEPT);
        self.count_left_out(channel);
    }

    fn count_left_out(&mut self, channel: &Channel) {
        let counts = [
            (ParseError::EventBytes, std::mem::take(&mut self.too_large)),
            (
                ParseError::EventFields,
                std::mem::take(&mut self.too_many_fields),
            ),
            (ParseError::Id, self.parser.take_ids_ignored()),
        ];
        for (limit, count) in counts {
            if count > 0 {
                channel.route_metrics.parse_errors.add(limit, count);
                log_left_out(channel, limit);
            }
        }
    }
}

fn log_left_out(channel: &Channel, limit: ParseError) {
    let what = match limit {
        ParseError::EventBytes => "event: larger than event.bytes_max",
        ParseError::EventFields => "event: more fields than event.fields_max",
        ParseError::Id => "id: longer than event.id_bytes_max, or with control characters",
    };
    if let Some(held_back) = OVERSIZED.pass(clock::now()) {
        let route = channel.route();
        let upstream = &route.upstream.name;
        tracing::warn!(
            route = route.name,
            upstream,
            held_back,
            what,
            "left out a part of the app's stream"
        );
    }
}

/// Publishes a burst in parts that the ring holds, each after the shards had their turn: readers who
/// keep up must not be outrun by one read of the app. That waits for no subscriber, because a sweep
/// does not.
async fn in_parts(mut rest: &[Event], channel: &Channel) {
    let ring = channel.settings().ring;
    while !rest.is_empty() {
        let (part, later) = rest.split_at(part_len(rest, ring));
        channel.publish(part, clock::now());
        rest = later;
        turn_of_shards(channel).await;
    }
}

/// How many of `events` make up half a ring at most; at least one.
fn part_len(events: &[Event], ring: RingLimits) -> usize {
    let mut bytes = 0;
    let fitting = events
        .iter()
        .take((ring.events_max / 2).max(1))
        .take_while(|event| {
            let encoded = encoded_len(event.id.as_deref(), Some(&event.name), &event.data);
            bytes += ENTRY_OVERHEAD + encoded;
            bytes <= ring.bytes_max / 2
        });
    fitting.count().max(1)
}

/// Lets the shards sweep, and waits for those that lag by more than the ring: not for ever, so that a
/// shard that stands still costs the other shards little.
async fn turn_of_shards(channel: &Channel) {
    tokio::task::yield_now().await;
    let deadline = clock::now().after(SWEEP_WAIT_MAX);
    while channel.is_ahead_of_shards() && clock::now() < deadline {
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

#[cfg(test)]
mod tests;
