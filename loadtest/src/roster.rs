//! The subscribers of one lane (thread) and what it has counted: the only place that judges.

use std::{borrow::Cow, time::Duration};

use crate::{
    conduct::{AfterEnd, Conduct},
    diary::Diary,
    payload::Stamp,
    plan::{Dial, Plan},
    tally::{Protocol, Tally},
    wire::{
        scanner::{Expect, Found, Scanner},
        sequence::Sequence,
    },
};

/// Why a connect failed or a stream ended; a short phrase for the report.
pub type Reason = Cow<'static, str>;

/// One subscriber: 56 bytes while it idles, a million of them fit into one process.
#[derive(Debug)]
struct Subscriber {
    scanner: Scanner,
    sequence: Sequence,
    protocol: Protocol,
    phase: Phase,
    faulty: bool,
    /// It came back without having seen an event: what went before is nobody's debt.
    late: bool,
}

/// Where a subscriber is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not connected yet.
    Waiting,
    /// Has a 200.
    Streaming,
    /// Never got a 200.
    Failed,
    /// Had a 200 and lost the stream before the test was over.
    Ended,
    /// Between two streams.
    Away,
    /// Coming back.
    Asking,
}

/// All subscribers of a lane.
#[derive(Debug)]
pub struct Roster {
    expect: Expect,
    subscribers: Vec<Subscriber>,
    tally: Tally,
    /// When measuring began; latency counts from here on.
    measuring: bool,
    /// Sequence that had been published when all were connected.
    mark: Option<u64>,
    waiting: u64,
    highest: u64,
    conduct: Conduct,
    diary: Option<Box<Diary>>,
}

impl Roster {
    /// An empty roster.
    #[must_use]
    pub fn new(expect: Expect) -> Self {
        Self {
            expect,
            subscribers: Vec::new(),
            tally: Tally::default(),
            measuring: false,
            mark: None,
            waiting: 0,
            highest: 0,
            conduct: Conduct::default(),
            diary: None,
        }
    }

