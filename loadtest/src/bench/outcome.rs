//! What a bench amounts to, as text and as JSON.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value, json};

use super::{Options, Pace, Waiting};
use crate::{failure::Failure, proc::Usage, report::grouped, tally::Tally};

/// From this share of its core on the load may have been what limited the server.
const LOAD_BUSY: f64 = 0.90;
/// A server that used this share of its core was the limit, however busy the load was.
const SERVER_BUSY: f64 = 0.95;

/// A finished bench.
#[derive(Debug, Clone)]
pub struct Outcome {
    options: Options,
    /// How everybody connected.
    pub connects: Connects,
    /// How long it was measured.
    pub seconds: f64,
    /// Events published in that time.
    pub events: u64,
    /// Share of its core that the load used.
    pub load_share: f64,
    /// Cores that neither the load nor the server used, but somebody else did.
    pub others_share: f64,
    /// The server while measuring.
    pub server: Option<Server>,
    /// Streams that the server had open to the publisher.
    pub upstreams: usize,
    /// What the subscribers saw.
    pub tally: Tally,
    /// Why it could not be run to its end.
    pub broken: Option<Failure>,
}

/// Connecting, from the second connection on: the first one made the channel live.
#[derive(Debug, Clone, Copy)]
pub struct Connects {
    /// Subscribers.
    pub subscribers: u64,
    /// Connections of those.
    pub connections: u64,
    /// How long it took.
    pub seconds: f64,
    /// The server in that time.
    pub server: Option<Server>,
}

/// What a server used in a time.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// CPU.
    pub cpu_seconds: f64,
    /// Memory at the end.
    pub pss_bytes: u64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
}

impl Server {
    /// From two readings, when there are any.
    #[must_use]
    pub fn between(before: Option<Usage>, after: Option<Usage>) -> Option<Self> {
        let (before, after) = (before?, after?);
        Some(Self {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            pss_bytes: after.pss_bytes,
            rss_bytes: after.rss_bytes,
        })
    }
}

impl Outcome {
    /// An outcome before anything is measured.
    #[must_use]
    pub fn new(options: &Options, connects: Connects) -> Self {
        Self {
            options: options.clone(),
            connects,
            seconds: 0.0,
            events: 0,
            load_share: 0.0,
            others_share: 0.0,
            server: None,
            upstreams: 0,
            tally: Tally::default(),
            broken: None,
        }
    }

    /// Deliveries a second while measuring.
    #[must_use]
    pub fn deliveries_per_second(&self) -> f64 {
        ratio(float(self.tally.total().measured), self.seconds)
    }

    /// True when the load was busier than the server.
    #[must_use]
    pub fn is_load_bound(&self) -> bool {
        let server = self.server.map(|server| server.cpu_seconds / self.seconds);
        self.load_share > LOAD_BUSY && server.is_none_or(|share| share < SERVER_BUSY)
    }

