//! Every metric of Sidestream: names, help texts and handles. `docs/metrics.md` lists them, and a
//! test compares the two.
//!
//! Labels are bounded by the configuration (`route`, `upstream`) or by a closed set; there is never
//! one for a channel, a user or an address. There is no global registry: the one [`Metrics`] is passed on.

pub mod cell;
pub mod drain;
pub mod labels;
pub mod listener;
pub mod memory;
mod sharing;
pub mod upstream;

use std::{collections::BTreeMap, sync::Arc, sync::atomic::AtomicU64, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Metric, Registry},
};

use self::{
    cell::{By, Count, Level, Timing},
    drain::DrainMetrics,
    labels::{
        CutReason, HandshakeFailure, Label, PanicPlace, ParseError, Protocol, ReloadOutcome,
        ReplayOutcome, StatusClass,
    },
    listener::{ListenerFamilies, ListenerMetrics},
    memory::MemoryMetrics,
    sharing::{SharingFamilies, SharingMetrics},
    upstream::{UpstreamFamilies, UpstreamMetrics},
};
use crate::error::{ConnectOutcome, EndReason, GapReason, RefuseReason};

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Distinct names of routes, and of upstreams, that get series of their own in the life of one
/// process; reloads may bring new names for ever. Further ones share the series [`NAME_OTHER`].
pub const NAMES_MAX: usize = 1_000;

/// Label of the names beyond [`NAMES_MAX`].
pub const NAME_OTHER: &str = "_other";

type Labels = Vec<(&'static str, String)>;
type CountFamily = Family<Labels, Counter>;
type LevelFamily = Family<Labels, Gauge>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: RouteFamilies,
    routes: Mutex<BTreeMap<String, Arc<RouteMetrics>>>,
    upstream_families: UpstreamFamilies,
    upstreams: Mutex<BTreeMap<String, Arc<UpstreamMetrics>>>,
    listener_families: ListenerFamilies,

    /// Client connections now.
    pub connections: By<Protocol, Level>,
    /// The cap on client connections in force.
    pub connections_max: Level,
    /// The cap on subscribers in force.
    pub subscribers_max: Level,
    /// The cap on channels in force.
    pub channels_max: Level,
    /// Addresses that are remembered for the caps of `limits.per_address`.
    pub counted_addresses: Level,
    /// Connections that waited for their turn under `limits.connects_per_second`.
    pub delayed_connects: Count,
    /// Bytes of all replay rings now, as accounted.
    pub ring_bytes: Level,
    /// The budget of all replay rings.
    pub ring_bytes_max: Level,
    /// Memory of the process and of its sockets.
    pub memory: MemoryMetrics,
    /// Clients that wait for the head of a channel that is being opened.
    pub waiting_joiners: Level,
    /// Subscribers that have not yet taken everything.
    pub behind_subscribers: Level,
    /// How far a drain is.
    pub drain: DrainMetrics,
    /// Requests refused, subscribers turned away.
    pub refused: By<RefuseReason, Count>,
    /// Those of them that got the answer which makes them come back later.
    pub shed: Count,
    /// Events written to subscribers, each subscriber counted.
    pub events_delivered: Count,
    /// Bytes written to subscribers, framing included.
    pub bytes_delivered: Count,
    /// Heartbeats written.
    pub heartbeats: Count,
    /// Failed accepts (most often: out of descriptors).
    pub accept_errors: Count,
    /// Connections that ended before their first request.
    pub handshake_failures: By<HandshakeFailure, Count>,
    /// Request heads answered with 4xx or closed because they are malformed, too large or too slow.
    pub bad_heads: Count,
    /// Request bodies given up because their client sent too slowly.
    pub slow_bodies: Count,
    /// HTTP/2 connections ended with ENHANCE_YOUR_CALM.
    pub calmed_connections: Count,
    /// Panics contained.
    pub panics: By<PanicPlace, Count>,
    /// Changed configuration files seen.
    pub config_reloads: By<ReloadOutcome, Count>,
    /// 1 when the last seen configuration file is in force.
    pub config_last_reload_successful: Level,
    config_last_reload_success_timestamp_seconds: Gauge<f64, AtomicU64>,
    /// 1 when the file holds changes that need a restart.
    pub config_restart_needed: Level,
    /// File descriptors that this process may open.
    pub fd_max: Level,
    /// From an event's last byte read to its last level subscriber written.
    pub delivery_latency_seconds: Timing,
    /// From a fan-out request to its response head.
    pub subscribe_seconds: Timing,
    /// One sweep of one shard over its dirty channels.
    pub sweep_seconds: Timing,
}

