//! The checked configuration: what the rest of Sidestream reads.
//!
//! Values of these types exist only after `check` accepted the file. Nothing re-validates them, and
//! states that make no sense cannot be written down here.

mod app_http;
mod clients;
mod cors;
mod key_by;
mod listener;
mod secret;
mod slow;
mod stream;
mod upstream;
mod watchdog;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    app_http::AppHttp,
    clients::{ForwardedHeader, PerAddress, TrustedProxies},
    cors::{Cors, OriginPattern, Origins},
    key_by::{JsonPointer, KeyBy},
    listener::{ListenAddress, Listener, ListenerTls},
    secret::Secret,
    slow::{SlowPolicy, SlowReader},
    stream::Stream,
    upstream::{Upstream, UpstreamAddress, UpstreamHost, UpstreamTls},
    watchdog::Watchdog,
};
use crate::route::table::Table;
pub use crate::route::table::{HostPattern, RouteMatch};

/// One whole, valid configuration. A reload replaces it as a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Sockets that clients connect to, in file order. Changing them needs a restart.
    pub listeners: Vec<Listener>,
    /// The proxies in front of us whose word about their clients is believed.
    pub trusted_proxies: TrustedProxies,
    /// The apps behind us, by unique name, in file order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Routes in file order.
    pub routes: Vec<Arc<Route>>,
    /// Seals ids that carry the app's, for all processes that have it. Default: none.
    pub ids_key: Option<Secret>,
    /// Decides which of `routes` a request takes.
    pub table: Table<Arc<Route>>,
    /// Process-wide bounds.
    pub limits: Limits,
    /// How we leave on SIGTERM.
    pub drain: Drain,
    /// The admin service.
    pub admin: Admin,
    /// Logging.
    pub log: Log,
    /// Worker threads; each owns its connections and one shard. Default: the CPUs this process may
    /// use (cgroup-aware). Changing it needs a restart.
    pub threads: usize,
}

/// A match and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique name, the label in metrics.
    pub name: String,
    /// Which requests it takes.
    pub matches: RouteMatch,
    /// The app behind it.
    pub upstream: Arc<Upstream>,
    /// What happens.
    pub action: Action,
}

/// What a route does with its requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// GET requests share one upstream SSE connection per channel; other methods pass through.
    Fanout(Arc<Fanout>),
    /// One upstream connection per client, answered as it comes.
    Stream(Arc<Stream>),
    /// An ordinary reverse proxy.
    Proxy,
}

