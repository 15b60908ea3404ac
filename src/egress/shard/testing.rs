//! What tests of a shard need around it: a registry without readers, and clients over pipes.

mod peer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{DuplexStream, duplex};

pub(super) use self::peer::{Body, Peer, Room};
use super::{Joiner, Relay, Shard, ShardContext, ShardHandle};
use crate::{
    admission::{Admission, Seat, fd::Caps},
    channel::{
        registry::{Opener, Registry},
        shared::Channel,
    },
    clock::{self, Millis},
    config::{
        model::{Action, Fanout},
        testing,
    },
    decide::{FanOut, Reader, testing::fan_out},
    egress::sink::{ClientSocket, Downstream},
    error::EndReason,
    lifecycle::Lifecycle,
    metrics::{
        Metrics,
        labels::{Label as _, Protocol},
    },
    route::key::testing::key,
};

/// Instead of readers: remembers for which channels the app has to answer.
#[derive(Default)]
pub(super) struct Asked(pub(super) Mutex<Vec<Arc<Channel>>>);

impl Opener for Asked {
    fn open(&self, channel: Arc<Channel>) {
        self.0.lock().push(channel);
    }

    fn prove(&self, _channel: Arc<Channel>) {
        panic!("these channels are of nobody");
    }
}

/// No app of these tests answers at length.
struct NoRelay;

impl Relay for NoRelay {
    fn relay(&self, _joiner: Box<Joiner>) {
        panic!("nothing to relay");
    }
}

/// The socket under a client's pipe.
#[derive(Default)]
pub(super) struct PipeSocket(AtomicBool);

impl PipeSocket {
    pub(super) fn resets(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ClientSocket for PipeSocket {
    fn reset_on_close(&self, reset: bool) {
        self.0.store(reset, Ordering::Relaxed);
    }
}

/// A client as it asks.
pub(super) struct Ask {
    pub(super) reader: Reader,
    pub(super) last_event_id: Option<Bytes>,
    pub(super) http10: bool,
    /// Bytes that it lets wait for it.
    pub(super) buffer: usize,
}

impl Ask {
    /// As a browser's EventSource that reads in time.
    pub(super) const fn page() -> Self {
        Self {
            reader: Reader::EventSource,
            last_event_id: None,
            http10: false,
            buffer: 1 << 16,
        }
    }
}

/// Everything but the shard, on a single route.
pub(super) struct Rig {
    pub(super) settings: Arc<Fanout>,
    pub(super) registry: Registry,
    pub(super) asked: Arc<Asked>,
    pub(super) handle: ShardHandle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) admission: Arc<Admission>,
}

impl Rig {
    pub(super) fn new(settings: Fanout, places: usize) -> Self {
        let metrics = Arc::new(Metrics::new());
        let asked = Arc::new(Asked::default());
        let settings = Arc::new(settings);
        let route = testing::route("r", "/", Action::Fanout(settings.clone()));
        let config = Arc::new(ArcSwap::from_pointee(testing::config(vec![route])));
        Self {
            settings,
            registry: Registry::new(asked.clone(), metrics.clone(), config, usize::MAX),
            asked,
            handle: ShardHandle::new(0),
            metrics,
            admission: Arc::new(Admission::new(&Caps {
                connections_max: 1,
                subscribers_max: places,
                upstreams: std::collections::BTreeMap::new(),
                reserved: 0,
                warnings: Vec::new(),
            })),
        }
    }

    pub(super) fn context(&self) -> ShardContext {
        ShardContext {
            metrics: self.metrics.clone(),
            admission: self.admission.clone(),
            relay: Arc::new(NoRelay),
        }
    }

    /// A shard that moves only when told.
    pub(super) fn shard(&self) -> Shard {
        let pulse = Lifecycle::new().pulse(clock::now());
        Shard::new(self.handle.0.clone(), self.context(), pulse)
    }

    /// Hands a client of the one channel to the shard; returns its end.
    pub(super) fn join(&self, ask: Ask, now: Millis) -> (DuplexStream, Arc<PipeSocket>) {
        let socket = Arc::new(PipeSocket::default());
        (self.join_over(socket.clone(), ask, now), socket)
    }

    pub(super) fn join_over(
        &self,
        socket: Arc<dyn ClientSocket>,
        ask: Ask,
        now: Millis,
    ) -> DuplexStream {
        let (ours, theirs) = duplex(ask.buffer);
        let downstream = Downstream::h1(Box::new(ours), ask.http10, socket);
        self.join_by(downstream, ask.reader, ask.last_event_id, now);
        theirs
    }

    pub(super) fn join_by(
        &self,
        downstream: Downstream,
        reader: Reader,
        last_event_id: Option<Bytes>,
        now: Millis,
    ) {
        let request = self.request(last_event_id, reader);
        let membership = self.registry.join(&request, now).expect("there is room");
        self.handle.join(Box::new(Joiner {
            request: Box::new(request),
            downstream,
            membership,
            seat: self.seat(),
            asked: now,
        }));
    }

    fn seat(&self) -> Seat {
        let per_address = testing::limits().per_address;
        let seat = self.admission.seat(("r", usize::MAX), None, &per_address);
        seat.expect("there is room")
    }

    fn request(&self, last_event_id: Option<Bytes>, reader: Reader) -> FanOut {
        let route = testing::route("r", "/", Action::Fanout(self.settings.clone()));
        FanOut {
            last_event_id,
            reader,
            ..fan_out(&route, key("/"))
        }
    }

    /// `count` level EventSources of a live channel.
    pub(super) async fn readers(
        &self,
        shard: &mut Shard,
        count: usize,
    ) -> (Arc<Channel>, Vec<DuplexStream>) {
        let now = clock::now();
        let clients = (0..count).map(|_| self.join(Ask::page(), now).0).collect();
        let channel = self.asked.0.lock().pop().expect("the app is asked");
        assert!(channel.opened(&http::HeaderMap::new(), now));
        shard.work().await;
        assert_eq!(self.reading(), count);
        (channel, clients)
    }

    /// Readers that were not told to leave.
    pub(super) fn reading(&self) -> usize {
        let (begun, ended) = begun_and_ended(&self.metrics);
        usize::try_from(begun - ended).unwrap()
    }

    /// How many are there at the end of each of `steps` of `step` each, from `from` on.
    pub(super) async fn counts(
        &self,
        shard: &mut Shard,
        from: Millis,
        step: Duration,
        steps: u32,
    ) -> Vec<usize> {
        let mut counts = Vec::new();
        for n in 1..=steps {
            shard.tick(from.after(step * n)).await;
            counts.push(self.reading());
        }
        counts
    }
}

/// Readers so far, by what the metrics say.
pub(super) fn begun_and_ended(metrics: &Metrics) -> (u64, u64) {
    let route = metrics.route("r");
    let protocols = Protocol::all().iter();
    let begun = protocols.map(|protocol| route.subscribers_started.get(*protocol));
    let reasons = EndReason::ALL.iter();
    let ended = reasons.map(|reason| route.subscribers_ended.get(*reason));
    (begun.sum(), ended.sum())
}
