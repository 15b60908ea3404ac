//! The subscribers of one lane (thread) and what it has counted: the only place that judges.

mod judge;

use std::{borrow::Cow, time::Duration};

use self::judge::{ANY_CHANNEL, Judge, number_of};
use crate::{
    conduct::{AfterEnd, Conduct},
    diary::Diary,
    plan::{Dial, Plan},
    rounds::Rounds,
    tally::{Protocol, Tally},
    wire::{
        known::Known,
        scanner::{Expect, Scanner},
        sequence::Sequence,
    },
};

/// Why a connect failed or a stream ended; a short phrase for the report.
pub type Reason = Cow<'static, str>;

/// The reason of an end that says that the answer is whole.
pub const COMPLETED: &str = "completed by the server";

/// One subscriber: 56 bytes while it idles, a million of them fit into one process.
#[derive(Debug)]
struct Subscriber {
    scanner: Scanner,
    sequence: Sequence,
    /// Of its events; or [`ANY_CHANNEL`].
    channel: u32,
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
    known: Known,
    /// Counts arrivals for a closed loop.
    rounds: Option<Rounds>,
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
            known: Known::default(),
            rounds: None,
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

    /// From now on the roster counts who has which event.
    pub fn count_rounds(&mut self, rounds: Rounds) {
        self.rounds = Some(rounds);
    }

    /// The event that every subscriber has, by [`Self::count_rounds`].
    pub fn complete(&mut self) -> u64 {
        self.rounds.as_mut().map_or(0, Rounds::complete)
    }

    /// Enters the subscribers of a dial; returns the place of the first, the others follow it.
    pub fn enter(&mut self, plan: &Plan, dial: &Dial) -> usize {
        let first = self.subscribers.len();
        self.tally.of(dial.protocol).wanted += u64::from(dial.subscribers);
        self.waiting += u64::from(dial.subscribers);
        let target = match dial.protocol {
            Protocol::H1 => &plan.h1_target,
            Protocol::H2 => &plan.h2_target,
        };
        let numbers = (plan.first_of(dial)..).take(dial.subscribers as usize);
        self.subscribers.extend(numbers.map(|number| Subscriber {
            scanner: Scanner::default(),
            sequence: Sequence::default(),
            channel: plan.channel(target, number).unwrap_or(ANY_CHANNEL),
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
        let streamed = subscriber.phase == Phase::Streaming;
        if streamed && reason == COMPLETED && subscriber.scanner.is_mid_event() {
            // Whoever says that this is all of it cannot stop inside an event.
            counts.torn += 1;
            subscriber.faulty = true;
        }
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
            if streamed {
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
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        let expect = self.expect;
        let counts = self.tally.of(subscriber.protocol);
        counts.bytes += bytes.len() as u64;
        let mut diary = self.diary.as_deref_mut();
        if let Some(diary) = &mut diary {
            diary.fed(place, bytes, now_ns);
        }
        let scanner = &mut subscriber.scanner;
        let mut judge = Judge {
            place,
            expect,
            channel: subscriber.channel,
            now_ns,
            measuring: self.measuring,
            counts,
            sequence: &mut subscriber.sequence,
            faulty: &mut subscriber.faulty,
            highest: &mut self.highest,
            rounds: self.rounds.as_mut(),
            diary,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            if !scanner.is_at_rest() {
                return scanner.feed(rest, expect, |found| judge.take(found));
            }
            let next = judge.sequence.next();
            if let Some((found, after)) = next.and_then(|next| self.known.strip(next, rest)) {
                judge.take(found);
                rest = after;
                continue;
            }
            let (event, after) = split_event(rest);
            let mut findings = (0, None);
            scanner.feed(event, expect, |found| {
                findings = (findings.0 + 1, Some(found));
                judge.take(found);
            });
            if let (1, Some(found)) = findings
                && let Some(number) = number_of(found, expect)
                && scanner.is_at_rest()
            {
                self.known.learn(number, event, found);
            }
            rest = after;
        }
    }

    /// Measuring begins; `mark` is the sequence published by now.
    pub fn measure(&mut self, mark: Option<u64>) {
        self.measuring = true;
        self.mark = mark;
    }

    /// Measuring is over; what still comes is judged all the same.
    pub fn pause(&mut self) {
        self.measuring = false;
    }

    /// Subscribers that have their 200 and whose stream has not ended.
    #[must_use]
    pub fn streaming(&self) -> u32 {
        let streaming = |subscriber: &&Subscriber| subscriber.phase == Phase::Streaming;
        let count = self.subscribers.iter().filter(streaming).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// True when every subscriber that still streams has reached `target`.
    #[must_use]
    pub fn has_reached(&self, target: u64) -> bool {
        let owed = self.conduct.is_owed();
        let late = |subscriber: &Subscriber| {
            let expected = match subscriber.phase {
                Phase::Streaming => owed,
                Phase::Away | Phase::Asking => true,
                Phase::Waiting => self.conduct.returns(),
                Phase::Failed | Phase::Ended => false,
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
            let away = matches!(
                subscriber.phase,
                Phase::Waiting | Phase::Away | Phase::Asking
            );
            counts.absent += u64::from(away && !whole);
            counts.gaps_max = counts.gaps_max.max(subscriber.sequence.gaps().into());
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

/// The first event, up to its blank line; all that is there when none ends here.
fn split_event(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memmem::find(bytes, b"\n\n").map_or(bytes.len(), |at| at + 2);
    bytes.split_at_checked(end).unwrap_or((bytes, b""))
}

#[cfg(test)]
mod tests;