    /// The empty roster of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            conduct: plan.conduct,
            diary: Diary::of(plan),
            ..Self::new(plan.expect)
        }
    }

    /// Enters the subscribers of a dial; returns the place of the first, the others follow it.
    pub fn enter(&mut self, dial: &Dial) -> usize {
        let first = self.subscribers.len();
        self.tally.of(dial.protocol).wanted += u64::from(dial.subscribers);
        self.waiting += u64::from(dial.subscribers);
        self.subscribers
            .extend((0..dial.subscribers).map(|_| Subscriber {
                scanner: Scanner::default(),
                sequence: Sequence::default(),
                protocol: dial.protocol,
                phase: Phase::Waiting,
                faulty: false,
                late: false,
            }));
        if let Some(diary) = &mut self.diary {
            diary.enter(self.subscribers.len());
        }
        first
    }

    /// A connection of a protocol stands, `nanos` after it was dialled.
    pub fn connected(&mut self, protocol: Protocol, nanos: u64) {
        self.tally.of(protocol).connect.record_ns(nanos);
    }

    /// A subscriber has its 200; the first byte of the answer came after `nanos`.
    pub fn opened(&mut self, place: usize, nanos: u64) {
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        let counts = self.tally.of(subscriber.protocol);
        match subscriber.phase {
            Phase::Waiting => {
                self.waiting -= 1;
                counts.connected += 1;
            }
            Phase::Away | Phase::Asking => {
                counts.returned += 1;
                // What was cut short comes again as a whole.
                subscriber.scanner = Scanner::default();
                subscriber.late |= subscriber.sequence.last().is_none();
            }
            Phase::Streaming | Phase::Failed | Phase::Ended => return,
        }
        subscriber.phase = Phase::Streaming;
        counts.first_byte.record_ns(nanos);
        if let Some(diary) = &mut self.diary {
            diary.opened(place);
        }
    }

    /// A subscriber is over: a failed connect before its 200, an early end after it.
    pub fn over(&mut self, place: usize, reason: &Reason) {
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        let counts = self.tally.of(subscriber.protocol);
        let returns = self.conduct.returns();
        let (phase, reasons) = match subscriber.phase {
            Phase::Waiting if returns => (Phase::Waiting, &mut counts.refused),
            Phase::Waiting => (Phase::Failed, &mut counts.failures),
            Phase::Streaming if returns => (Phase::Away, &mut counts.ends),
            Phase::Streaming => (Phase::Ended, &mut counts.ends),
            Phase::Asking => (Phase::Away, &mut counts.refused),
            Phase::Away | Phase::Failed | Phase::Ended => return,
        };
        if let Some(diary) = &mut self.diary {
            if subscriber.phase == Phase::Streaming {
                diary.ended();
            } else {
                diary.refused();
            }
        }
        self.waiting -= u64::from(phase == Phase::Failed);
        subscriber.phase = phase;
        *reasons.entry(reason.to_string()).or_default() += 1;
    }

    /// A subscriber dials, for the first time or to come back.
    pub fn ask(&mut self, place: usize) {
        if let Some(subscriber) = self.subscribers.get_mut(place)
            && subscriber.phase == Phase::Away
        {
            subscriber.phase = Phase::Asking;
        }
    }

    /// True when the subscriber has dialled and has no 200 yet.
    #[must_use]
    pub fn is_asking(&self, place: usize) -> bool {
        let subscriber = self.subscribers.get(place);
        subscriber
            .is_some_and(|subscriber| matches!(subscriber.phase, Phase::Waiting | Phase::Asking))
    }

    /// A subscriber leaves by itself, to come back.
    pub fn leave(&mut self, place: usize) {
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        if subscriber.phase == Phase::Streaming {
            subscriber.phase = Phase::Away;
            self.tally.of(subscriber.protocol).left += 1;
            if let Some(diary) = &mut self.diary {
                diary.ended();
            }
        }
    }

    /// The value of `Last-Event-ID` with which a subscriber comes back.
    #[must_use]
    pub fn last_id(&self, place: usize) -> Option<&str> {
        self.diary.as_ref()?.last_id(place)
    }

    /// The time that the server has told a subscriber to wait.
    #[must_use]
    pub fn retry(&self, place: usize) -> Option<Duration> {
        self.diary.as_ref()?.retry(place)
    }

    /// True when the subscriber has its 200 and its stream has not ended.
    #[must_use]
    pub fn is_streaming(&self, place: usize) -> bool {
        self.subscribers
            .get(place)
            .is_some_and(|subscriber| subscriber.phase == Phase::Streaming)
    }

    /// Stream bytes for a subscriber, read at `now_ns`.
    pub fn feed(&mut self, place: usize, bytes: &[u8], now_ns: u64) {
        let Some(Subscriber {
            scanner,
            sequence,
            protocol,
            faulty,
            ..
        }) = self.subscribers.get_mut(place)
        else {
            return;
        };
        let (expect, measuring, highest) = (self.expect, self.measuring, &mut self.highest);
        let counts = self.tally.of(*protocol);
        counts.bytes += bytes.len() as u64;
        let mut diary = self.diary.as_deref_mut();
        if let Some(diary) = &mut diary {
            diary.fed(place, bytes, now_ns);
        }
        scanner.feed(bytes, expect, |found| {
            let number = number_of(found, expect);
            *faulty |= counts.count(found, number, sequence);
            *highest = (*highest).max(number.unwrap_or(0));
            if let Some(diary) = &mut diary {
                let latency = stamp_of(found).filter(|_| measuring);
                let latency = latency.map(|stamp| now_ns.saturating_sub(stamp.sent_ns));
                diary.found(place, found, now_ns, latency);
            }
            if let (true, Found::Message { stamp, .. }) = (measuring, found) {
                counts.measured += 1;
                if let Some(stamp) = stamp {
                    counts
                        .latency
                        .record_ns(now_ns.saturating_sub(stamp.sent_ns));
                }
            }
        });
    }

    /// Measuring begins; `mark` is the sequence published by now.
    pub fn measure(&mut self, mark: Option<u64>) {
        self.measuring = true;
        self.mark = mark;
    }

    /// True when every subscriber that still streams has reached `target`.
    #[must_use]
    pub fn has_reached(&self, target: u64) -> bool {
        let owed = self.conduct.is_owed();
        let late = |subscriber: &Subscriber| {
            let expected = match subscriber.phase {
                Phase::Streaming => owed,
                Phase::Away | Phase::Asking => true,
                Phase::Waiting | Phase::Failed | Phase::Ended => false,
            };
            expected && !subscriber.sequence.has_reached(target)
        };
        !self.subscribers.iter().any(late)
    }

    /// The end: what is still missing counts as lost, and the books are closed.
    #[must_use]
    pub fn close(mut self, target: Option<u64>) -> Tally {
        for subscriber in &mut self.subscribers {
            let counts = self.tally.of(subscriber.protocol);
            let owed = match subscriber.phase {
                Phase::Streaming => self.conduct.is_owed(),
                Phase::Ended => self.conduct.after_end == AfterEnd::Fail,
                Phase::Waiting | Phase::Failed | Phase::Away | Phase::Asking => false,
            };
            // Who had everything may just be changing connections.
            let whole = target.is_some_and(|target| subscriber.sequence.has_reached(target));
            let away = matches!(subscriber.phase, Phase::Away | Phase::Asking);
            counts.absent += u64::from(away && !whole);
            if let (true, Some(target)) = (owed, target) {
                let mark = self.mark.filter(|_| !subscriber.late);
                let missing = subscriber.sequence.missing_at_ends(mark, target);
                counts.lost += missing;
                subscriber.faulty |= missing > 0;
            }
            counts.faulty += u64::from(subscriber.faulty);
        }
        if let Some(diary) = self.diary.take() {
            (self.tally.timeline, self.tally.means) = diary.close();
        }
        self.tally
    }

    /// Subscribers whose connect is not decided yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The highest sequence that any subscriber got.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// What has been counted so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

fn stamp_of(found: Found) -> Option<Stamp> {
    match found {
        Found::Message { stamp, .. } => stamp,
        Found::Gap { .. } | Found::Torn => None,
    }
}

/// The number of a finding that takes part in the sequence.
fn number_of(found: Found, expect: Expect) -> Option<u64> {
    match (found, expect) {
        (Found::Message { stamp, .. }, Expect::Payload) => stamp.map(|stamp| stamp.seq),
        // Under `ids: local` an announced gap has a sequence number of its own.
        (Found::Message { id, .. } | Found::Gap { id }, Expect::Ids) => id,
        (Found::Torn | Found::Gap { .. }, _) | (_, Expect::Any) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_small() {
        assert!(size_of::<Subscriber>() <= 56);
    }
}