/// The metrics of one route, resolved once so that hot paths never look a label up.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Subscribers now.
    pub subscribers: By<Protocol, Level>,
    /// Channels now, lingering ones included.
    pub channels: Level,
    /// Upstream connections now.
    pub upstream_connections: Level,
    /// Subscribers that got a stream.
    pub subscribers_started: By<Protocol, Count>,
    /// Subscribers whose stream ended.
    pub subscribers_ended: By<EndReason, Count>,
    /// Events received from the app.
    pub events_received: Count,
    /// Their bytes, as encoded.
    pub event_bytes_received: Count,
    /// Gaps announced.
    pub gaps: By<GapReason, Count>,
    /// Events that readers too far behind passed over, each reader counted.
    pub events_skipped: Count,
    /// Where joiners started.
    pub replays: By<ReplayOutcome, Count>,
    /// Tries to open an upstream.
    pub upstream_connects: By<ConnectOutcome, Count>,
    /// Streams opened where the app was told from which id to go on.
    pub upstream_resumes: Count,
    /// Upstream streams that ended otherwise than by the app's own end.
    pub upstream_cuts: By<CutReason, Count>,
    /// Events and fields left out by the parser.
    pub parse_errors: By<ParseError, Count>,
    /// On a `share: public` route: opened streams whose head says `Cache-Control: private` or varies
    /// by a header that is not in the key.
    pub private_responses_shared: Count,
    /// Pass-through requests answered.
    pub passthrough_requests: By<StatusClass, Count>,
    /// Who shares, and who may not.
    pub sharing: SharingMetrics,
}

