//! Checked values for tests, with the shipped defaults.

use std::{sync::Arc, time::Duration};

use super::model::{
    Action, Backoff, CookieIdentity, EventLimits, Fanout, GapNotice, Identity, Ids, LateJoin,
    OnEnd, QuerySelection, RetryRange, RingLimits, Route, RouteMatch, Share, SlowReader, Stream,
    Upstream, UpstreamAddress, UpstreamHost,
};

/// A fan-out route's settings.
#[must_use]
pub fn fanout() -> Fanout {
    Fanout {
        share: Share::Credentials,
        identity: Identity {
            headers: crate::route::key::SESSION_HEADERS.to_vec(),
            cookies: CookieIdentity::All,
        },
        query: QuerySelection::All,
        last_event_id_query: "last_event_id".to_owned(),
        ids: Ids::Local,
        late_join: LateJoin::Live,
        gap_notice: GapNotice::Auto,
        ring: RingLimits {
            events_max: 1024,
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(600),
        },
        event: EventLimits {
            bytes_max: 256 << 10,
            fields_max: 4096,
            id_bytes_max: 256,
        },
        open_wait: Duration::from_secs(10),
        head_wait: Duration::from_secs(5),
        on_end: OnEnd::Pass,
        backoff: Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(10),
        },
        upstream_silence_max: None,
        linger: Duration::from_secs(5),
        retry: RetryRange {
            min: Duration::from_secs(1),
            max: Duration::from_secs(5),
        },
        heartbeat: Duration::from_secs(15),
        slow: SlowReader {
            events_max: 1024,
            bytes_max: 1 << 20,
            stall_max: Duration::from_secs(10),
        },
        channel_subscribers_max: usize::MAX,
        response_headers: Vec::new(),
    }
}

/// A stream route's settings.
#[must_use]
pub fn stream() -> Stream {
    let fanout = fanout();
    Stream {
        heartbeat: fanout.heartbeat,
        stall_max: fanout.slow.stall_max,
        upstream_silence_max: None,
        retry: fanout.retry,
    }
}

/// An upstream on loopback.
#[must_use]
pub fn upstream(port: u16) -> Arc<Upstream> {
    Arc::new(Upstream {
        name: "app".to_owned(),
        address: UpstreamAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        },
        tls: None,
        host: UpstreamHost::Preserve,
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(60),
        write_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(60),
    })
}

/// A route on `path`.
#[must_use]
pub fn route(name: &str, path: &str, action: Action) -> Arc<Route> {
    Arc::new(Route {
        name: name.to_owned(),
        matches: RouteMatch {
            host: None,
            path: path.to_owned(),
            methods: Vec::new(),
        },
        upstream: upstream(1),
        action,
    })
}
