//! A channel as threads share it: state machine, ring and joiners' head under one short lock.
//!
//! The reader is the one writer; shards take what they need and let go. Nothing awaits under the
//! lock, and shards are woken after it is released.

mod catch_up;
mod privacy;
mod proving;
mod reports;
mod resuming;
mod shards;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedMutexGuard};

use self::shards::Links;
pub use self::shards::ShardWake;
use super::{
    head::{JoinersHead, Marks},
    id::Epoch,
    proof::Proof,
    ring::{self, Ring},
    state::{Joined, Outcome, Phase, Policy, State},
    view::{Entry, Placement, Refusal, Row, View},
};
use crate::{
    clock::Millis,
    config::model::{Fanout, GapNotice, Route},
    error::{GapReason, RefuseReason},
    metrics::{Metrics, RouteMetrics},
    route::key::ChannelKey,
};

/// One upstream SSE connection with its replay ring.
pub struct Channel {
    /// What makes clients share it.
    pub key: ChannelKey,
    /// This life.
    pub epoch: Epoch,
    /// Address of the client that made it, on a channel of one identity only: told to the app, which
    /// may log or limit by it. On a shared channel it would say nothing about the others.
    pub client: Option<IpAddr>,
    /// When it was made.
    pub since: Millis,
    /// Cells of its route.
    pub route_metrics: Arc<RouteMetrics>,
    metrics: Arc<Metrics>,
    route: ArcSwap<Route>,
    settings: ArcSwap<Fanout>,
    inner: Mutex<Inner>,
    /// Newest sequence; lets a shard see without the lock that there is nothing to do.
    head: AtomicU64,
    links: Links,
    /// Wakes the reader when the channel is over, and when it has new settings.
    news: Notify,
    over: AtomicBool,
    /// How the app marks the stream that opened last.
    marks: Mutex<Marks>,
    /// Held by the reader for as long as it may have a connection. A channel that takes the place
    /// of another in the registry shares it, so that the app never has two for one key.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Inner {
    state: State,
    ring: Ring,
    joiners_head: Option<Arc<JoinersHead>>,
    /// `Set-Cookie` of the opening answer; belongs to the client that opened.
    set_cookie: Vec<HeaderValue>,
    refusal: Option<Refusal>,
    app_retry: Option<Duration>,
    live_since: Option<Millis>,
    /// Since when a request is with the app that it has not answered.
    asked_since: Option<Millis>,
    /// An attempt to open the stream is under way, and what it asks for is settled.
    is_asking: bool,
    proof: Proof,
}

impl Channel {
    /// A new, empty channel.
    #[must_use]
    pub fn new(
        key: ChannelKey,
        epoch: Epoch,
        route: Arc<Route>,
        settings: Arc<Fanout>,
        metrics: Arc<Metrics>,
        now: Millis,
    ) -> Self {
        let route_metrics = metrics.route(&route.name);
        route_metrics.channels.inc();
        Self {
            epoch,
            client: None,
            since: now,
            route_metrics,
            metrics,
            inner: Mutex::new(Inner {
                state: State::new(now),
                ring: resuming::ring(&key, epoch, &settings),
                joiners_head: None,
                set_cookie: Vec::new(),
                refusal: None,
                app_retry: None,
                live_since: None,
                asked_since: None,
                is_asking: false,
                proof: Proof::default(),
            }),
            route: ArcSwap::new(route),
            settings: ArcSwap::new(settings),
            head: AtomicU64::new(0),
            links: Links::default(),
            news: Notify::new(),
            over: AtomicBool::new(false),
            marks: Mutex::default(),
            turn: Arc::default(),
            key,
        }
    }

    /// The same, made by `client`; kept only when the channel is of one identity.
    #[must_use]
    pub fn made_by(mut self, client: Option<IpAddr>) -> Self {
        self.client = client.filter(|_| self.key.has_identity());
        self
    }

    /// The same, in the place of `before`, whose reader may still hold a connection.
    #[must_use]
    pub(super) fn in_place_of(mut self, before: Option<&Arc<Self>>) -> Self {
        if let Some(before) = before {
            self.turn = before.turn.clone();
        }
        self
    }

    /// Resolves when no other reader of this key has a connection any more; the reader keeps what
    /// it gets until its own is closed.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    /// No reader of this key has a connection.
    pub(super) fn is_released(&self) -> bool {
        self.turn.try_lock().is_ok()
    }

    /// The route, as of the last reload.
    #[must_use]
    pub fn route(&self) -> Arc<Route> {
        self.route.load_full()
    }

    /// The settings, as of the last reload.
    #[must_use]
    pub fn settings(&self) -> Arc<Fanout> {
        self.settings.load_full()
    }

