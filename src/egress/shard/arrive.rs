//! Clients come: wait, are admitted, or are answered.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::StatusCode;
use pingora::{
    http::ResponseHeader,
    protocols::http::{date::get_cached_date, v2::server::HttpSession as H2Session},
};

use super::{Shard, Slot, breathe, tick_of};
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
    decide::Reader,
    egress::{
        batch::{Form, Framing},
        handle::{Arrival, Joiner, SlotWake, SubscriberWake, Token},
        opening,
        sink::{Downstream, EndKind, Sink},
        subscriber::{Ending, Holds, Pace, Reading, Stage, Subscriber},
    },
    error::EndReason,
    metrics::labels::ReplayOutcome,
};

impl Shard {
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let now = clock::now();
        match arrival {
            Arrival::Join(joiner) => self.arrive_joiner(joiner, now),
            Arrival::Answer(downstream, answer) => {
                let Some(token) = self.insert(Stage::Gone, now) else {
                    return;
                };
                self.answer(token, downstream, &answer, now);
            }
        }
    }

    fn arrive_joiner(&mut self, joiner: Box<Joiner>, now: Millis) {
        let channel = joiner.membership.channel().clone();
        let slot = self.slot_of(&channel, now);
        let Some(token) = self.insert(Stage::Waiting(joiner), now) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.members += 1;
            slot.waiting.push(token);
        }
        self.context.metrics.waiting_joiners.inc();
        // At once: detects who is gone already, and replaces the waker of pingora's task.
        if self.subscriber(token).is_some_and(Subscriber::poll_gone) {
            self.remove(token, EndReason::ClientLeft);
            return;
        }
        self.settle(token, &channel.view(), now);
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
            listed_behind: false,
        });
        Some(token)
    }

    fn slot_of(&mut self, channel: &Arc<Channel>, now: Millis) -> usize {
        let address = Arc::as_ptr(channel) as usize;
        if let Some(slot) = self.by_channel.get(&address) {
            return *slot;
        }
        let entry = self.slots.vacant_entry();
        let index = entry.key();
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let wake = Arc::new(SlotWake::new(self.shared.clone(), number, channel.head()));
        channel.attach(self.shared.id, wake.clone());
        // Looked at once the channel knows us: what comes later wakes us.
        let swept = channel.head();
        wake.set_swept(swept);
        entry.insert(Slot {
            shard: self.shared.id,
            channel: channel.clone(),
            wake,
            swept,
            wrote: now,
            level: Vec::new(),
            waiting: Vec::new(),
            ahead: Vec::new(),
            members: 0,
            over: false,
        });
        self.by_channel.insert(address, index);
        index
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
            (Phase::Over(outcome), _) => {
                let Some(joiner) = self.take_waiting(token) else {
                    return;
                };
                self.forget_member(joiner.membership.channel());
                if let (Outcome::Refused, Some(Refusal::TooLong)) = (outcome, &view.refusal) {
                    self.remove(token, EndReason::UpstreamRefused);
                    return self.context.relay.relay(joiner);
                }
                let answer = self.turned_away(&joiner, outcome, view, now);
                self.answer(token, joiner.downstream, &answer, now);
            }
            (_, Some(head)) => self.admit(token, &settings, head, now),
            (_, None) => {
                let silent = view
                    .asked_since
                    .is_some_and(|since| now.since(since) >= settings.head_wait);
                if silent && !self.waits_for_cors(token) {
                    self.admit(token, &settings, &JoinersHead::early(&settings), now);
                }
            }
        }
    }

    fn waiting_settings(&mut self, token: Token) -> Option<Arc<Fanout>> {
        match &self.subscriber(token)?.stage {
            Stage::Waiting(joiner) => Some(joiner.membership.channel().settings()),
            Stage::Reading(_) | Stage::Ending(_) | Stage::Gone => None,
        }
    }

    /// Whether a page of another origin may read the stream is the app's to say. A head without its
    /// word would end a native EventSource for good, so such a client waits on.
    fn waits_for_cors(&mut self, token: Token) -> bool {
        self.subscriber(token).is_some_and(|subscriber| {
            matches!(&subscriber.stage, Stage::Waiting(joiner) if joiner.request.origin.is_some())
        })
    }

    /// Takes a joiner out of the waiting ones; it stays counted as a member of its slot.
    pub(super) fn take_waiting(&mut self, token: Token) -> Option<Box<Joiner>> {
        let subscriber = self.subscriber(token)?;
        if !matches!(subscriber.stage, Stage::Waiting(_)) {
            return None;
        }
        let Stage::Waiting(joiner) = std::mem::replace(&mut subscriber.stage, Stage::Gone) else {
            return None;
        };
        self.context.metrics.waiting_joiners.dec();
        let address = Arc::as_ptr(joiner.membership.channel()) as usize;
        if let Some(index) = self.by_channel.get(&address)
            && let Some(slot) = self.slots.get_mut(*index)
        {
            slot.waiting.retain(|other| *other != token);
        }
        Some(joiner)
    }

    /// One member less in the slot of `channel`.
    pub(super) fn forget_member(&mut self, channel: &Arc<Channel>) {
        let address = Arc::as_ptr(channel) as usize;
        if let Some(index) = self.by_channel.get(&address).copied()
            && let Some(slot) = self.slots.get_mut(index)
        {
            slot.members -= 1;
            self.release_if_empty(index);
        }
    }

    fn turned_away(
        &self,
        joiner: &Joiner,
        outcome: Outcome,
        view: &View,
        now: Millis,
    ) -> Arc<Answer> {
        if let (Outcome::Refused, Some(Refusal::Whole(refusal))) = (outcome, &view.refusal) {
            return refusal.clone();
        }
        let (reader, origin) = (joiner.request.reader, joiner.request.origin.as_deref());
        Arc::new(match (outcome, reader) {
            (Outcome::Unreachable | Outcome::Broken, Reader::Other) => Answer::text(
                StatusCode::BAD_GATEWAY,
                "the app behind this proxy cannot be reached",
            ),
            _ => {
                self.context.metrics.shed.inc();
                crate::admission::turn_away(
                    &self.context.admission,
                    reader == Reader::EventSource,
                    origin,
                    rand::random(),
                    now,
                )
            }
        })
    }

    /// Answers `token`'s client and is done with it.
    pub(super) fn answer(
        &mut self,
        token: Token,
        downstream: Downstream,
        answer: &Answer,
        now: Millis,
    ) {
        let ending = match downstream {
            Downstream::H1 { stream, .. } => Some(Ending {
                sink: Sink::h1(stream, Framing::Plain),
                out: answer.to_http1_close(),
                kind: EndKind::Complete,
                since: now,
            }),
            Downstream::H2(session) => h2_answer(*session, answer).map(|sink| Ending {
                sink,
                out: answer.body.clone(),
                kind: EndKind::Complete,
                since: now,
            }),
        };
        match (ending, self.subscriber(token)) {
            (Some(ending), Some(subscriber)) => {
                subscriber.stage = Stage::Ending(ending);
                self.step_ending(token, now);
            }
            _ => self.remove(token, EndReason::ClientLeft),
        }
    }

    /// Answers a joiner with the stream.
    fn admit(&mut self, token: Token, settings: &Fanout, head: &JoinersHead, now: Millis) {
        let Some(joiner) = self.take_waiting(token) else {
            return;
        };
        let Joiner {
            request,
            downstream,
            membership,
            permit,
            asked,
        } = *joiner;
        let channel = membership.channel().clone();
        let placement = channel.place(request.last_event_id.as_deref(), membership.joined_at, now);
        self.note_replay(&channel, request.last_event_id.is_some(), &placement);
        let gap = opening::gap_form(settings.gap_notice, request.reader);
        let retry = opening::retry(settings.retry, placement.app_retry, rand::random());
        let block = opening::opening_block(&placement, retry, request.reader, gap);
        let cookies = if membership.opener {
            channel.take_set_cookie()
        } else {
            Vec::new()
        };
        let Some((sink, out)) = open_stream(downstream, head, &cookies, &block) else {
            self.forget_member(&channel);
            self.remove(token, EndReason::ClientLeft);
            return;
        };
        let route = &channel.route_metrics;
        route.subscribers_started.inc(sink.protocol());
        self.context
            .metrics
            .subscribe_seconds
            .observe(now.since(asked));
        let holds = Holds::new(membership, permit, route.subscribers.hold(sink.protocol()));
        let slot = self.slot_of(&channel, now);
        let reading = Reading {
            form: Form {
                framing: sink.framing(),
                gap,
            },
            sink,
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            cursor: placement.cursor,
            out,
            reader: request.reader,
            pace: Pace::Behind(now),
            holds,
        };
        let Some(subscriber) = self.subscriber(token) else {
            return;
        };
        subscriber.stage = Stage::Reading(reading);
        subscriber.wrote = now;
        let beat = now.after(jittered(settings.heartbeat));
        self.wheel.schedule(token, tick_of(beat));
        if self.draining {
            self.close_too(token);
        }
        self.drive(token, now);
    }

    fn note_replay(&self, channel: &Channel, resumed: bool, placement: &Placement) {
        let outcome = match (resumed, placement.hole, placement.cursor == placement.head) {
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
            Stage::Waiting(joiner) => joiner.downstream.poll_gone(&mut context).is_ready(),
            Stage::Reading(reading) => reading.sink.poll_gone(&mut context).is_ready(),
            Stage::Ending(ending) => ending.sink.poll_gone(&mut context).is_ready(),
            Stage::Gone => true,
        }
    }
}