/// What [`RouteMetrics`] are taken from.
#[derive(Debug)]
struct RouteFamilies {
    subscribers: LevelFamily,
    channels: LevelFamily,
    upstream_connections: LevelFamily,
    subscribers_started: CountFamily,
    subscribers_ended: CountFamily,
    events_received: CountFamily,
    event_bytes_received: CountFamily,
    gaps: CountFamily,
    events_skipped: CountFamily,
    replays: CountFamily,
    upstream_connects: CountFamily,
    upstream_resumes: CountFamily,
    upstream_cuts: CountFamily,
    parse_errors: CountFamily,
    private_responses_shared: CountFamily,
    passthrough_requests: CountFamily,
    sharing: SharingFamilies,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut r = Registrar(Registry::with_prefix("sidestream"));
        r.register(
            "build",
            "What runs; always 1",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let timestamp = Gauge::<f64, AtomicU64>::default();
        r.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded, in seconds since 1970",
            timestamp.clone(),
        );
        Self {
            families: RouteFamilies::new(&mut r),
            routes: Mutex::default(),
            upstream_families: UpstreamFamilies::new(&mut r),
            upstreams: Mutex::default(),
            listener_families: ListenerFamilies::new(&mut r),
            connections: r.level_by("connections", "Client connections now"),
            connections_max: r.level("connections_max", "Client connections at most"),
            subscribers_max: r.level("subscribers_max", "Subscribers at most"),
            channels_max: r.level("channels_max", "Channels at most"),
            counted_addresses: r.level(
                "counted_addresses",
                "Addresses remembered for the caps per address",
            ),
            delayed_connects: r.count(
                "delayed_connects",
                "Connections that waited for their turn under connects_per_second",
            ),
            ring_bytes: r.level("ring_bytes", "Bytes of all replay rings now, as accounted"),
            ring_bytes_max: r.level("ring_bytes_max", "Budget of all replay rings together"),
            memory: MemoryMetrics::new(&mut r),
            waiting_joiners: r.level(
                "waiting_joiners",
                "Clients that wait for the head of a channel that is being opened",
            ),
            behind_subscribers: r.level(
                "behind_subscribers",
                "Subscribers that have not yet taken everything",
            ),
            drain: DrainMetrics::new(&mut r),
            refused: r.count_by("refused", "Requests refused and subscribers turned away"),
            shed: r.count(
                "shed",
                "Clients turned away with an answer that makes them return later",
            ),
            events_delivered: r.count(
                "events_delivered",
                "Events written to subscribers, each one counted",
            ),
            bytes_delivered: r.count(
                "bytes_delivered",
                "Bytes written to subscribers, framing included",
            ),
            heartbeats: r.count("heartbeats", "Heartbeats written to subscribers"),
            accept_errors: r.count(
                "accept_errors",
                "Failed accepts, most often for want of descriptors",
            ),
            handshake_failures: r.count_by(
                "handshake_failures",
                "Connections that ended before their first request",
            ),
            bad_heads: r.count(
                "bad_heads",
                "Request heads refused as malformed, too large or too slow",
            ),
            slow_bodies: r.count(
                "slow_bodies",
                "Request bodies given up because their client sent too slowly",
            ),
            calmed_connections: r.count(
                "calmed_connections",
                "HTTP/2 connections ended for floods of resets, pings, settings or malformed requests",
            ),
            panics: r.count_by("panics", "Panics contained; each one is a bug"),
            config_reloads: r.count_by("config_reloads", "Changed configuration files seen"),
            config_last_reload_successful: r.level(
                "config_last_reload_successful",
                "1 when the last seen configuration file is in force",
            ),
            config_last_reload_success_timestamp_seconds: timestamp,
            config_restart_needed: r.level(
                "config_restart_needed",
                "1 when the file holds changes that need a restart",
            ),
            fd_max: r.level("fd_max", "File descriptors that the process may open"),
            delivery_latency_seconds: r.timing(
                "delivery_latency_seconds",
                "From an event's last byte read to the last socket of its sweep written",
            ),
            subscribe_seconds: r.timing(
                "subscribe_seconds",
                "From a fan-out request to its response head written",
            ),
            sweep_seconds: r.timing("sweep_seconds", "One sweep of one shard"),
            registry: r.0,
        }
    }

    /// The handles of a route; the same ones for the same name, also across reloads.
    #[must_use]
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        named(&self.routes, name, |name| self.families.resolve(name))
    }

    /// The handles of an upstream; the same ones for the same name, also across reloads.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        named(&self.upstreams, name, |name| {
            self.upstream_families.resolve(name)
        })
    }

    /// The handles of a listener. Their number is that of the listeners the process started with.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        Arc::new(self.listener_families.resolve(name))
    }

    /// Notes when the configuration in force was loaded, as time since 1970.
    pub fn set_config_loaded(&self, since_epoch: Duration) {
        self.config_last_reload_success_timestamp_seconds
            .set(since_epoch.as_secs_f64());
    }

    /// The OpenMetrics text exposition.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        let encoded = text::encode(&mut out, &self.registry);
        debug_assert!(encoded.is_ok(), "writing to a String does not fail");
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteFamilies {
    fn new(r: &mut Registrar) -> Self {
        Self {
            subscribers: r.family("subscribers", "Subscribers now"),
            channels: r.family("channels", "Channels now, lingering ones included"),
            upstream_connections: r.family("upstream_connections", "Upstream connections now"),
            subscribers_started: r.family("subscribers_started", "Subscribers that got a stream"),
            subscribers_ended: r.family("subscribers_ended", "Subscribers whose stream ended"),
            events_received: r.family("events_received", "Events received from the app"),
            event_bytes_received: r.family(
                "event_bytes_received",
                "Bytes of the events received, as encoded",
            ),
            gaps: r.family("gaps", "Gaps announced"),
            events_skipped: r.family(
                "events_skipped",
                "Events that slow readers passed over, each reader counted",
            ),
            replays: r.family("replays", "Where joiners started"),
            upstream_connects: r.family("upstream_connects", "Tries to open an upstream"),
            upstream_resumes: r.family(
                "upstream_resumes",
                "Streams opened with the id from which the app is to go on",
            ),
            upstream_cuts: r.family(
                "upstream_cuts",
                "Upstream streams that ended otherwise than by the app's own end",
            ),
            parse_errors: r.family("parse_errors", "Events and fields that broke a limit"),
            private_responses_shared: r.family(
                "private_responses_shared",
                "Streams shared by share: public although the app's head says private or varies",
            ),
            passthrough_requests: r
                .family("passthrough_requests", "Pass-through requests answered"),
            sharing: SharingFamilies::new(r),
        }
    }

    fn resolve(&self, route: &str) -> RouteMetrics {
        RouteMetrics {
            subscribers: levels(&self.subscribers, route),
            channels: Level(self.channels.get_or_create_owned(&labels_of(route))),
            upstream_connections: Level(
                self.upstream_connections
                    .get_or_create_owned(&labels_of(route)),
            ),
            subscribers_started: counts(&self.subscribers_started, route),
            subscribers_ended: counts(&self.subscribers_ended, route),
            events_received: Count(self.events_received.get_or_create_owned(&labels_of(route))),
            event_bytes_received: Count(
                self.event_bytes_received
                    .get_or_create_owned(&labels_of(route)),
            ),
            gaps: counts(&self.gaps, route),
            events_skipped: Count(self.events_skipped.get_or_create_owned(&labels_of(route))),
            replays: counts(&self.replays, route),
            upstream_connects: counts(&self.upstream_connects, route),
            upstream_resumes: Count(self.upstream_resumes.get_or_create_owned(&labels_of(route))),
            upstream_cuts: counts(&self.upstream_cuts, route),
            parse_errors: counts(&self.parse_errors, route),
            private_responses_shared: Count(
                self.private_responses_shared
                    .get_or_create_owned(&labels_of(route)),
            ),
            passthrough_requests: counts(&self.passthrough_requests, route),
            sharing: self.sharing.resolve(route),
        }
    }
}