    /// What went wrong, each with its count; nothing when all is well.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<String, u64> {
        let total = self.tally.total();
        let counts = [
            ("lost", total.lost),
            ("doubled", total.doubled),
            ("reordered", total.reordered),
            ("torn", total.torn),
            ("gap announced", total.gaps),
        ];
        let counts = counts
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count));
        let failures = total.failures.into_iter();
        let failures = failures.map(|(why, count)| (format!("connect failed: {why}"), count));
        let ends = total.ends.into_iter();
        let ends = ends.map(|(why, count)| (format!("stream ended: {why}"), count));
        let broken = self.broken.iter().map(|why| (why.to_string(), 1));
        counts
            .chain(failures)
            .chain(ends)
            .chain(broken)
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The outcome as JSON, one flat object of figures.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut figures = self.setup();
        figures.extend(self.connect_figures());
        if self.seconds > 0.0 {
            figures.extend(self.measured_figures());
        }
        figures.insert("faults".to_owned(), json!(self.faults()));
        Value::Object(figures)
    }

    fn setup(&self) -> Map<String, Value> {
        let Options {
            plan,
            pace,
            size,
            waiting,
            ..
        } = &self.options;
        let (window, rate) = match pace {
            Pace::Window(window) => (Some(window), None),
            Pace::Rate(rate) => (None, Some(rate)),
        };
        object([
            ("h1", json!(plan.h1)),
            ("h2", json!(plan.h2)),
            ("streams_per_connection", json!(plan.streams_per_connection)),
            ("window", json!(window)),
            ("rate", json!(rate)),
            ("event_bytes", json!(size)),
            ("spin", json!(*waiting == Waiting::Spin)),
        ])
    }

    fn connect_figures(&self) -> Map<String, Value> {
        let connects = &self.connects;
        let per_second = ratio(float(connects.subscribers), connects.seconds);
        let memory = self.server.or(connects.server);
        object([
            ("connected", json!(self.tally.total().connected)),
            ("connects_per_second", json!(per_second)),
            (
                "server_us_per_connect",
                json!(micros(connects.server, connects.subscribers)),
            ),
            (
                "server_us_per_connection",
                json!(micros(connects.server, connects.connections)),
            ),
            (
                "server_pss_bytes",
                json!(memory.map(|server| server.pss_bytes)),
            ),
            (
                "server_rss_bytes",
                json!(memory.map(|server| server.rss_bytes)),
            ),
        ])
    }

    fn measured_figures(&self) -> Map<String, Value> {
        let total = self.tally.total();
        let share = |server: Server| ratio(server.cpu_seconds, self.seconds);
        object([
            ("seconds", json!(self.seconds)),
            ("events", json!(self.events)),
            ("upstreams", json!(self.upstreams)),
            ("deliveries", json!(total.measured)),
            ("deliveries_per_second", json!(self.deliveries_per_second())),
            ("latency_p50_ms", json!(total.latency.percentile_ms(50.0))),
            ("latency_p99_ms", json!(total.latency.percentile_ms(99.0))),
            ("latency_p999_ms", json!(total.latency.percentile_ms(99.9))),
            ("load_share", json!(self.load_share)),
            ("others_share", json!(self.others_share)),
            ("load_bound", json!(self.is_load_bound())),
            ("server_share", json!(self.server.map(share))),
            (
                "server_us_per_delivery",
                json!(micros(self.server, total.measured)),
            ),
        ])
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// CPU of a server for each of `count`, in microseconds.
fn micros(server: Option<Server>, count: u64) -> Option<f64> {
    server.map(|server| ratio(server.cpu_seconds * 1e6, float(count)))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.tally.total();
        let connects = &self.connects;
        write!(
            f,
            "connected {} of {}, {:.0} subscribers/s",
            grouped(total.connected),
            grouped(total.wanted),
            ratio(float(connects.subscribers), connects.seconds)
        )?;
        if let Some(micros) = micros(connects.server, connects.subscribers) {
            write!(f, ", {micros:.1} us of the server's CPU each")?;
        }
        if self.seconds > 0.0 {
            write!(
                f,
                "\ndeliveries {:.0}/s ({} events, {:.1} s); p50 {:.2} ms, p99 {:.2} ms",
                self.deliveries_per_second(),
                grouped(self.events),
                self.seconds,
                total.latency.percentile_ms(50.0),
                total.latency.percentile_ms(99.0),
            )?;
            if let Some(server) = self.server {
                write!(
                    f,
                    "\nserver {:.0} % of a core, {:.3} us a delivery",
                    ratio(server.cpu_seconds, self.seconds) * 100.0,
                    ratio(server.cpu_seconds * 1e6, float(total.measured)),
                )?;
            }
            let bound = if self.is_load_bound() {
                ": the load was the limit"
            } else {
                ""
            };
            let (load, others) = (self.load_share * 100.0, self.others_share * 100.0);
            write!(
                f,
                "\nload {load:.0} % of a core{bound}; others {others:.0} %"
            )?;
        }
        for (fault, count) in self.faults() {
            write!(f, "\nFAIL {fault}: {}", grouped(count))?;
        }
        Ok(())
    }
}

fn ratio(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
