//! Joins a client to a channel and hands its sink to a shard. The one entry for HTTP/1 and HTTP/2.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use crate::egress::sink::Downstream;
use crate::{
    admission::{self, Admission},
    channel::registry::Registry,
    clock,
    config::model::Config,
    decide::{Decision, FanOut, Reader, RequestView, decide},
    egress::shard::{Joiner, ShardHandle},
    error::RefuseReason,
    metrics::Metrics,
};

/// Everything that joining needs; one per process.
pub struct Hub {
    /// The configuration in force; a request loads it once.
    pub config: Arc<ArcSwap<Config>>,
    /// Live channels.
    pub registry: Arc<Registry>,
    /// Process-wide caps.
    pub admission: Arc<Admission>,
    /// Where we count.
    pub metrics: Arc<Metrics>,
    /// Says that another configuration has come into force.
    pub reloads: watch::Sender<()>,
}

impl Hub {
    /// Decides about a request: by `config`, the one snapshot of it, and by what apps have said of live
    /// channels.
    #[must_use]
    pub fn decide(&self, request: &RequestView<'_>, config: &Config) -> Decision {
        let decision = decide(request, config);
        if let Decision::FanOut(wanted) = &decision
            && wanted.settings.strict
            && self.registry.is_withdrawn(&wanted.key)
        {
            let route = self.metrics.route(&wanted.route.name);
            route.sharing.unshared.inc();
            return Decision::Stream(wanted.route.clone());
        }
        decision
    }

    /// Takes over `downstream` for good: admits it or sheds it, joins it to its channel, and has
    /// `shard` answer it from here on. Never blocks, never fails towards the caller.
    pub fn subscribe(
        self: &Arc<Self>,
        request: Box<FanOut>,
        downstream: Downstream,
        shard: &ShardHandle,
    ) {
        let now = clock::now();
        let seat = self.admission.seat(
            (&request.route.name, request.settings.route_subscribers_max),
            request.client,
            &self.config.load().limits.per_address,
        );
        let joined = seat.and_then(|seat| Ok((self.registry.join(&request, now)?, seat)));
        match joined {
            Ok((membership, seat)) => shard.join(Box::new(Joiner {
                request,
                downstream,
                membership,
                seat,
                asked: now,
            })),
            Err(reason) => self.shed(&request, downstream, shard, reason),
        }
    }

    fn shed(
        &self,
        request: &FanOut,
        downstream: Downstream,
        shard: &ShardHandle,
        reason: RefuseReason,
    ) {
        self.metrics.refused.inc(reason);
        self.metrics.shed.inc();
        let mut answer = admission::turn_away(
            &self.admission,
            request.reader == Reader::EventSource,
            request.origin.as_deref(),
            rand::random(),
            clock::now(),
        );
        request.allow(&mut answer.headers);
        let patience = request.settings.slow.stall_max;
        shard.answer(downstream, Arc::new(answer), patience);
    }
}