    /// Newest sequence, without the lock.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Nothing more will happen here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Resolves when the channel is over; the reader drops its upstream then.
    pub async fn stopped(&self) {
        loop {
            let notified = self.news.notified();
            if self.is_over() {
                return;
            }
            notified.await;
        }
    }

    /// Resolves when the settings have changed since this was called, or for no reason.
    pub fn reconfigured(&self) -> impl Future<Output = ()> {
        self.news.notified()
    }

    // --- joining and leaving -------------------------------------------------------------------

    pub(crate) fn join(
        &self,
        last_event_id: Option<&[u8]>,
        now: Millis,
    ) -> Result<Entry, RefuseReason> {
        let settings = self.settings.load();
        let subscribers_max = settings.channel_subscribers_max;
        let reauth = self.reauth();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let is_over = matches!(inner.state.phase(), Phase::Over(_));
        if !is_over && inner.state.members() >= subscribers_max {
            return Err(RefuseReason::ChannelMax);
        }
        let joined = inner.state.join(now);
        let begun = inner.begin(joined, last_event_id, &settings);
        let mut announced = false;
        if joined == Joined::MustOpen {
            // Whoever opened before has had its chance: they are never another client's.
            inner.set_cookie.clear();
            // The one who opens anew starts behind the gap, for it has missed nothing; who resumes
            // from before meets it in its place.
            // Nothing is missed when the app goes on where it was.
            announced = inner.state.take_gap_due() && inner.ring.resume_point().is_none();
            if announced {
                self.push_gap(inner, GapReason::UpstreamCut, now);
            }
        }
        // A reader at work to open the stream brings the same answer. Behind a whole answer there is
        // none any more.
        let must_prove = matches!(inner.state.phase(), Phase::Live | Phase::Complete)
            && !inner.proof.holds_for(now, reauth)
            && inner.proof.want(now);
        let entry = Entry {
            joined,
            at: inner.ring.head(),
            must_prove,
            begun,
        };
        drop(guard);
        if announced {
            self.links.wake();
        }
        Ok(entry)
    }

    fn push_gap(&self, inner: &mut Inner, reason: GapReason, now: Millis) {
        let before = inner.ring.bytes();
        let sequence = inner.ring.push_gap(reason, now);
        self.account(before, &inner.ring);
        self.head.store(sequence, Ordering::Release);
        self.route_metrics.gaps.inc(reason);
    }

    pub(super) fn leave(&self, now: Millis) {
        self.inner.lock().state.leave(now);
    }

    /// Where a joiner starts that came when the head was at `joined_at`.
    pub fn place(&self, last_event_id: Option<&[u8]>, joined_at: u64, now: Millis) -> Placement {
        let settings = self.settings.load();
        let swept = self.links.swept();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let before = inner.ring.bytes();
        inner.ring.set_swept(swept);
        let mut start = inner
            .ring
            .start(last_event_id, settings.late_join, joined_at, now);
        if settings.gap_notice == GapNotice::Close {
            start = inner.ring.past_gaps(start, joined_at);
        }
        let at_end = inner.state.phase() == Phase::Complete && start.cursor == inner.ring.head();
        let is_done = at_end && start.hole.is_none() && last_event_id.is_some();
        if at_end && !is_done {
            // Who still has to be told something is told the end behind it: nothing else follows.
            start.cursor -= 1;
        }
        let placement = Placement {
            cursor: start.cursor,
            hole: start.hole,
            id: inner.ring.id_at(start.cursor),
            gap_id: inner.ring.gap_id(start.cursor),
            app_retry: inner.app_retry,
            head: inner.ring.head(),
            is_done,
        };
        self.account(before, &inner.ring);
        placement
    }

    /// Whether a joiner who asked at `asked` waits a little: its id is the app's of another pod, and
    /// may still pass in this stream.
    #[must_use]
    pub fn may_pass(&self, last_event_id: &[u8], asked: Millis, now: Millis) -> bool {
        let resume_wait = self.settings.load().resume_wait;
        let inner = self.inner.lock();
        let since = inner.live_since.map_or(asked, |live| live.max(asked));
        matches!(inner.state.phase(), Phase::Opening | Phase::Live)
            && now.since(since) < resume_wait
            && inner.ring.may_pass(last_event_id)
    }

    /// The `Set-Cookie` values of the opening answer, once: for the client that opened.
    pub fn take_set_cookie(&self) -> Vec<HeaderValue> {
        std::mem::take(&mut self.inner.lock().set_cookie)
    }

    // --- what shards read ----------------------------------------------------------------------

