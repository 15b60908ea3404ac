//! A hub and one shard without app, front and sockets, and how long they take.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use criterion::measurement::{Measurement as _, WallTime};
use http::{HeaderMap, Method, StatusCode};
use pingora::{
    http::ResponseHeader,
    protocols::{
        Digest, Stream,
        http::v2::server::{H2Accept, HttpSession, default_h2_options},
    },
};
use sidestream::{
    admission::{Admission, fd::Caps},
    channel::{
        registry::{Opener, Registry},
        shared::Channel,
    },
    clock,
    config::{
        self, Config,
        model::{Action, Fanout},
    },
    decide::{Decision, FanOut, RequestView, decide},
    egress::{
        h2::{Connection, Key, budget::Budget},
        shard::{self, Joiner, Relay, ShardContext, ShardHandle},
    },
    lifecycle::Lifecycle,
    metrics::{Metrics, labels::Protocol},
    route::key::Scheme,
    sse::event::Event,
    subscribe::{Downstream, Hub},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    task::yield_now,
    time::timeout,
};

use crate::peer::{Peer, requests};

const READERS_MAX: usize = 10_000;

/// No run of sweeps takes this long, unless a delivery is missing.
const PATIENCE: Duration = Duration::from_secs(300);

/// One fan-out route with the shipped defaults.
const CONFIG: &str = "version: 1\n\
    listeners: [{ address: '127.0.0.1:0' }]\n\
    upstreams: { app: 'http://127.0.0.1:1' }\n\
    routes: [{ name: feed, path: /, action: fanout }]\n";

fn config() -> Config {
    let config = config::load(CONFIG, "bench.yaml", &|_| None);
    config.unwrap_or_else(|report| panic!("{report}"))
}

