//! What a lane, a process or a whole run has counted; tallies merge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    report::grouped,
    samples::Samples,
    timeline::Timeline,
    wire::{
        scanner::Found,
        sequence::{Sequence, Step},
    },
};

/// HTTP version of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A connection of its own.
    H1,
    /// One of many streams of a connection.
    H2,
}

/// Everything counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// HTTP/1.1 subscribers.
    pub h1: Counts,
    /// HTTP/2 subscribers.
    pub h2: Counts,
    /// What happened when, if the plan asks for it.
    #[serde(default)]
    pub timeline: Timeline,
    /// The mean latency of each subscriber, likewise.
    #[serde(default)]
    pub means: Samples,
}

/// Counts of the subscribers of one protocol.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Subscribers that were to connect.
    pub wanted: u64,
    /// Subscribers that got a 200.
    pub connected: u64,
    /// Connects that failed, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Streams that ended before the test did, by reason.
    pub ends: BTreeMap<String, u64>,
    /// Attempts that failed and were repeated, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Streams opened again by subscribers that came back.
    pub returned: u64,
    /// Visits that subscribers ended by themselves.
    pub left: u64,
    /// Subscribers that could still have come, and were without a stream at the end.
    pub absent: u64,
    /// Events delivered, all phases.
    pub delivered: u64,
    /// Events delivered while measuring.
    pub measured: u64,
    /// Stream bytes received.
    pub bytes: u64,
    /// Events that never came, though nobody announced a gap.
    pub lost: u64,
    /// Events that came twice.
    pub doubled: u64,
    /// Events that came after a later one.
    pub reordered: u64,
    /// Events whose bytes differ from what was published.
    pub torn: u64,
    /// Gaps that the server announced.
    pub gaps: u64,
    /// Those of the subscriber that was told most of them.
    pub gaps_max: u64,
    /// Events that announced gaps stand for.
    pub announced: u64,
    /// Subscribers with at least one loss, double, reorder or torn event.
    pub faulty: u64,
    /// From the intended send time to arrival, while measuring.
    pub latency: Samples,
    /// From dialling to a usable connection (TLS included); one sample a connection.
    pub connect: Samples,
    /// From sending the request to the first byte of the answer; one sample a subscriber.
    pub first_byte: Samples,
}

impl Tally {
    /// The counts of a protocol.
    pub fn of(&mut self, protocol: Protocol) -> &mut Counts {
        match protocol {
            Protocol::H1 => &mut self.h1,
            Protocol::H2 => &mut self.h2,
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        self.h1.merge(&other.h1);
        self.h2.merge(&other.h2);
        self.timeline.merge(&other.timeline);
        self.means.merge(&other.means);
    }

    /// Both protocols together.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = self.h1.clone();
        total.merge(&self.h2);
        total
    }
}

impl Counts {
    /// Judges one finding; says whether it was a fault.
    pub fn count(&mut self, found: Found, number: Option<u64>, sequence: &mut Sequence) -> bool {
        match found {
            Found::Torn => {
                self.torn += 1;
                return true;
            }
            Found::Gap { .. } => {
                self.gaps += 1;
                sequence.announce_gap();
            }
            Found::Message { .. } => self.delivered += 1,
        }
        match number.map(|number| sequence.arrive(number)) {
            None | Some(Step::Next) => return false,
            Some(Step::Announced(missing)) => {
                self.announced += missing;
                return false;
            }
            Some(Step::Lost(missing)) => self.lost += missing,
            Some(Step::Double) => self.doubled += 1,
            Some(Step::Late) => {
                self.lost = self.lost.saturating_sub(1);
                self.reordered += 1;
            }
        }
        true
    }

    /// Why connects failed, and how often; a phrase for people.
    #[must_use]
    pub fn why_not(&self) -> String {
        let reasons = self.failures.iter().chain(&self.refused);
        let reasons: Vec<String> = reasons
            .map(|(reason, count)| format!("{reason} ({} times)", grouped(*count)))
            .collect();
        if reasons.is_empty() {
            return "no answer in time".to_owned();
        }
        reasons.join(", ")
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.failures, &other.failures),
            (&mut self.ends, &other.ends),
            (&mut self.refused, &other.refused),
        ] {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
        self.wanted += other.wanted;
        self.returned += other.returned;
        self.left += other.left;
        self.absent += other.absent;
        self.connected += other.connected;
        self.delivered += other.delivered;
        self.measured += other.measured;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.torn += other.torn;
        self.gaps += other.gaps;
        self.gaps_max = self.gaps_max.max(other.gaps_max);
        self.announced += other.announced;
        self.faulty += other.faulty;
        self.latency.merge(&other.latency);
        self.connect.merge(&other.connect);
        self.first_byte.merge(&other.first_byte);
    }
}
