//! The life of a channel as a state machine. Pure: time is an argument, and what follows from an
//! input is returned, never done here.
//!
//! ```text
//!            join                 head                     cut, members > 0
//!   Idle ───────────► Opening ───────────► Live ─────────────────────────┐
//!    ▲                 │  ▲ │                │                            │
//!    │   nobody left   │  │ └── failed ──┐   │ end (pass), cut and empty  │
//!    ├─────────────────┘  └──────────────┘   │                            │
//!    ├───────────────────────────────────────┘◄── Opening (reconnect) ◄───┘
//!    └─► Over: linger passed, app refused, unreachable, cut (final), retired
//! ```
//!
//! Under `on_end: final` the app's end leads from Live to Complete instead, where nothing more is
//! asked for. A reader task runs exactly in `Opening` and `Live`, so there is one upstream at most.

use std::time::Duration;

use crate::{clock::Millis, config::model::OnEnd};

/// Where a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No upstream; the ring is kept for the linger.
    Idle,
    /// The reader tries to get a stream.
    Opening,
    /// The upstream stream is open.
    Live,
    /// The app's answer is whole, and kept for who asks again (`on_end: final`).
    Complete,
    /// Nothing more will happen here; a new joiner gets a new channel.
    Over(Outcome),
}

/// Why a channel is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody came back within the linger.
    Lingered,
    /// The app answered with something that is no event stream.
    Refused,
    /// The app could not be reached within `open_wait`.
    Unreachable,
    /// The app had no room within `open_wait`: all connections to it are in use, or too many attempts.
    Busy,
    /// The app's one answer broke off (`on_end: final`): another try would give another answer.
    Cut,
    /// A reload removed or changed the route.
    Retired,
    /// A reload changed who may share it: nobody stays with others any longer.
    Revoked,
    /// Its reader panicked.
    Broken,
}

/// What a joiner meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It is the one for whom a reader must be started.
    MustOpen,
    /// A reader is at work, the stream is live, or all that it brought is kept.
    Joined,
    /// The channel is over: make a new one.
    TooLate,
}

/// What the reader does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another try, after the backoff.
    Retry,
    /// The reader's work is done.
    Stop,
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The first stream of this life.
    First,
    /// A later one: what the app sent in between is unknown, so a gap is due.
    Again,
    /// A later one, whose gap was announced when it was asked for.
    Announced,
    /// Nobody wants it any more.
    Unwanted,
}

/// Settings that the machine needs at a transition.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How long an empty channel is kept.
    pub linger: Duration,
    /// How long a cold channel may try.
    pub open_wait: Duration,
    /// What the app's end means.
    pub on_end: OnEnd,
}

/// What the app gives after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCut {
    /// What comes next, or the same from where it broke.
    GoesOn,
    /// One answer once more, which is another one.
    StartsOver,
}

/// The state of one channel.
#[derive(Debug)]
pub struct State {
    phase: Phase,
    members: usize,
    /// When the last member left; `None` while there is one.
    empty_since: Option<Millis>,
    /// When the current series of tries began.
    opening_since: Millis,
    /// A stream was open once in this life.
    opened: bool,
    /// Streams opened after the first.
    reopened: u64,
    /// A stream was lost or ended, and nobody was told of a gap yet.
    gap_due: bool,
}