/// +-10 %, so that a crowd that joined at once does not beat at once.
pub(super) fn jittered(interval: std::time::Duration) -> std::time::Duration {
    interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}

/// The sink of a stream whose head is sent or stands in the bytes returned. `None`: gone.
fn open_stream(
    downstream: Downstream,
    head: &JoinersHead,
    cookies: &[http::HeaderValue],
    block: &[u8],
) -> Option<(Sink, Bytes)> {
    match downstream {
        Downstream::H1 { stream, http10 } => {
            let framing = if http10 {
                Framing::Plain
            } else {
                Framing::Chunked
            };
            let mut out = opening::h1_stream_head(head, cookies, &get_cached_date(), framing);
            out.extend_from_slice(&opening::framed(block, framing));
            Some((Sink::h1(stream, framing), out.freeze()))
        }
        Downstream::H2(mut session) => {
            let mut response = ResponseHeader::build(200, Some(head.headers.len())).ok()?;
            for (name, value) in &head.headers {
                response.append_header(name, value).ok()?;
            }
            for value in cookies {
                response
                    .append_header(http::header::SET_COOKIE, value)
                    .ok()?;
            }
            session
                .write_response_header(Box::new(response), false)
                .ok()?;
            let send = session.take_response_body_writer()?;
            Some((Sink::h2(send), opening::framed(block, Framing::Plain)))
        }
    }
}

/// Sends the head of an answer. `None`: the client is gone.
fn h2_answer(mut session: H2Session, answer: &Answer) -> Option<Sink> {
    let mut response = ResponseHeader::build(answer.status, Some(answer.headers.len())).ok()?;
    for (name, value) in &answer.headers {
        response.append_header(name, value).ok()?;
    }
    session
        .write_response_header(Box::new(response), false)
        .ok()?;
    session.take_response_body_writer().map(Sink::h2)
}