/// Settings of a fan-out route; defaults come from `defaults:` and then from the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Fanout {
    /// Who shares a channel.
    pub share: Share,
    /// What counts as identity under `share: credentials`; empty under `share: public`.
    pub identity: Identity,
    /// Which part of the query is keyed and sent.
    pub query: QuerySelection,
    /// Query parameter that may carry the last event id on a first connect; never keyed, never sent.
    /// Default `last_event_id`.
    pub last_event_id_query: String,
    /// Whose ids clients see.
    pub ids: Ids,
    /// The app resumes by its own ids: it is told the last one when it is connected to anew.
    /// Default: no.
    pub resume: bool,
    /// How long a client whose id is not known yet waits for it to pass. Default 2 s.
    pub resume_wait: Duration,
    /// Where a joiner without a last event id starts.
    pub late_join: LateJoin,
    /// How a gap is told.
    pub gap_notice: GapNotice,
    /// Bounds of the replay ring.
    pub ring: RingLimits,
    /// Bounds of one event from the app.
    pub event: EventLimits,
    /// How long a cold channel tries to reach the app before joiners are shed. Default 10 s.
    pub open_wait: Duration,
    /// How long joiners wait for the app's response head before they get ours. Default 5 s.
    pub head_wait: Duration,
    /// What the app's own end of a stream means.
    pub on_end: OnEnd,
    /// Bounds of the full-jitter backoff. Default 100 ms to 10 s.
    pub backoff: Backoff,
    /// When a silent app counts as frozen, and its connection as cut. Default: auto.
    pub watchdog: Watchdog,
    /// How long the upstream is kept after the last subscriber left.
    /// Default 30 s; 5 s under `share: credentials`; 60 s under `on_end: final`, where it is longer
    /// than any reconnect time.
    pub linger: Duration,
    /// Under `share: public`: an app's answer that is marked as one client's own is not shared with
    /// further clients. Default false.
    pub strict: bool,
    /// Which pages of other origins may read. `None`: the app says so, and `Origin` is keyed.
    pub cors: Option<Cors>,
    /// For how long the app's last 200 to a channel's credentials lets joiners in. `None`: for ever,
    /// and always under `share: public`. Default 60 s.
    pub reauth: Option<Duration>,
    /// Range of the reconnect time told to clients, uniform per client. Default 1 s to 5 s.
    pub retry: RetryRange,
    /// A comment line goes to subscribers without a write for this long. Default 15 s, +-10 %.
    pub heartbeat: Duration,
    /// Events wait for so long for others to be written with them. Default 0 s.
    pub batch_delay: Duration,
    /// When a reader is too slow, and what then.
    pub slow: SlowReader,
    /// Age at which a stream is closed at the latest, so that clients spread over pods anew; each
    /// one at 80 to 100 % of it. Default: none.
    pub connection_age_max: Option<Duration>,
    /// Subscribers of the whole route at most. Default: `limits.subscribers_max`.
    pub route_subscribers_max: usize,
    /// Subscribers of one channel at most. Default: `limits.subscribers_max`.
    pub channel_subscribers_max: usize,
    /// Names of response headers of the app's head that go to every subscriber, beyond the built-in list.
    pub response_headers: Vec<HeaderName>,
}

impl Fanout {
    /// The stream is one answer, not a feed.
    #[must_use]
    pub fn is_one_answer(&self) -> bool {
        self.on_end == OnEnd::Final
    }
}

/// Who shares a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Only clients with the same credentials (default).
    Credentials,
    /// Everyone; no credential is sent to the app.
    Public,
}

/// What makes up a client's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Header names, keyed and sent. Default: `authorization`, `mcp-session-id` (and `cookie` by `cookies`).
    pub headers: Vec<HeaderName>,
    /// Cookies, keyed and sent.
    pub cookies: CookieIdentity,
}

/// Which cookies belong to the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CookieIdentity {
    /// The whole `Cookie` header (default).
    All,
    /// Only these names; an empty list sends no cookie.
    Named(Vec<String>),
}

/// Which part of the query belongs to the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuerySelection {
    /// The raw query, byte for byte, less the last-event-id parameter (default).
    All,
    /// Only these parameters, in the order of the request.
    Only(Vec<String>),
}

/// Whose ids clients see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// Ours, `epoch-sequence` (default): right for every app.
    Local,
    /// The app's, unchanged: the operator promises that the app never reuses one.
    Unique,
}

/// Where a joiner without a last event id starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateJoin {
    /// At the next event (default).
    Live,
    /// At most this many of the last events first.
    Last(u32),
    /// Everything that the ring holds first.
    All,
    /// At the first event, with word of what the ring no longer holds: under [`OnEnd::Final`], and
    /// only there.
    Whole,
}

/// How a gap is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapNotice {
    /// `Event` to native EventSource, `Comment` to others (default).
    Auto,
    /// `event: sidestream-gap` with JSON.
    Event,
    /// A comment line.
    Comment,
    /// The stream is closed; the client comes back without a hole it does not know of.
    Close,
}

/// What an event costs in a ring beyond its bytes: its entry, what shares its bytes, and how much
/// larger than asked for an allocation may be.
pub const ENTRY_OVERHEAD: usize = 152;

/// What the app's id of an event costs beyond its bytes, where ids are looked up: the same, and its
/// place in the index.
pub const APP_ID_OVERHEAD: usize = 128;

/// Bounds of a replay ring; whichever is met first evicts the oldest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Default 1,024.
    pub events_max: usize,
    /// Default 1 MiB, accounted as payload + [`ENTRY_OVERHEAD`] an event.
    pub bytes_max: usize,
    /// Default 10 min.
    pub age_max: Duration,
}

