//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    app::{self, IdStyle},
    bench, compare,
    failure::{Failure, Result},
    fanout, floor, memory,
    plan::Plan,
    proc, ratios, scenario,
    target::{Header, Target},
    tune,
    wire::scanner::Expect,
};

/// Connections from one loopback address to one server address before another one is used.
const CONNECTIONS_PER_SOURCE: u64 = 20_000;

/// SSE load client: correctness first, then latency.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect subscribers to a URL, check every event and measure delivery latency.
    Fanout(Fanout),
    /// Measure what one idle subscriber costs the server: the PSS slope between two sizes.
    Memory(Memory),
    /// Measure how fast a server fans out, in a closed loop or at a rate; publisher and subscribers in
    /// one thread.
    Bench(bench::args::Bench),
    /// Be the least that a server can be: a bare loop of `send(2)`, to hold others against.
    Floor(floor::Options),
    /// Make a table of the results of `loadtest/peers/run.sh`.
    Ratios(ratios::Args),
    /// Run a scenario from a YAML file, and leave a report.
    Scenario(scenario::command::Command),
    /// Compare two records of a scenario; exit code 1 when a figure got worse.
    Compare(compare::Command),
    /// Find the caps for a budget of CPU and memory, and write them as configuration.
    Tune(tune::command::Command),
    /// Be the publisher: an SSE app whose events are numbered and time-stamped.
    App(App),
    /// A client process of a run in several processes; started by `fanout` and `memory`.
    #[command(hide = true)]
    Worker,
}

/// How subscribers connect.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// Where to connect, for instance <http://127.0.0.1:8080/events>.
    pub url: Target,
    /// Another URL for HTTP/2 subscribers (for instance the https listener).
    #[arg(long)]
    pub h2_url: Option<Target>,
    /// Request header, `name: value`; may be given several times.
    #[arg(long = "header")]
    pub headers: Vec<Header>,
    /// Use TLS whatever the URL's scheme says.
    #[arg(long)]
    pub tls: bool,
    /// Accept any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// Streams per HTTP/2 connection.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub streams_per_connection: u32,
    /// HTTP/2 connections, instead of a number of streams on each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub h2_connections: Option<u32>,
    /// Subscribers dialled per second.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub ramp: u32,
    /// Connects under way at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,
    /// Limit on a connect, response head included, in seconds.
    #[arg(long, default_value_t = 15)]
    pub connect_timeout: u64,
    /// Loopback addresses to connect from [default: one per 20,000 connections].
    #[arg(long)]
    pub source_addresses: Option<u8>,
    /// Receive buffer of each connection, in bytes [default: the kernel's choice].
    #[arg(long)]
    pub receive_buffer: Option<u32>,
    /// Client threads per process [default: the CPUs].
    #[arg(long)]
    pub threads: Option<u32>,
    /// Client processes [default: as many as the descriptor limit asks for].
    #[arg(long)]
    pub processes: Option<u32>,
}

/// `fanout`.
#[derive(Debug, Args)]
pub struct Fanout {
    /// Where and how.
    #[command(flatten)]
    pub connect: Connect,
    /// HTTP/1.1 subscribers.
    #[arg(long, default_value_t = 0)]
    pub h1: u32,
    /// HTTP/2 subscribers (streams).
    #[arg(long, default_value_t = 0)]
    pub h2: u32,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 10)]
    pub duration: u64,
    /// How long subscribers may take to reach the last event, in seconds.
    #[arg(long, default_value_t = 10)]
    pub grace: u64,
    /// What events are held against.
    #[arg(long, value_enum, default_value_t = Expect::Payload)]
    pub expect: Expect,
    /// `/stats` of the publisher, for instance <http://127.0.0.1:3005/stats>.
    #[arg(long)]
    pub stats: Option<Target>,
    /// How many connections the publisher must have seen (needs --stats).
    #[arg(long, requires = "stats")]
    pub upstream_connections: Option<u64>,
    /// Announced gaps that pass, all subscribers together: one cut costs each of them one.
    #[arg(long, default_value_t = 0)]
    pub gaps_max: u64,
    /// Process whose memory and CPU are reported.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Write the report as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// No progress lines.
    #[arg(long, short)]
    pub quiet: bool,
}

/// HTTP version of `memory`'s subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// HTTP/1.1, a connection each.
    H1,
    /// HTTP/2, `--streams-per-connection` on each connection.
    H2,
}