/// The handles of `name`, or those of [`NAME_OTHER`] when there are too many names.
fn named<M>(
    known: &Mutex<BTreeMap<String, Arc<M>>>,
    name: &str,
    resolve: impl FnOnce(&str) -> M,
) -> Arc<M> {
    let mut known = known.lock();
    if let Some(handles) = known.get(name) {
        return Arc::clone(handles);
    }
    let name = if known.len() < NAMES_MAX {
        name
    } else {
        NAME_OTHER
    };
    let handles = known.entry(name.to_owned());
    Arc::clone(handles.or_insert_with(|| Arc::new(resolve(name))))
}

fn labels_of(route: &str) -> Labels {
    vec![("route", route.to_owned())]
}

fn with<L: Label>(mut labels: Labels, label: L) -> Labels {
    labels.push((L::KEY, label.as_label().to_owned()));
    labels
}

fn counts<L: Label>(family: &CountFamily, route: &str) -> By<L, Count> {
    By::new(|label| Count(family.get_or_create_owned(&with(labels_of(route), label))))
}

fn levels<L: Label>(family: &LevelFamily, route: &str) -> By<L, Level> {
    By::new(|label| Level(family.get_or_create_owned(&with(labels_of(route), label))))
}

/// Registers metrics and hands out their cells.
struct Registrar(Registry);

impl Registrar {
    fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    fn family<M: Default + Clone>(&mut self, name: &str, help: &str) -> Family<Labels, M>
    where
        Family<Labels, M>: Metric,
    {
        let family = Family::default();
        self.register(name, help, family.clone());
        family
    }

    fn count(&mut self, name: &str, help: &str) -> Count {
        let count = Count::default();
        self.register(name, help, count.0.clone());
        count
    }

    fn level(&mut self, name: &str, help: &str) -> Level {
        let level = Level::default();
        self.register(name, help, level.0.clone());
        level
    }

    /// 100 us to 13 s, each bucket twice the one before.
    fn timing(&mut self, name: &str, help: &str) -> Timing {
        let timing = Timing(Histogram::new(exponential_buckets(0.000_1, 2.0, 18)));
        self.register(name, help, timing.0.clone());
        timing
    }

    fn count_by<L: Label>(&mut self, name: &str, help: &str) -> By<L, Count> {
        let family: CountFamily = self.family(name, help);
        By::new(|label| Count(family.get_or_create_owned(&with(Labels::new(), label))))
    }

    fn level_by<L: Label>(&mut self, name: &str, help: &str) -> By<L, Level> {
        let family: LevelFamily = self.family(name, help);
        By::new(|label| Level(family.get_or_create_owned(&with(Labels::new(), label))))
    }
}

#[cfg(test)]
mod tests;
