//! What the reader, which is a channel's one writer, reports to it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, header::SET_COOKIE};

use super::Channel;
use crate::{
    channel::{
        head::JoinersHead,
        state::{Next, OnCut, Opened, Outcome, Phase},
        view::Refusal,
    },
    clock::Millis,
    error::GapReason,
    sse::event::Event,
};

impl Channel {
    /// The request is with the app.
    pub fn asked(&self, now: Millis) {
        self.inner.lock().asked_since = Some(now);
    }

    /// The app answered with an event stream. `false`: nobody wants it any more.
    pub fn opened(&self, app: &HeaderMap, now: Millis) -> bool {
        let mut guard = self.inner.lock();
        // Under the lock: settings that come later find the head, and see to it.
        let settings = self.settings();
        self.note_privacy(app, &settings);
        let inner = &mut *guard;
        inner.asked_since = None;
        let resumed = inner.ring.resume_point().is_some();
        match inner.state.head() {
            Opened::Unwanted => return false,
            Opened::First => inner.set_cookie = app.get_all(SET_COOKIE).iter().cloned().collect(),
            Opened::Announced => {}
            // By its promise it goes on with what comes next.
            Opened::Again if resumed => {}
            Opened::Again => self.push_gap(inner, GapReason::UpstreamCut, now),
        }
        if resumed {
            self.route_metrics.upstream_resumes.inc();
        }
        inner.joiners_head = Some(Arc::new(JoinersHead::from_app(app, &settings)));
        inner.live_since = Some(now);
        inner.proof.give(now);
        drop(guard);
        self.links.wake();
        true
    }

    /// A try failed in a way that may pass. A channel that gives up with it is over by `outcome`.
    pub fn failed(&self, outcome: Outcome, now: Millis) -> Next {
        let policy = self.policy();
        let next = {
            let mut inner = self.inner.lock();
            inner.asked_since = None;
            inner.is_asking = false;
            inner.state.failed(outcome, &policy, now)
        };
        self.after_step();
        next
    }

    /// The app answered with something else; the ring is dropped with the channel.
    pub fn refused(&self, refusal: Refusal) {
        let mut inner = self.inner.lock();
        inner.refusal = Some(refusal);
        inner.state.refused();
        drop(inner);
        self.after_step();
    }

    /// Events of one read, in order.
    pub fn publish(&self, events: &[Event], now: Millis) {
        if events.is_empty() {
            return;
        }
        let settings = self.settings.load();
        let swept = self.links.swept();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let ring = &mut inner.ring;
        ring.set_swept(swept);
        let before = ring.bytes();
        let was_resuming = ring.resume_point().is_some();
        let mut bytes = 0;
        for event in events {
            bytes += event.data.len();
            ring.push_event(event, now);
        }
        self.account(before, ring);
        self.head.store(ring.head(), Ordering::Release);
        let announced = was_resuming && ring.ids_broken();
        if announced {
            // It did not go on where it was asked to.
            self.push_gap(inner, GapReason::AmbiguousId, now);
        }
        let delay = settings.batch_delay;
        let may_wait = !delay.is_zero() && !announced && inner.ring.has_room_after(swept);
        drop(guard);
        self.route_metrics.events_received.add(events.len() as u64);
        self.route_metrics.event_bytes_received.add(bytes as u64);
        if may_wait {
            self.links.wake_by(now.after(delay));
        } else {
            self.links.wake();
        }
    }

    /// An event of the app was left out here, because it breaks a limit.
    pub fn skipped(&self, now: Millis) {
        let swept = self.links.swept();
        let mut guard = self.inner.lock();
        guard.ring.set_swept(swept);
        self.push_gap(&mut guard, GapReason::Oversized, now);
        drop(guard);
        self.links.wake();
    }

    /// The app's `retry:`; state of the channel, never on the shared wire.
    pub fn set_app_retry(&self, retry: Duration) {
        self.inner.lock().app_retry = Some(retry);
    }

    /// The stream broke.
    pub fn cut(&self, now: Millis) -> Next {
        let settings = self.settings.load();
        let next = {
            let mut inner = self.inner.lock();
            inner.live_since = None;
            let goes_on = !settings.is_one_answer() || inner.ring.resume_point().is_some();
            let on_cut = if goes_on {
                OnCut::GoesOn
            } else {
                OnCut::StartsOver
            };
            inner.state.cut(on_cut, now)
        };
        self.after_step();
        next
    }

    /// The app ended the stream.
    pub fn ended(&self, now: Millis) -> Next {
        let policy = self.policy();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.live_since = None;
        let was_live = inner.state.phase() == Phase::Live;
        let next = inner.state.ended(&policy, now);
        if was_live && matches!(inner.state.phase(), Phase::Idle | Phase::Complete) {
            let before = inner.ring.bytes();
            let sequence = inner.ring.push_end(now);
            self.account(before, &inner.ring);
            self.head.store(sequence, Ordering::Release);
        }
        drop(guard);
        self.after_step();
        next
    }

    /// The channel is over, whatever it was doing.
    pub fn finish(&self, outcome: Outcome) {
        self.inner.lock().state.finish(outcome);
        self.after_step();
    }
}