/// `memory`.
#[derive(Debug, Args)]
pub struct Memory {
    /// Where and how.
    #[command(flatten)]
    pub connect: Connect,
    /// Process of the server; it should be fresh.
    #[arg(long)]
    pub server_pid: u32,
    /// HTTP version of the subscribers.
    #[arg(long, value_enum, default_value_t = Version::H1)]
    pub protocol: Version,
    /// Subscribers of the first reading.
    #[arg(long, default_value_t = 1_000)]
    pub small: u32,
    /// Subscribers of the second reading.
    #[arg(long, default_value_t = 5_000)]
    pub large: u32,
    /// Most bytes per subscriber that pass.
    #[arg(long)]
    pub bytes_max: Option<u64>,
    /// Write the readings as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// `app`.
#[derive(Debug, Args)]
pub struct App {
    /// Where to listen; port 0 lets the kernel choose.
    #[arg(long, default_value = "127.0.0.1:3005")]
    pub listen: SocketAddr,
    /// Events per second; 0 publishes only on `POST /burst?n=`.
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 200)]
    pub size: usize,
    /// What stands in `id:`.
    #[arg(long, value_enum, default_value_t = IdStyle::PerConnection)]
    pub ids: IdStyle,
    /// Number events from behind this one on, in the place of a publisher that is gone.
    #[arg(long, default_value_t = 0)]
    pub after: u64,
}

impl Connect {
    /// The plan for so many subscribers.
    ///
    /// # Errors
    /// When there is nobody to connect.
    pub fn plan(&self, h1: u32, h2: u32) -> Result<Plan> {
        if h1 == 0 && h2 == 0 {
            return Err(Failure::new("no subscribers: give --h1 or --h2 a number"));
        }
        let with_tls = |target: &Target| Target {
            tls: target.tls || self.tls,
            ..target.clone()
        };
        let streams = match self.h2_connections {
            Some(connections) => h2.div_ceil(connections).max(1),
            None => self.streams_per_connection,
        };
        let connections = u64::from(h1) + u64::from(h2.div_ceil(streams));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sources = connections.div_ceil(CONNECTIONS_PER_SOURCE).min(250);
        let processes = connections.div_ceil(proc::connections_max());
        Ok(Plan {
            h2_target: with_tls(self.h2_url.as_ref().unwrap_or(&self.url)),
            headers: self.headers.clone(),
            h1,
            h2,
            streams_per_connection: streams,
            connects_per_second: self.ramp,
            connects_in_flight_max: self.in_flight,
            connect_timeout: Duration::from_secs(self.connect_timeout),
            source_addresses: self
                .source_addresses
                .unwrap_or(u8::try_from(sources).unwrap_or(1)),
            receive_buffer_bytes: self.receive_buffer,
            insecure: self.insecure,
            threads: self.threads.unwrap_or(u32::try_from(cores).unwrap_or(1)),
            processes: self
                .processes
                .unwrap_or(u32::try_from(processes).unwrap_or(1)),
            ..Plan::new(with_tls(&self.url))
        })
    }
}

impl Fanout {
    /// What `fanout` is to run.
    ///
    /// # Errors
    /// When there is nobody to connect.
    pub fn options(&self) -> Result<fanout::Options> {
        let plan = Plan {
            expect: self.expect,
            ..self.connect.plan(self.h1, self.h2)?
        };
        Ok(fanout::Options {
            plan,
            duration: Duration::from_secs(self.duration),
            grace: Duration::from_secs(self.grace),
            stats: self.stats.clone(),
            upstream_connections: self.upstream_connections,
            gaps_max: self.gaps_max,
            server_pid: self.server_pid,
        })
    }
}

impl Memory {
    /// What `memory` is to run.
    ///
    /// # Errors
    /// When the second size is not above the first.
    pub fn options(&self) -> Result<memory::Options> {
        let more = self.large.saturating_sub(self.small);
        if self.small == 0 || more == 0 {
            return Err(Failure::new(
                "--large must be above --small, and --small above 0",
            ));
        }
        let plan = |count: u32| -> Result<Plan> {
            let (h1, h2) = match self.protocol {
                Version::H1 => (count, 0),
                Version::H2 => (0, count),
            };
            Ok(Plan {
                expect: Expect::Any,
                ..self.connect.plan(h1, h2)?
            })
        };
        Ok(memory::Options {
            small: plan(self.small)?,
            more: plan(more)?,
            server_pid: self.server_pid,
        })
    }
}

impl App {
    /// How the publisher is to behave.
    ///
    /// # Errors
    /// When the rate is no rate.
    pub fn options(&self) -> Result<app::Options> {
        if !(0.0..=1_000_000.0).contains(&self.rate) {
            return Err(Failure::new(
                "--rate must be between 0 and 1,000,000 events per second",
            ));
        }
        let Self {
            listen,
            rate,
            size,
            ids,
            after: _,
        } = *self;
        Ok(app::Options {
            listen,
            events_per_second: rate,
            size,
            ids,
        })
    }
}
