//! Clients come: wait, are admitted, or are answered.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, SET_COOKIE},
};

use super::{
    Shard, breathe,
    slot::number,
    tick::{age, jittered},
    tick_of,
};
use crate::{
    answer::Answer,
    channel::{
        head::JoinersHead,
        shared::Channel,
        state::{Outcome, Phase},
        view::{Placement, Refusal, View},
    },
    clock::{self, Millis},
    config::model::Fanout,
    cors,
    decide::Reader,
    egress::{
        batch::Form,
        chance,
        handle::{Arrival, Joiner, SubscriberWake, Token},
        opening,
        sink::{Downstream, EndKind, Sink},
        subscriber::{Ending, Holds, Pace, Reading, Stage, Subscriber, Waiting},
    },
    error::EndReason,
    metrics::labels::ReplayOutcome,
};

/// What is known of a joiner's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credentials {
    /// The app lets them in.
    Good,
    /// Not yet, whether they are still good.
    Unknown,
    /// The app did not say so in time.
    Unproved,
}

impl Shard {
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let now = clock::now();
        match arrival {
            Arrival::Join(joiner) => self.arrive_joiner(joiner, now),
            Arrival::Answer(downstream, answer, patience) => {
                if let Some(token) = self.insert(Stage::Gone, now) {
                    self.answer(token, downstream, &answer, now.after(patience), None);
                }
            }
        }
    }

    fn arrive_joiner(&mut self, joiner: Box<Joiner>, now: Millis) {
        let channel = joiner.membership.channel().clone();
        let slot = self.slot_of(&channel, now);
        let waiting = Waiting {
            joiner,
            slot: number(slot),
            _counted: self.context.metrics.waiting_joiners.hold(),
        };
        let Some(token) = self.insert(Stage::Waiting(waiting), now) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.members += 1;
        }
        // At once: detects who is gone already, and replaces the waker of pingora's task.
        if self.subscriber(token).is_some_and(Subscriber::poll_gone) {
            self.remove(token, EndReason::ClientLeft);
            return;
        }
        self.settle(token, &channel.view(), now);
        if self.waiting_settings(token).is_some()
            && let Some(slot) = self.slots.get_mut(slot)
        {
            slot.waiting.push(token);
        }
    }

    fn insert(&mut self, stage: Stage, now: Millis) -> Option<Token> {
        let entry = self.subscribers.vacant_entry();
        self.generation = self.generation.wrapping_add(1);
        let token = Token {
            index: u32::try_from(entry.key()).ok()?,
            generation: self.generation,
        };
        let wake = Arc::new(SubscriberWake::new(self.shared.clone(), token));
        let waker = Waker::from(wake.clone());
        entry.insert(Subscriber {
            generation: token.generation,
            stage,
            wake,
            waker,
            wrote: now,
            behind: None,
            finishing: None,
        });
        Some(token)
    }

    /// Everyone who waits in `slot` is looked at again.
    pub(super) async fn settle_all(&mut self, slot: usize, view: &View, now: Millis) {
        // Taken out as a whole: a crowd that is answered at once is not searched for each of them.
        let waiting = self
            .slots
            .get_mut(slot)
            .map(|slot| std::mem::take(&mut slot.waiting))
            .unwrap_or_default();
        let mut still_waiting = Vec::new();
        for (done, token) in waiting.into_iter().enumerate() {
            self.settle(token, view, now);
            if self.waiting_settings(token).is_some() {
                still_waiting.push(token);
            }
            breathe(done).await;
        }
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.waiting.append(&mut still_waiting);
        }
    }

    /// Admits a waiting joiner or turns it away, when the channel knows enough.
    fn settle(&mut self, token: Token, view: &View, now: Millis) {
        let Some(settings) = self.waiting_settings(token) else {
            return;
        };
        match (view.phase, &view.joiners_head) {
            (Phase::Over(outcome), _) => self.turn_away(token, &settings, outcome, view, now),
            (_, Some(head)) => match self.credentials(token, view, &settings, now) {
                Credentials::Good => self.admit(token, &settings, head, now),
                Credentials::Unknown => {}
                Credentials::Unproved => {
                    self.turn_away(token, &settings, Outcome::Unreachable, view, now);
                }
            },
            (_, None) => {
                let silent = view
                    .asked_since
                    .is_some_and(|since| now.since(since) >= settings.head_wait);
                if silent && (settings.cors.is_some() || !self.waits_for_cors(token)) {
                    self.admit(token, &settings, &JoinersHead::early(&settings), now);
                }
            }
        }
    }

    /// Whether a waiting joiner may have what was made for the credentials that it shows.
    fn credentials(
        &mut self,
        token: Token,
        view: &View,
        settings: &Fanout,
        now: Millis,
    ) -> Credentials {
        let Some(Stage::Waiting(waiting)) = self.subscriber(token).map(|s| &s.stage) else {
            return Credentials::Unknown;
        };
        let Joiner {
            membership, asked, ..
        } = &*waiting.joiner;
        if view.proof.holds_for(*asked, membership.channel().reauth()) {
            Credentials::Good
        } else if now.since(*asked) < settings.open_wait {
            Credentials::Unknown
        } else {
            Credentials::Unproved
        }
    }

    /// Answers a waiting joiner with something else than the stream.
    fn turn_away(
        &mut self,
        token: Token,
        settings: &Fanout,
        outcome: Outcome,
        view: &View,
        now: Millis,
    ) {
        let Stage::Waiting(waiting) = self.take(token, EndReason::UpstreamRefused) else {
            return;
        };
        let joiner = waiting.joiner;
        if let (Outcome::Refused, Some(Refusal::TooLong)) = (outcome, &view.refusal) {
            self.remove(token, EndReason::UpstreamRefused);
            return self.context.relay.relay(joiner);
        }
        let answer = self.turned_away(&joiner, outcome, view, now);
        let Joiner {
            downstream,
            membership,
            seat,
            ..
        } = *joiner;
        let deadline = now.after(settings.slow.stall_max);
        let holds = Holds::new(membership, seat, None);
        self.answer(token, downstream, &answer, deadline, Some(holds));
    }

    fn waiting_settings(&mut self, token: Token) -> Option<Arc<Fanout>> {
        match &self.subscriber(token)?.stage {
            Stage::Waiting(waiting) => Some(waiting.joiner.membership.channel().settings()),
            Stage::Reading(_) | Stage::Ending(_) | Stage::Gone => None,
        }
    }

    /// Whether a page of another origin may read the stream is the app's to say. A head without its
    /// word would end a native EventSource for good, so such a client waits on.
    fn waits_for_cors(&mut self, token: Token) -> bool {
        self.subscriber(token).is_some_and(|subscriber| {
            matches!(&subscriber.stage, Stage::Waiting(w) if w.joiner.request.origin.is_some())
        })
    }

    fn turned_away(
        &self,
        joiner: &Joiner,
        outcome: Outcome,
        view: &View,
        now: Millis,
    ) -> Arc<Answer> {
        let mut answer = self.refusal(joiner, outcome, view, now);
        if joiner.request.settings.cors.is_some() {
            joiner
                .request
                .allow(&mut Arc::make_mut(&mut answer).headers);
        }
        answer
    }

    fn refusal(&self, joiner: &Joiner, outcome: Outcome, view: &View, now: Millis) -> Arc<Answer> {
        if let (Outcome::Refused, Some(Refusal::Whole(refusal))) = (outcome, &view.refusal) {
            return refusal.clone();
        }
        let (reader, origin) = (joiner.request.reader, joiner.request.origin.as_deref());
        Arc::new(match (outcome, reader) {
            (Outcome::Unreachable | Outcome::Cut | Outcome::Broken, Reader::Other) => Answer::text(
                StatusCode::BAD_GATEWAY,
                "the app behind this proxy cannot be reached",
            ),
            _ => {
                self.context.metrics.shed.inc();
                crate::admission::turn_away(
                    &self.context.admission,
                    reader == Reader::EventSource,
                    origin,
                    chance::random(),
                    now,
                )
            }
        })
    }

    /// Answers the client of a place and is done with it.
    fn answer(
        &mut self,
        token: Token,
        downstream: Downstream,
        answer: &Answer,
        deadline: Millis,
        holds: Option<Holds>,
    ) {
        let Some((sink, head)) = downstream.answer(answer) else {
            return self.remove(token, EndReason::ClientLeft);
        };
        let ending = Ending {
            sink,
            out: [head, answer.body.clone()],
            kind: EndKind::Complete,
            deadline,
            _holds: holds,
        };
        self.see_off(token, ending, clock::now());
    }

    /// Answers a joiner that is to get nothing more: 204 keeps an EventSource from coming back (HTML
    /// standard, section 9.2.3).
    fn dismiss(&mut self, token: Token, settings: &Fanout, head: &JoinersHead, now: Millis) {
        let Stage::Waiting(waiting) = self.take(token, EndReason::UpstreamEnded) else {
            return;
        };
        let fields = head.headers.iter();
        let fields = fields.filter(|(name, _)| *name != CONTENT_TYPE).cloned();
        let mut answer = Answer::whole(StatusCode::NO_CONTENT, fields.collect(), "");
        let Joiner {
            request,
            downstream,
            membership,
            seat,
            ..
        } = *waiting.joiner;
        if settings.cors.is_some() {
            request.allow(&mut answer.headers);
        }
        let deadline = now.after(settings.slow.stall_max);
        let holds = Holds::new(membership, seat, None);
        self.answer(token, downstream, &answer, deadline, Some(holds));
    }

    /// Whether a waiting joiner's place may still come.
    fn may_pass(&mut self, token: Token, now: Millis) -> bool {
        self.subscriber(token).is_some_and(|subscriber| {
            let Stage::Waiting(Waiting { joiner, .. }) = &subscriber.stage else {
                return false;
            };
            let id = joiner.request.last_event_id.as_deref();
            let channel = joiner.membership.channel();
            id.is_some_and(|id| channel.may_pass(id, joiner.asked, now))
        })
    }

    /// Where a waiting joiner starts.
    fn placed(&mut self, token: Token, now: Millis) -> Option<Placement> {
        let Stage::Waiting(waiting) = &self.subscriber(token)?.stage else {
            return None;
        };
        let (membership, id) = (
            &waiting.joiner.membership,
            &waiting.joiner.request.last_event_id,
        );
        let (channel, has_id) = (membership.channel().clone(), id.is_some());
        let placement = channel.place(id.as_deref(), membership.joined_at, now);
        self.note_replay(&channel, has_id, &placement);
        Some(placement)
    }

    /// Answers a joiner with the stream.
    fn admit(&mut self, token: Token, settings: &Fanout, head: &JoinersHead, now: Millis) {
        if self.may_pass(token, now) {
            return;
        }
        let Some(placement) = self.placed(token, now) else {
            return;
        };
        if placement.is_done {
            return self.dismiss(token, settings, head, now);
        }
        // It stays a member of its slot.
        let Some(Waiting { joiner, slot, .. }) = self.take_waiting(token) else {
            return;
        };
        let Joiner {
            request,
            downstream,
            membership,
            seat,
            asked,
        } = *joiner;
        let channel = membership.channel().clone();
        let gap = opening::gap_form(settings.gap_notice, request.reader);
        let retry = opening::retry(settings, placement.app_retry, chance::random());
        let block = opening::opening_block(&placement, retry, request.reader, gap);
        let cookies = if membership.opener {
            channel.take_set_cookie()
        } else {
            Vec::new()
        };
        let grant = settings.cors.as_ref();
        let grant = grant.map(|cors| cors::grant(cors, request.origin.as_deref()));
        let own = cookies.into_iter().map(|value| (SET_COOKIE, value));
        let own: Vec<_> = own.chain(grant.into_iter().flatten()).collect();
        let Some((sink, out)) = open_stream(downstream, head, &own, &block) else {
            self.forget_member(slot);
            return self.remove(token, EndReason::ClientLeft);
        };
        let route = &channel.route_metrics;
        route.subscribers_started.inc(sink.protocol());
        let metrics = &self.context.metrics;
        metrics.subscribe_seconds.observe(now.since(asked));
        let counted = route.subscribers.hold(sink.protocol());
        let reading = Reading {
            form: Form {
                framing: sink.framing(),
                gap,
            },
            sink,
            slot,
            seat: self.seat(slot as usize, token.index as usize),
            group: None,
            cursor: placement.cursor,
            replay: placement.head,
            conflated: 0,
            retires: settings.connection_age_max.map(|max| now.after(age(max))),
            out,
            reader: request.reader,
            pace: Pace::Behind(now),
            holds: Holds::new(membership, seat, Some(counted)),
        };
        let beat = reading.next_look(now.after(jittered(settings.heartbeat)));
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        subscriber.stage = Stage::Reading(reading);
        subscriber.wrote = now;
        self.wheel.schedule(token, tick_of(beat));
        self.close_too(token, slot as usize);
        self.drive(token, now);
    }

    fn take_waiting(&mut self, token: Token) -> Option<Waiting> {
        let stage = &mut self.subscriber(token)?.stage;
        if !matches!(stage, Stage::Waiting(_)) {
            return None;
        }
        match std::mem::replace(stage, Stage::Gone) {
            Stage::Waiting(waiting) => Some(waiting),
            Stage::Reading(_) | Stage::Ending(_) | Stage::Gone => None,
        }
    }

    fn note_replay(&self, channel: &Channel, resumed: bool, placement: &Placement) {
        let outcome = match (resumed, placement.hole, placement.cursor == placement.head) {
            _ if placement.is_done => ReplayOutcome::Done,
            (_, Some(hole), _) => {
                channel.route_metrics.gaps.inc(hole.reason);
                ReplayOutcome::Gap
            }
            (false, None, true) => ReplayOutcome::Live,
            (false, None, false) => ReplayOutcome::Late,
            (true, None, true) => ReplayOutcome::Current,
            (true, None, false) => ReplayOutcome::Replayed,
        };
        channel.route_metrics.replays.inc(outcome);
    }
}

impl Subscriber {
    /// Whether the client is gone; registers the waker otherwise.
    pub(super) fn poll_gone(&mut self) -> bool {
        let mut context = Context::from_waker(&self.waker);
        match &mut self.stage {
            Stage::Waiting(waiting) => waiting.joiner.downstream.poll_gone(&mut context).is_ready(),
            Stage::Reading(reading) => reading.sink.poll_gone(&mut context).is_ready(),
            Stage::Ending(ending) => ending.sink.poll_gone(&mut context).is_ready(),
            Stage::Gone => true,
        }
    }
}

/// The sink of a stream that is begun, and the bytes it begins with: the head of all joiners, `own`
/// fields of this one, and the opening block. `None`: gone.
fn open_stream(
    downstream: Downstream,
    head: &JoinersHead,
    own: &[(HeaderName, HeaderValue)],
    block: &[u8],
) -> Option<(Sink, Bytes)> {
    let fields = head.headers.iter().map(|(name, value)| (name, value));
    let own = own.iter().map(|(name, value)| (name, value));
    let (sink, mut out) = downstream.stream(StatusCode::OK, fields.chain(own))?;
    out.extend_from_slice(&opening::framed(block, sink.framing()));
    Some((sink, out.freeze()))
}
