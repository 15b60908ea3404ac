//! A scripted app, a real front, and raw clients, all in one process.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod h2;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use sidestream::{
    config::model::{
        Action, Admin, Backoff, Config, CookieIdentity, Drain, EventLimits, Fanout, GapNotice,
        Identity, Ids, LateJoin, Limits, ListenAddress, Listener, ListenerTls, Log, LogFormat,
        OnEnd, QuerySelection, RetryRange, RingLimits, Route, RouteMatch, Share, SlowReader,
        Upstream, UpstreamAddress, UpstreamHost,
    },
    egress::shard::ShardHandle,
    front::{
        self, Running, Seed, Shared,
        listen::{Address, Listeners},
    },
    metrics::Metrics,
    subscribe::Hub,
};
use tokio::sync::watch;

/// No condition in a test takes this long, not even on a crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails the test when `work` takes too long.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// A front and all that it needs.
pub(crate) struct Rig {
    running: Option<Running>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

impl Rig {
    /// A front with a plain, a TLS and a unix listener before one upstream. Paths below `/fan/` fan
    /// out, `/stream/` streams, all else passes through.
    pub(crate) fn start(upstream: UpstreamAddress) -> Self {
        Self::with(upstream, |_| {})
    }

    /// As [`Rig::start`], with changes to the configuration.
    pub(crate) fn with(upstream: UpstreamAddress, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(
            upstream,
            certificate(folder.path()),
            folder.path().join("sock"),
        );
        change(&mut config);
        let listeners = Listeners::bind(&config.listeners).unwrap();
        let (shutdown, watch) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let hub = Hub {
            config: Arc::new(ArcSwap::from_pointee(config)),
        };
        let shared = Shared {
            hub: Arc::new(hub),
            metrics: metrics.clone(),
            shutdown: watch,
        };
        let seeds = (0..2)
            .map(|_| Seed {
                shard: ShardHandle {},
                run: Box::new(|| Box::pin(async {})),
            })
            .collect();
        let running = front::start(listeners, seeds, &shared).unwrap();
        Self {
            running: Some(running),
            metrics,
            shutdown,
            folder,
        }
    }

    fn address(&self, name: &str) -> &Address {
        let addresses = self.running.as_ref().unwrap().addresses();
        &addresses.iter().find(|(n, _)| n == name).unwrap().1
    }

    pub(crate) fn plain(&self) -> std::net::SocketAddr {
        match self.address("plain") {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("not TCP"),
        }
    }

    pub(crate) fn tls(&self) -> std::net::SocketAddr {
        match self.address("tls") {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("not TCP"),
        }
    }

    pub(crate) fn unix(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

pub(crate) fn certificate(folder: &std::path::Path) -> ListenerTls {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = ListenerTls {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    tls
}

fn config(upstream: UpstreamAddress, tls: ListenerTls, socket: PathBuf) -> Config {
    let upstream = Arc::new(Upstream {
        name: "app".to_owned(),
        address: upstream,
        tls: None,
        host: UpstreamHost::Preserve,
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
    });
    let any_port = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = |name: &str, address, tls| Listener {
        name: name.to_owned(),
        address,
        tls,
    };
    let route = |name: &str, path: &str, action| {
        Arc::new(Route {
            name: name.to_owned(),
            matches: RouteMatch {
                host: None,
                path: path.to_owned(),
                methods: Vec::new(),
            },
            upstream: upstream.clone(),
            action,
        })
    };
    Config {
        listeners: vec![
            listener("plain", any_port.clone(), None),
            listener("tls", any_port.clone(), Some(tls)),
            listener(
                "unix",
                ListenAddress::Unix {
                    path: socket,
                    mode: 0o600,
                },
                None,
            ),
        ],
        upstreams: vec![upstream.clone()],
        routes: vec![
            route("fan", "/fan/{*rest}", Action::Fanout(Arc::new(fanout()))),
            route("stream", "/stream/{*rest}", Action::Stream),
            route("root", "/", Action::Proxy),
            route("all", "/{*rest}", Action::Proxy),
        ],
        limits: limits(),
        drain: Drain {
            window: Duration::from_secs(1),
            margin: Duration::from_secs(1),
        },
        admin: Admin { address: any_port },
        log: Log {
            filter: "info".to_owned(),
            format: LogFormat::Auto,
        },
        threads: 2,
    }
}

fn limits() -> Limits {
    Limits {
        subscribers_max: None,
        connections_max: None,
        channels_max: 100,
        streams_per_connection_max: 100,
        ring_bytes_max: None,
        head_bytes_max: 16 << 10,
        head_fields_max: 50,
        head_timeout: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(20),
        tcp_send_buffer_bytes: 0,
    }
}

fn fanout() -> Fanout {
    Fanout {
        share: Share::Credentials,
        identity: Identity {
            headers: Vec::new(),
            cookies: CookieIdentity::All,
        },
        query: QuerySelection::All,
        last_event_id_query: "last_event_id".to_owned(),
        ids: Ids::Local,
        late_join: LateJoin::Live,
        gap_notice: GapNotice::Auto,
        ring: RingLimits {
            events_max: 100,
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(60),
        },
        event: EventLimits {
            bytes_max: 1 << 16,
            fields_max: 100,
            id_bytes_max: 100,
        },
        open_wait: Duration::from_secs(1),
        head_wait: Duration::from_secs(1),
        on_end: OnEnd::Pass,
        backoff: Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        },
        upstream_silence_max: None,
        linger: Duration::from_secs(1),
        retry: RetryRange {
            min: Duration::from_secs(1),
            max: Duration::from_secs(2),
        },
        heartbeat: Duration::from_secs(15),
        slow: SlowReader {
            events_max: 100,
            bytes_max: 1 << 20,
            stall_max: Duration::from_secs(10),
        },
        channel_subscribers_max: 1000,
        response_headers: Vec::new(),
    }
}
