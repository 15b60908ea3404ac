//! What a fleet of subscribers is to do, as it is handed to a process, and who dials what.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    conduct::Conduct,
    tally::Protocol,
    target::{Header, Target},
    wire::scanner::Expect,
};

/// A test plan; every process gets the same one and takes its share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where HTTP/1.1 subscribers connect to.
    pub h1_target: Target,
    /// Where HTTP/2 subscribers connect to.
    pub h2_target: Target,
    /// Headers sent with each request, beyond `accept`.
    pub headers: Vec<Header>,
    /// HTTP/1.1 subscribers, over all processes.
    pub h1: u32,
    /// HTTP/2 subscribers, over all processes.
    pub h2: u32,
    /// Streams of one HTTP/2 connection; the last connection may have fewer.
    pub streams_per_connection: u32,
    /// What events are held against.
    pub expect: Expect,
    /// Subscribers dialled per second, over all processes.
    pub connects_per_second: u32,
    /// Connects under way at once, over all processes.
    pub connects_in_flight_max: u32,
    /// Limit on dialling, handshake and response head together.
    pub connect_timeout: Duration,
    /// Loopback addresses that client sockets are spread over (each has about 28,000 ports).
    pub source_addresses: u8,
    /// What the kernel is asked to hold of what a subscriber has not read; its own choice otherwise.
    pub receive_buffer_bytes: Option<u32>,
    /// Accept any certificate.
    pub insecure: bool,
    /// Threads per process.
    pub threads: u32,
    /// Processes.
    pub processes: u32,
    /// How many paths `{channel}` in the target's path stands for.
    pub channels: u32,
    /// Whether subscribers come back, leave, or read slowly.
    pub conduct: Conduct,
    /// Where subscribers dial when they come back, if not where they were.
    pub successor: Option<Target>,
    /// Where the timeline begins (`CLOCK_MONOTONIC`), if one is to be kept.
    pub timeline_origin_ns: Option<u64>,
}

/// Stands for the number of a channel in a path.
pub const CHANNEL: &str = "{channel}";

/// One connection to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// Protocol.
    pub protocol: Protocol,
    /// Number among all dials; chooses the source address.
    pub index: u32,
    /// Subscribers that it carries.
    pub subscribers: u32,
    /// When to dial, after the start.
    pub after: Duration,
}

impl Plan {
    /// A plan with everything at its default: no subscribers yet, one process, one thread.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            h1_target: target.clone(),
            h2_target: target,
            headers: Vec::new(),
            h1: 0,
            h2: 0,
            streams_per_connection: 100,
            expect: Expect::Payload,
            connects_per_second: 4_000,
            connects_in_flight_max: 256,
            connect_timeout: Duration::from_secs(15),
            source_addresses: 1,
            receive_buffer_bytes: None,
            insecure: false,
            threads: 1,
            processes: 1,
            channels: 1,
            conduct: Conduct::default(),
            successor: None,
            timeline_origin_ns: None,
        }
    }

    /// Number of the first subscriber of a dial, among those of its protocol.
    #[must_use]
    pub fn first_of(&self, dial: &Dial) -> u32 {
        match dial.protocol {
            Protocol::H1 => dial.index,
            Protocol::H2 => (dial.index - self.h1) * self.streams_per_connection.max(1),
        }
    }

    /// The path that subscriber number `subscriber` asks for.
    #[must_use]
    pub fn path<'a>(&self, target: &'a Target, subscriber: u32) -> Cow<'a, str> {
        if !target.path.contains(CHANNEL) {
            return Cow::Borrowed(&target.path);
        }
        let channel = subscriber % self.channels.max(1);
        Cow::Owned(target.path.replace(CHANNEL, &channel.to_string()))
    }

    /// The channel whose events subscriber number `subscriber` must get, and no others: known where
    /// the publisher can read it from the path, too (see [`crate::payload::channel`]).
    #[must_use]
    pub fn channel(&self, target: &Target, subscriber: u32) -> Option<u32> {
        let path = target.path.split('?').next().unwrap_or_default();
        path.ends_with(CHANNEL)
            .then(|| subscriber % self.channels.max(1))
    }

    /// All subscribers.
    #[must_use]
    pub fn subscribers(&self) -> u64 {
        u64::from(self.h1) + u64::from(self.h2)
    }

    /// Threads over all processes.
    #[must_use]
    pub fn lanes(&self) -> u32 {
        self.threads.max(1) * self.processes.max(1)
    }

    /// The dials of one lane, in order of time.
    pub fn dials(&self, lane: u32) -> impl Iterator<Item = Dial> + '_ {
        let streams = self.streams_per_connection.max(1);
        let connections = self.h2.div_ceil(streams);
        let rate = f64::from(self.connects_per_second.max(1));
        let after = move |before: u32| Duration::from_secs_f64(f64::from(before) / rate);
        let h1 = (0..self.h1).map(move |index| Dial {
            protocol: Protocol::H1,
            index,
            subscribers: 1,
            after: after(index),
        });
        let h2 = (0..connections).map(move |number| {
            let before = number * streams;
            Dial {
                protocol: Protocol::H2,
                index: self.h1 + number,
                subscribers: streams.min(self.h2 - before),
                after: after(self.h1 + before),
            }
        });
        let lanes = self.lanes();
        h1.chain(h2).filter(move |dial| dial.index % lanes == lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_take_channels_in_turn() {
        let plan = Plan {
            h1: 3,
            h2: 10,
            streams_per_connection: 4,
            channels: 3,
            ..Plan::new("http://a/events/{channel}?x".parse().unwrap())
        };
        let firsts: Vec<u32> = plan.dials(0).map(|dial| plan.first_of(&dial)).collect();
        assert_eq!(firsts, [0, 1, 2, 0, 4, 8]);
        assert_eq!(plan.path(&plan.h2_target, 8), "/events/2?x");
        assert_eq!(plan.path(&"http://a/e".parse().unwrap(), 8), "/e");
        assert_eq!(plan.channel(&plan.h2_target, 8), Some(2));
        for other in ["http://a/e", "http://a/{channel}/e", "http://a/e?{channel}"] {
            assert_eq!(plan.channel(&other.parse().unwrap(), 8), None, "{other}");
        }
    }

    #[test]
    fn lanes_share_all_subscribers_between_them() {
        let plan = Plan {
            h1: 10,
            h2: 250,
            threads: 3,
            processes: 2,
            ..Plan::new("http://a/".parse().unwrap())
        };
        let dials: Vec<Dial> = (0..plan.lanes())
            .flat_map(|lane| plan.dials(lane))
            .collect();
        assert_eq!(dials.iter().map(|dial| dial.subscribers).sum::<u32>(), 260);
        assert_eq!(dials.len(), 13);
        let last = dials
            .iter()
            .map(|dial| (dial.after, dial.subscribers))
            .max();
        assert_eq!(last, Some((Duration::from_secs_f64(210.0 / 4_000.0), 50)));
    }
}
