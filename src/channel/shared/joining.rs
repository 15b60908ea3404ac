//! Who comes, where it starts, and who leaves.

use http::HeaderValue;

use super::Channel;
use crate::{
    channel::{
        state::{Joined, Phase},
        view::{Entry, Placement},
    },
    clock::Millis,
    config::model::GapNotice,
    error::{GapReason, RefuseReason},
};

impl Channel {
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

    pub(in crate::channel) fn leave(&self, now: Millis) {
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
}