    /// How the channel stands.
    #[must_use]
    pub fn view(&self) -> View {
        let inner = self.inner.lock();
        View {
            phase: inner.state.phase(),
            opening_since: inner.state.opening_since(),
            asked_since: inner.asked_since,
            joiners_head: inner.joiners_head.clone(),
            refusal: inner.refusal.clone(),
            proof: inner.proof,
        }
    }

    /// Hands the entries after `cursor` to `visit`, oldest first, until it returns `false`.
    /// `false`: some of them are evicted, and nothing was visited.
    pub fn visit_after(&self, cursor: u64, mut visit: impl FnMut(&ring::Entry) -> bool) -> bool {
        let inner = self.inner.lock();
        let Some(entries) = inner.ring.after(cursor) else {
            return false;
        };
        for entry in entries {
            if !visit(entry) {
                break;
            }
        }
        true
    }

    /// The app's own reconnect time, if it sent one.
    #[must_use]
    pub fn app_retry(&self) -> Option<Duration> {
        self.inner.lock().app_retry
    }

    /// How far a reader at `cursor` is behind, in entries and bytes. `None`: beyond the ring.
    #[must_use]
    pub fn lag(&self, cursor: u64) -> Option<(u64, u64)> {
        self.inner.lock().ring.lag(cursor)
    }

    /// For `/channels`.
    #[must_use]
    pub fn row(&self) -> Row {
        let inner = self.inner.lock();
        Row {
            phase: inner.state.phase(),
            subscribers: inner.state.members(),
            ring_events: inner.ring.len(),
            ring_bytes: inner.ring.bytes(),
            head: inner.ring.head(),
            reconnects: inner.state.reopened(),
            live_since: inner.live_since,
        }
    }

    // --- time and reload -----------------------------------------------------------------------

    /// Time passes: the linger, and the age of events. `true`: the channel is over.
    pub(super) fn tick(&self, now: Millis) -> bool {
        let policy = self.policy();
        let swept = self.links.swept();
        let over = {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let before = inner.ring.bytes();
            inner.ring.set_swept(swept);
            inner.ring.expire(now);
            self.account(before, &inner.ring);
            inner.state.tick(&policy, now);
            matches!(inner.state.phase(), Phase::Over(_))
        };
        if over {
            self.after_step();
        }
        over
    }

    /// New settings for the same upstream and the same sharing.
    pub(super) fn reconfigure(&self, route: Arc<Route>, settings: Arc<Fanout>, now: Millis) {
        self.route.store(route);
        self.settings.store(settings.clone());
        let mut guard = self.inner.lock();
        let before = guard.ring.bytes();
        guard.ring.set_key(settings.slow.policy.key());
        guard.ring.set_limits(settings.ring, now);
        self.account(before, &guard.ring);
        if let Some(head) = &guard.joiners_head {
            guard.joiners_head = Some(Arc::new(head.under(&settings)));
        }
        drop(guard);
        self.news.notify_waiters();
    }

    /// Frees `wanted` bytes of ring memory, down to `keep` entries and to what shards have not yet
    /// taken; returns the bytes freed.
    pub(super) fn trim(&self, wanted: usize, keep: usize) -> usize {
        let swept = self.links.swept();
        let mut guard = self.inner.lock();
        let before = guard.ring.bytes();
        guard.ring.set_swept(swept);
        let freed = guard.ring.trim(wanted, keep);
        self.account(before, &guard.ring);
        freed
    }

    fn policy(&self) -> Policy {
        let settings = self.settings.load();
        Policy {
            linger: settings.linger,
            open_wait: settings.open_wait,
            on_end: settings.on_end,
        }
    }

    fn account(&self, before: usize, ring: &Ring) {
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics
            .ring_bytes
            .add(signed(ring.bytes()) - signed(before));
    }

    /// After each step of the machine: an over channel lets go of its memory and of its reader.
    fn after_step(&self) {
        let over = {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            let over = matches!(inner.state.phase(), Phase::Over(_));
            let dropped = matches!(
                inner.state.phase(),
                Phase::Over(Outcome::Refused | Outcome::Lingered | Outcome::Revoked)
            );
            if dropped {
                let before = inner.ring.bytes();
                inner.ring.clear();
                self.account(before, &inner.ring);
            }
            over
        };
        if over {
            self.over.store(true, Ordering::Release);
            self.news.notify_waiters();
        }
        self.links.wake();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        self.metrics
            .ring_bytes
            .add(-i64::try_from(inner.ring.bytes()).unwrap_or(i64::MAX));
        self.route_metrics.channels.dec();
    }
}

#[cfg(test)]
mod tests;
