//! The YAML as users write it. Doc comments here are the help that editors show: meaning, unit,
//! default. Nothing is judged here beyond form; `check` does that.

mod cors;
mod fanout;
mod forms;
mod off;
mod watchdog;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    cors::Cors,
    fanout::{
        Backoff, Defaults, Event, Identity, RetryRange, Ring, Route, RouteAction, Slow, SlowPolicy,
    },
    forms::{AllOr, LateJoin, Mode, Named, Upstream},
    off::TimeOrOff,
    watchdog::Watchdog,
};
use super::{
    model::{AppHttp, ForwardedHeader, LogFormat},
    units::{Count, Size, Time},
};

/// Configuration of Sidestream, an SSE fan-out sidecar.
///
/// Values may hold `${NAME}` or `${NAME:-default}` from the environment; `$$` is a dollar sign. As in
/// a shell, the default also stands in for an empty variable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Sidestream", transform = forms::require_sections)]
pub struct File {
    /// Version of this format. Must be 1.
    #[schemars(schema_with = "forms::version_schema")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Count>,
    /// Sockets that clients connect to. At least one. Changing them needs a restart.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub listeners: Vec<Listener>,
    /// The proxies in front whose word about their clients is believed: addresses, networks
    /// (`10.0.0.0/8`), `loopback`, `private` (the networks that are not routed on the internet), or
    /// `unix` (whoever connects by a unix socket). Each must set what it says itself, and not pass
    /// on what a client made up. Default: none; the peer of a connection is the client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Where trusted proxies say for whom they ask: `x-forwarded-for` (the default), with
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`; or `forwarded` (RFC 7239). The other one is not
    /// looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_header: Option<ForwardedHeader>,
    /// The apps behind Sidestream, by name: an address (`http://127.0.0.1:3000`, `https://host`,
    /// `unix:/path`), or a mapping with an address and settings. At least one.
    #[serde(default)]
    pub upstreams: Named<Upstream>,
    /// Settings of all fan-out and stream routes that do not say otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub defaults: Defaults,
    /// A secret of 16 characters or more, the same for all pods (`${SIDESTREAM_IDS_KEY}`). With it,
    /// ids prove that one of them gave them: under `resume: true` only such an id may say where an
    /// app goes on for clients that share a channel without an identity. Default: none; no id may.
    #[schemars(length(min = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids_key: Option<String>,
    /// What happens to which requests. The most specific path wins, whatever the order. At least
    /// one.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
    /// Process-wide bounds.
    #[serde(default)]
    pub limits: Limits,
    /// How Sidestream leaves on SIGTERM: at the latest five seconds after `window` and `margin`.
    #[serde(default)]
    pub drain: Drain,
    /// The admin service: health, metrics, channels.
    #[serde(default)]
    pub admin: Admin,
    /// Logging.
    #[serde(default)]
    pub log: Log,
    /// Worker threads. Default: the CPUs that this process may use. Changing it needs a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<Count>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A socket that clients connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Name in logs and metrics, unique. Default: the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `0.0.0.0:8080`, `[::]:8080`, or `unix:/path/to.sock`. Port 0 lets the kernel choose.
    pub address: String,
    /// Permission bits of a unix socket, octal, in quotes. Default `"0660"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// TLS, with HTTP/2 and HTTP/1.1 by ALPN. Default: plain text (HTTP/1.1, and HTTP/2 by prior
    /// knowledge).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Every connection begins with a header of the PROXY protocol (version 1 or 2), before TLS, in
    /// which one of `trusted_proxies` names its client. Others are closed. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<bool>,
}

/// Certificate and key of a TLS listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// File with the certificate chain in PEM, the server's own certificate first.
    pub certificate: String,
    /// File with the private key in PEM.
    pub key: String,
}