/// The shipped defaults of a fan-out route.
pub(crate) fn settings() -> Arc<Fanout> {
    match config().routes.first().map(|route| route.action.clone()) {
        Some(Action::Fanout(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

/// The time of `times` runs. Windows of HTTP/2 are used up in the end: each `times_max` of them are
/// on something fresh, whose making is not counted.
pub(crate) fn timed<T>(
    times: u64,
    times_max: u64,
    make: impl Fn() -> T,
    run: impl Fn(&T, u64),
) -> Duration {
    let mut taken = Duration::ZERO;
    let mut left = times;
    while left > 0 {
        let now = left.min(times_max);
        left -= now;
        let fresh = make();
        let begun = WallTime.start();
        run(&fresh, now);
        taken += WallTime.end(begun);
    }
    taken
}

/// An app that has answered before it is asked.
struct App;

impl Opener for App {
    fn open(&self, channel: Arc<Channel>) {
        assert!(channel.opened(&HeaderMap::new(), clock::now()));
    }

    fn prove(&self, _channel: Arc<Channel>) {}
}

impl Relay for App {
    fn relay(&self, _joiner: Box<Joiner>) {
        panic!("nothing to relay");
    }
}

/// One channel, and one shard with its subscribers, on this thread.
pub(crate) struct Rig {
    runtime: Runtime,
    hub: Arc<Hub>,
    shard: ShardHandle,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let runtime = runtime();
        let metrics = Arc::new(Metrics::new());
        let config = Arc::new(ArcSwap::from_pointee(config()));
        let admission = Arc::new(Admission::new(&Caps {
            connections_max: READERS_MAX,
            subscribers_max: READERS_MAX,
            upstreams: BTreeMap::new(),
            reserved: 0,
            warnings: Vec::new(),
        }));
        let registry = Registry::new(Arc::new(App), metrics.clone(), config.clone(), usize::MAX);
        let context = ShardContext {
            metrics: metrics.clone(),
            admission: admission.clone(),
            relay: Arc::new(App),
        };
        let pulse = Lifecycle::new().pulse(clock::now());
        let (shard, run) = shard::spawn(0, context, pulse);
        runtime.spawn(run);
        let hub = Arc::new(Hub {
            config,
            registry: Arc::new(registry),
            admission,
            metrics,
            reloads: watch::Sender::new(()),
        });
        Self {
            runtime,
            hub,
            shard,
        }
    }

    fn request(&self) -> Box<FanOut> {
        let request = RequestView {
            method: &Method::GET,
            target: b"/",
            host: "a",
            forwarded_host: None,
            scheme: Scheme::Http,
            headers: &HeaderMap::new(),
            has_body: false,
            client: None,
        };
        let decision = decide(&request, &self.hub.config.load());
        let Decision::FanOut(request) = decision else {
            panic!("{decision:?}");
        };
        request
    }

    /// The one channel.
    pub(crate) fn channel(&self) -> Arc<Channel> {
        let joined = self.hub.registry.join(&self.request(), clock::now());
        joined.unwrap().channel().clone()
    }

    fn join(&self, downstream: Downstream) {
        self.hub.subscribe(self.request(), downstream, &self.shard);
    }

    /// Subscribers with a connection each.
    pub(crate) fn join_h1(&self, count: usize) {
        for _ in 0..count {
            self.join(Downstream::h1(Box::new(Peer), false, Arc::new(Peer)));
        }
    }

    /// So many subscribers on one connection.
    pub(crate) fn join_h2(&self, streams: usize) {
        let H2Link {
            shared,
            mut connection,
            sessions,
        } = self.runtime.block_on(H2Link::new(streams));
        for session in sessions {
            self.join(Downstream::h2(session, shared.clone()));
        }
        self.runtime.spawn(poll_fn(move |cx| {
            let closed = connection.poll_closed(cx);
            shared.flush(cx);
            closed
        }));
    }

    /// Publishes `batch` so often, each time to `readers` that have everything before.
    pub(crate) fn sweeps(&self, times: u64, batch: &[Event], readers: usize) {
        let channel = self.channel();
        let delivered = &self.hub.metrics.events_delivered;
        let mut expected = delivered.get();
        let all = async {
            for _ in 0..times {
                channel.publish(batch, clock::now());
                expected += (batch.len() * readers) as u64;
                while delivered.get() < expected {
                    yield_now().await;
                }
            }
        };
        let in_time = self
            .runtime
            .block_on(async { timeout(PATIENCE, all).await });
        in_time.unwrap();
        assert_eq!(delivered.get(), expected);
        assert_eq!(self.hub.metrics.behind_subscribers.get(), 0);
    }

    /// Waits until so many subscribers have had their heads.
    pub(crate) fn until_reading(&self, readers: usize) {
        let started = &self.hub.metrics.route("feed").subscribers_started;
        let all = async {
            while started.get(Protocol::H1) + started.get(Protocol::H2) < readers as u64 {
                yield_now().await;
            }
        };
        let in_time = self
            .runtime
            .block_on(async { timeout(PATIENCE, all).await });
        in_time.unwrap();
    }
}

/// An HTTP/2 connection with requests that have not been answered.
pub(crate) struct H2Link {
    pub(crate) shared: Arc<Connection>,
    connection: Box<h2::server::Connection<Stream, Bytes>>,
    sessions: Vec<HttpSession>,
}

impl H2Link {
    pub(crate) async fn new(streams: usize) -> Self {
        let limits = config().limits;
        let budget = Budget::new(&limits, clock::now());
        let (shared, io) = Connection::new(Box::new(Peer), &requests(streams), budget);
        let mut options = default_h2_options();
        options.max_concurrent_streams(limits.streams_per_connection_max);
        let handshake = options.handshake::<Stream, Bytes>(Box::new(io));
        let mut connection = Box::new(handshake.await.unwrap());
        let digest = Arc::new(Digest::default());
        let mut sessions = Vec::new();
        for _ in 0..streams {
            let mut accepted = pin!(HttpSession::from_h2_conn(&mut connection, digest.clone()));
            let accepted = poll_fn(|cx| {
                let polled = accepted.as_mut().poll(cx);
                if polled.is_pending() {
                    // So many come in one turn of the connection's task.
                    shared.flush(cx);
                }
                polled
            });
            match accepted.await {
                Ok(Some(H2Accept::Session(session))) => sessions.push(session),
                Ok(Some(H2Accept::Rejected) | None) | Err(_) => panic!("a request is refused"),
            }
        }
        Self {
            shared: Arc::new(shared),
            connection,
            sessions,
        }
    }

    /// Answers all requests, and takes their streams over as a shard does.
    pub(crate) async fn adopt(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        for mut session in self.sessions.drain(..) {
            let head = ResponseHeader::build(StatusCode::OK, None).unwrap();
            session.write_response_header(Box::new(head), true).unwrap();
            let stream = session.take_response_body_writer().unwrap();
            let key = self.shared.adopt(stream.stream_id().as_u32());
            keys.push(key.unwrap());
        }
        poll_fn(|cx| {
            assert!(self.connection.poll_closed(cx).is_pending());
            self.shared.flush(cx);
            std::task::Poll::Ready(())
        })
        .await;
        keys
    }
}

/// Of one thread, as a worker's.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