/// Bounds of one event from the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// All bytes of one event, comments not counted. Default 256 KiB.
    pub bytes_max: usize,
    /// Fields of one event. Default 4,096.
    pub fields_max: usize,
    /// Bytes of an `id` value; a longer one is ignored like one with NUL. Default 256.
    pub id_bytes_max: usize,
}

/// What the app's own end of a stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnEnd {
    /// Subscribers get the same end (default).
    Pass,
    /// An endless feed: connect again, subscribers stay.
    Reconnect,
    /// The stream is one answer. It is given once, kept for the linger, and told from its start.
    Final,
}

/// Bounds of a full-jitter exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub min: Duration,
    /// Upper bound of every delay.
    pub max: Duration,
}

/// Range of a client's reconnect time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRange {
    /// Least.
    pub min: Duration,
    /// Most.
    pub max: Duration,
}

/// Process-wide bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Subscribers in total. `None`: as many as the descriptors allow.
    pub subscribers_max: Option<usize>,
    /// Client connections. `None`: as many as the descriptors allow.
    pub connections_max: Option<usize>,
    /// Bounds of what one address may take.
    pub per_address: PerAddress,
    /// Connections that are taken in a second; others wait in the queue of the kernel. `None`: all.
    pub connects_per_second: Option<u32>,
    /// Live channels. Default 10,000.
    pub channels_max: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS. Default 1,000; Chromium alone opens up to 256.
    pub streams_per_connection_max: u32,
    /// All rings together. `None`: 25 % of the cgroup's memory limit (or of the machine's memory).
    pub ring_bytes_max: Option<usize>,
    /// Memory of the process and of its sockets, beyond which no new subscribers come in. `None`: 90 %
    /// of the cgroup's memory limit, and without one no bound.
    pub memory_max: Option<usize>,
    /// Request head, request line included. Default 32 KiB.
    pub head_bytes_max: usize,
    /// Header fields of a request. Default 100.
    pub head_fields_max: usize,
    /// Time for a whole request head, from its first byte (on a new connection: from accept). Default 10 s.
    pub head_timeout: Duration,
    /// Time for a TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long an HTTP/1 connection may idle between requests, and an HTTP/2 one without streams. Default 75 s.
    pub keepalive_timeout: Duration,
    /// How long a client may send no byte of a request body, and what it is given before its average
    /// counts. Default 60 s.
    pub body_timeout: Duration,
    /// Least average rate of a request body; time in which the app takes nothing does not count.
    /// 0: any. Default 240 B/s.
    pub body_bytes_per_second_min: usize,
    /// How long a client may take no byte of what is sent to it, and how soon one that vanished is
    /// found out. Default 60 s.
    pub client_timeout: Duration,
    /// Frames that ask for nothing (RST_STREAM, PING, SETTINGS, PRIORITY) which an HTTP/2 client may
    /// send on average. Default 200.
    pub control_frames_per_second_max: u32,
    /// Kernel send buffer of a client socket, `SO_SNDBUF`. Default 64 KiB.
    pub tcp_send_buffer_bytes: usize,
}

/// How we leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Subscribers are closed evenly over this time. Default 20 s.
    pub window: Duration,
    /// What is left then is cut after this further time. Default 5 s.
    pub margin: Duration,
    /// The listeners stay open for this long at least, even if nobody is connected: load balancers
    /// send clients for a while after readiness fails. Default 5 s, at most `window`.
    pub listen_min: Duration,
}

/// The admin service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Default 127.0.0.1:9901. Must be loopback or a unix socket.
    pub address: ListenAddress,
    /// Where there is `/metrics` and nothing else, for those who scrape from outside. Default: nowhere.
    pub metrics_address: Option<SocketAddr>,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level or a `tracing` filter directive. Default `info`.
    pub filter: String,
    /// Form.
    pub format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// JSON unless standard error is a terminal (default).
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