/// An app and how to talk to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSettings {
    /// `http://127.0.0.1:3000`, `https://app.example.com`, or `unix:/path/to.sock`.
    pub address: String,
    /// TLS towards the app; with an `https://` or `unix:` address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Which HTTP the app is spoken to in: `1` (HTTP/1.1, the default), `2` (HTTP/2, without TLS by
    /// prior knowledge), or `auto` (with TLS: what the app picks by ALPN).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<AppHttp>,
    /// The `Host` header that the app sees: `preserve` (the client's own, the default) or a fixed
    /// name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Limit on connecting, TLS handshake included. Default 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Time>,
    /// Longest silence of the app within a response that is no event stream, and longest wait for
    /// its response head when an event stream is opened again. Default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<Time>,
    /// Longest time that the app may refuse to take bytes of a request that is passed through.
    /// Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_timeout: Option<Time>,
    /// How long an unused pass-through connection is kept. Default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Time>,
    /// Connections to the app in use at once (by HTTP/2 streams): one for each live channel and each
    /// request that is passed through. Beyond, channels wait and requests get 503. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<Count>,
    /// Event streams that may be asked for at once; others wait in line. After failures there are
    /// fewer, and more again as the app answers. An app that is silent for `connect_timeout` after
    /// it was asked makes room for the next. Default 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<Count>,
}

/// TLS towards an app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// Name sent as SNI and checked in the app's certificate. Default: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// File with the authorities to trust, in PEM. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// `false` accepts any certificate; for tests only. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

/// Process-wide bounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Subscribers in total. Default: as many as the file descriptors allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers_max: Option<Count>,
    /// Client connections in total. Default: as many as the file descriptors allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<Count>,
    /// What the clients of one address may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_address: Option<PerAddress>,
    /// Client connections that are taken in a second, after a burst of as many; others wait in the
    /// queue of the listening socket. Clients that are turned away are told to come back so that
    /// together they stay below it. Default: all are taken; and 1000 for what clients are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connects_per_second: Option<Count>,
    /// Live channels. Default 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels_max: Option<Count>,
    /// Streams that one HTTP/2 client may have open at once. Default 1000; Chromium alone opens up
    /// to 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_per_connection_max: Option<Count>,
    /// Memory of all replay rings together. Default: a quarter of the container's memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_bytes_max: Option<Size>,
    /// Memory of the process and of its sockets beyond which new subscribers are turned away; those
    /// who are there stay. Default: 90 % of the container's memory limit, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Size>,
    /// Size of a request head. Default 32KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_bytes_max: Option<Size>,
    /// Header fields of a request. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_fields_max: Option<Count>,
    /// Time for a whole request head, from its first byte. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_timeout: Option<Time>,
    /// Time for a TLS handshake. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<Time>,
    /// How long a client connection may idle between requests. Default 75s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_timeout: Option<Time>,
    /// Longest silence of a client within a request body. Default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_timeout: Option<Time>,
    /// Least average rate of a request body, once it took longer than `body_timeout`; 0 for any.
    /// Default 240B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes_per_second_min: Option<Size>,
    /// How long a client may take nothing of what is sent to it, and how soon one that vanished is
    /// found out. Default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_timeout: Option<Time>,
    /// Frames that ask for nothing (RST_STREAM, PING, SETTINGS, PRIORITY) which an HTTP/2 client may
    /// send, on average over ten seconds. Default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_frames_per_second_max: Option<Count>,
    /// Kernel send buffer of a client socket. Default 64KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_send_buffer_bytes: Option<Size>,
}

/// What the clients of one address may take. The address is the peer's, or the one that a trusted
/// proxy names: without `trusted_proxies`, everybody behind an ingress counts as one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerAddress {
    /// Subscribers. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers_max: Option<Count>,
    /// Connections; those of trusted proxies do not count. Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<Count>,
    /// IPv6 addresses with so many leading bits in common count as one. Default 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<Count>,
}

/// How Sidestream leaves on SIGTERM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Subscribers are closed evenly over this time. Default 20s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Time>,
    /// What is left after the window is cut after this further time. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Time>,
    /// The listeners stay open for this long at least, even if nobody is connected: load balancers
    /// send clients for some seconds after readiness fails. Default 5s, or the window if that is
    /// shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_min: Option<Time>,
}

/// The admin service: `/livez`, `/readyz`, `/metrics`, `/channels`, `/config`, and `POST /drain`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// A loopback address or `unix:/path`. Default `127.0.0.1:9901`. Changing it needs a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Permission bits of a unix socket, octal, in quotes. Default `"0660"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// An address on which there is `/metrics` and nothing else, for those who scrape from outside.
    /// Default: none. Changing it needs a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<String>,
}

/// Logging, to standard error. Changing it needs a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as
    /// `info,sidestream::channel=debug`. Default `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Form of the lines. Default `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
}
