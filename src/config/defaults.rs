//! The program's own defaults. `conf/full.yaml` shows each; a test holds the two together.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

pub(super) const LISTENER_MODE: u32 = 0o660;
/// Where the admin service listens unless the configuration says otherwise.
pub const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
pub(super) const LOG_FILTER: &str = "info";

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const UPSTREAM_CONNECTIONS_MAX: usize = 1_024;
pub(super) const UPSTREAM_ATTEMPTS_MAX: usize = 32;

pub(super) const IDENTITY_HEADERS: [&str; 2] = ["authorization", "mcp-session-id"];
pub(super) const LAST_EVENT_ID_QUERY: &str = "last_event_id";
pub(super) const RING_EVENTS_MAX: usize = 1_024;
pub(super) const RING_BYTES_MAX: usize = 1 << 20;
pub(super) const RING_AGE_MAX: Duration = Duration::from_secs(600);
pub(super) const EVENT_BYTES_MAX: usize = 256 << 10;
pub(super) const EVENT_FIELDS_MAX: usize = 4_096;
pub(super) const EVENT_ID_BYTES_MAX: usize = 256;
pub(super) const RESUME_WAIT: Duration = Duration::from_secs(2);
pub(super) const OPEN_WAIT: Duration = Duration::from_secs(10);
pub(super) const HEAD_WAIT: Duration = Duration::from_secs(5);
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(100);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(10);
pub(super) const LINGER_PUBLIC: Duration = Duration::from_secs(30);
pub(super) const LINGER_CREDENTIALS: Duration = Duration::from_secs(5);
pub(super) const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Beside the identity headers: what libraries for event streams set.
pub(super) const CORS_HEADERS: [&str; 2] = ["cache-control", "last-event-id"];
pub(super) const REAUTH: Duration = Duration::from_secs(60);
pub(super) const LINGER_FINAL: Duration = Duration::from_secs(60);
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(5);
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
pub(super) const STALL_MAX: Duration = Duration::from_secs(10);

pub(super) const IPV6_PREFIX: usize = 64;
pub(super) const CHANNELS_MAX: usize = 10_000;
pub(super) const STREAMS_PER_CONNECTION_MAX: u32 = 1_000;
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
pub(super) const HEAD_FIELDS_MAX: usize = 100;
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const BODY_BYTES_PER_SECOND_MIN: usize = 240;
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const CONTROL_FRAMES_PER_SECOND_MAX: usize = 200;
pub(super) const TCP_SEND_BUFFER_BYTES: usize = 64 << 10;

pub(super) const DRAIN_WINDOW: Duration = Duration::from_secs(20);
pub(super) const DRAIN_MARGIN: Duration = Duration::from_secs(5);
/// At most the window: who wants to be gone sooner says so there. Endpoint lists of a cluster take
/// a second or two to reach every node; this leaves room for a slow one.
pub(super) const DRAIN_LISTEN_MIN: Duration = Duration::from_secs(5);