impl State {
    /// A new channel, empty and idle.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self {
            phase: Phase::Idle,
            members: 0,
            empty_since: Some(now),
            opening_since: now,
            opened: false,
            reopened: 0,
            gap_due: false,
        }
    }

    /// Where the channel stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Subscribers, waiting ones included.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members
    }

    /// Streams opened after the first one of this life.
    #[must_use]
    pub const fn reopened(&self) -> u64 {
        self.reopened
    }

    /// A stream was open once.
    #[must_use]
    pub const fn opened(&self) -> bool {
        self.opened
    }

    /// When the current series of tries began.
    #[must_use]
    pub const fn opening_since(&self) -> Millis {
        self.opening_since
    }

    /// A client joins.
    pub fn join(&mut self, now: Millis) -> Joined {
        let joined = match self.phase {
            Phase::Over(_) => return Joined::TooLate,
            Phase::Idle => {
                self.phase = Phase::Opening;
                self.opening_since = now;
                Joined::MustOpen
            }
            Phase::Opening | Phase::Live | Phase::Complete => Joined::Joined,
        };
        self.members += 1;
        self.empty_since = None;
        self.check_invariants();
        joined
    }

    /// A client is gone.
    pub fn leave(&mut self, now: Millis) {
        debug_assert!(self.members > 0, "only a member leaves");
        self.members = self.members.saturating_sub(1);
        if self.members == 0 {
            self.empty_since = Some(now);
        }
        self.check_invariants();
    }

    /// The app answered with an event stream.
    pub fn head(&mut self) -> Opened {
        if self.phase != Phase::Opening {
            return Opened::Unwanted;
        }
        self.phase = Phase::Live;
        let opened = match (self.opened, self.take_gap_due()) {
            (false, _) => Opened::First,
            (true, true) => Opened::Again,
            (true, false) => Opened::Announced,
        };
        self.reopened += u64::from(self.opened);
        self.opened = true;
        self.check_invariants();
        opened
    }

    /// Whether a gap is to be announced now; it is the caller's to do so.
    pub fn take_gap_due(&mut self) -> bool {
        std::mem::take(&mut self.gap_due)
    }

    /// A try failed in a way that may pass; if it was the last one, the channel is over by `outcome`.
    pub fn failed(&mut self, outcome: Outcome, policy: &Policy, now: Millis) -> Next {
        if self.phase != Phase::Opening {
            return Next::Stop;
        }
        let next = if self.members == 0 {
            // Never reconnect in linger: nobody would see what it brings.
            self.phase = Phase::Idle;
            Next::Stop
        } else if !self.opened && now.since(self.opening_since) >= policy.open_wait {
            self.phase = Phase::Over(outcome);
            Next::Stop
        } else {
            Next::Retry
        };
        self.check_invariants();
        next
    }

    /// The app answered with something else.
    pub fn refused(&mut self) {
        self.finish(Outcome::Refused);
    }

    /// The stream broke.
    pub fn cut(&mut self, on_cut: OnCut, now: Millis) -> Next {
        if self.phase != Phase::Live {
            return Next::Stop;
        }
        if on_cut == OnCut::StartsOver {
            self.finish(Outcome::Cut);
            return Next::Stop;
        }
        self.reopen(now)
    }

    fn reopen(&mut self, now: Millis) -> Next {
        self.gap_due = true;
        if self.members == 0 {
            self.phase = Phase::Idle;
            return Next::Stop;
        }
        self.phase = Phase::Opening;
        self.opening_since = now;
        self.check_invariants();
        Next::Retry
    }

    /// The app ended the stream. Unless it is to be opened again, its readers are to be told.
    pub fn ended(&mut self, policy: &Policy, now: Millis) -> Next {
        if self.phase != Phase::Live {
            return Next::Stop;
        }
        match policy.on_end {
            OnEnd::Reconnect => return self.reopen(now),
            OnEnd::Pass => {
                self.phase = Phase::Idle;
                self.gap_due = true;
            }
            OnEnd::Final => {
                self.phase = Phase::Complete;
                // Who left before is given the time to come back that counts from the end.
                self.empty_since = self.empty_since.map(|_| now);
            }
        }
        self.check_invariants();
        Next::Stop
    }

    /// Time passes. `true`: the linger is over, and so is the channel.
    pub fn tick(&mut self, policy: &Policy, now: Millis) -> bool {
        let passed = self
            .empty_since
            .is_some_and(|since| now.since(since) >= policy.linger);
        if passed && !matches!(self.phase, Phase::Over(_)) {
            self.finish(Outcome::Lingered);
            return true;
        }
        false
    }

    /// The channel is over, whatever it was doing.
    pub fn finish(&mut self, outcome: Outcome) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Over(outcome);
        }
    }

    fn check_invariants(&self) {
        debug_assert_eq!(
            self.members == 0,
            self.empty_since.is_some(),
            "empty is timed"
        );
        debug_assert!(
            !matches!(self.phase, Phase::Live | Phase::Complete) || self.opened,
            "live only after a stream was opened"
        );
        debug_assert!(
            self.phase != Phase::Idle || self.members == 0 || self.opened,
            "members wait in an idle channel only for the end that it told them of"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        linger: Duration::from_secs(5),
        open_wait: Duration::from_secs(10),
        on_end: OnEnd::Pass,
    };
    const FINAL: Policy = Policy {
        on_end: OnEnd::Final,
        ..POLICY
    };

    fn live() -> State {
        let mut state = State::new(Millis(0));
        assert_eq!(state.join(Millis(0)), Joined::MustOpen);
        assert_eq!(state.head(), Opened::First);
        state
    }

    #[test]
    fn only_the_first_joiner_opens() {
        let mut state = State::new(Millis(0));
        let joins: Vec<Joined> = (0..5).map(|n| state.join(Millis(n))).collect();
        assert_eq!(joins.iter().filter(|j| **j == Joined::MustOpen).count(), 1);
        assert_eq!((state.phase(), state.members()), (Phase::Opening, 5));
    }

    #[test]
    fn leaving_and_rejoining_within_the_linger_keeps_the_upstream() {
        let mut state = live();
        state.leave(Millis(10));
        assert!(!state.tick(&POLICY, Millis(4_000)));
        assert_eq!(state.join(Millis(4_500)), Joined::Joined);
        assert!(!state.tick(&POLICY, Millis(60_000)), "a member holds it");
        assert_eq!(state.phase(), Phase::Live);
    }

    #[test]
    fn an_empty_channel_is_over_after_the_linger() {
        let mut state = live();
        state.leave(Millis(1_000));
        assert!(!state.tick(&POLICY, Millis(5_999)));
        assert!(state.tick(&POLICY, Millis(6_000)));
        assert_eq!(state.join(Millis(6_001)), Joined::TooLate);
    }

    #[test]
    fn a_cut_reconnects_while_there_is_a_member_and_never_in_linger() {
        let mut state = live();
        assert_eq!(state.cut(OnCut::GoesOn, Millis(5)), Next::Retry);
        assert_eq!(
            state.failed(Outcome::Unreachable, &POLICY, Millis(100_000)),
            Next::Retry,
            "warm: never gives up"
        );
        assert_eq!(state.head(), Opened::Again);
        state.leave(Millis(100_001));
        assert_eq!(state.cut(OnCut::GoesOn, Millis(100_002)), Next::Stop);
        assert_eq!(state.phase(), Phase::Idle);
        assert_eq!(
            state.join(Millis(100_003)),
            Joined::MustOpen,
            "same life, new stream"
        );
        assert!(state.take_gap_due());
        assert_eq!(state.head(), Opened::Announced, "once is enough");
        assert_eq!(state.reopened(), 2);
    }

    #[test]
    fn a_cold_channel_gives_up_after_open_wait() {
        let mut state = State::new(Millis(0));
        state.join(Millis(0));
        assert_eq!(
            state.failed(Outcome::Unreachable, &POLICY, Millis(9_999)),
            Next::Retry
        );
        assert_eq!(
            state.failed(Outcome::Unreachable, &POLICY, Millis(10_000)),
            Next::Stop
        );
        assert_eq!(state.phase(), Phase::Over(Outcome::Unreachable));
        state.leave(Millis(10_001));
        assert_eq!(state.head(), Opened::Unwanted);
    }

    #[test]
    fn the_apps_end_passes_or_reconnects() {
        let mut state = live();
        assert_eq!(state.ended(&POLICY, Millis(1)), Next::Stop);
        assert_eq!(state.phase(), Phase::Idle);
        assert_eq!(state.join(Millis(2)), Joined::MustOpen);

        let endless = Policy {
            on_end: OnEnd::Reconnect,
            ..POLICY
        };
        let mut state = live();
        assert_eq!(state.ended(&endless, Millis(1)), Next::Retry);
        assert_eq!(state.phase(), Phase::Opening);
    }

    #[test]
    fn a_final_answer_is_kept_for_the_linger_and_never_asked_for_again() {
        let mut state = live();
        state.leave(Millis(1_000));
        assert_eq!(state.ended(&FINAL, Millis(3_000)), Next::Stop);
        assert_eq!(state.phase(), Phase::Complete);
        assert!(!state.tick(&FINAL, Millis(7_999)), "counts from the end");
        assert_eq!(state.join(Millis(7_999)), Joined::Joined);
        assert!(!state.tick(&FINAL, Millis(60_000)), "somebody reads it");
        state.leave(Millis(60_000));
        assert!(state.tick(&FINAL, Millis(65_000)));
        assert_eq!(state.join(Millis(65_000)), Joined::TooLate);
    }

    #[test]
    fn a_final_answer_that_breaks_off_is_over_unless_the_app_resumes() {
        let mut state = live();
        assert_eq!(state.cut(OnCut::StartsOver, Millis(1)), Next::Stop);
        assert_eq!(state.phase(), Phase::Over(Outcome::Cut));
        assert_eq!(state.join(Millis(2)), Joined::TooLate);

        let mut state = live();
        assert_eq!(state.cut(OnCut::GoesOn, Millis(1)), Next::Retry);
        assert_eq!(state.head(), Opened::Again);
        assert_eq!(state.ended(&FINAL, Millis(2)), Next::Stop);
        assert_eq!(state.phase(), Phase::Complete);
    }

    #[test]
    fn what_is_over_stays_over() {
        let mut state = live();
        state.refused();
        for outcome in [Outcome::Retired, Outcome::Broken] {
            state.finish(outcome);
            assert_eq!(state.phase(), Phase::Over(Outcome::Refused));
        }
        assert_eq!(state.cut(OnCut::GoesOn, Millis(1)), Next::Stop);
        assert_eq!(state.ended(&POLICY, Millis(1)), Next::Stop);
        assert_eq!(
            state.failed(Outcome::Unreachable, &POLICY, Millis(1)),
            Next::Stop
        );
        assert!(!state.tick(&POLICY, Millis(1)));
    }
}
