//! Whether the app still lets in the bearer of a channel's credentials. Pure.
//!
//! A channel of one identity may live for days, while its session ends after an hour. So an answer
//! of the app to the channel's own request counts for `reauth` only; who joins later waits until the
//! app has answered such a request again. There is one at a time, for all who wait.

use std::time::Duration;

use super::state::Next;
use crate::clock::Millis;

/// What a channel knows of its credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proof {
    /// When the app last answered them with a stream.
    given: Option<Millis>,
    /// When a joiner last had to wait for a new answer.
    wanted: Millis,
    /// Somebody is at work to get one.
    asking: bool,
}

impl Proof {
    /// Whether a client that joined then needs no newer answer. `None`: nobody ever does.
    #[must_use]
    pub fn holds_for(&self, joined: Millis, reauth: Option<Duration>) -> bool {
        let is_fresh = |max| self.given.is_some_and(|given| joined.since(given) < max);
        reauth.is_none_or(is_fresh)
    }

    /// A joiner waits for a new answer. `true`: nobody is at work to get one.
    pub fn want(&mut self, now: Millis) -> bool {
        self.wanted = now;
        !std::mem::replace(&mut self.asking, true)
    }

    /// The app answered with a stream.
    pub fn give(&mut self, now: Millis) {
        self.given = Some(now);
    }

    /// Who is at work asks whether to go on: for as long as somebody may wait. A joiner does so for
    /// `open_wait`.
    pub fn go_on(&mut self, open_wait: Duration, now: Millis) -> Next {
        let is_given = self.given.is_some_and(|given| given >= self.wanted);
        if !is_given && !self.wait_left(open_wait, now).is_zero() {
            return Next::Retry;
        }
        self.stop();
        Next::Stop
    }

    /// For how long the last joiner may still wait for an answer.
    #[must_use]
    pub fn wait_left(&self, open_wait: Duration, now: Millis) -> Duration {
        self.wanted.after(open_wait).since(now)
    }

    /// Nobody is at work any more.
    pub fn stop(&mut self) {
        self.asking = false;
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    const REAUTH: Option<Duration> = Some(Duration::from_secs(60));
    const OPEN_WAIT: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_holds_for_so_long_and_a_later_one_for_whoever_waits() {
        let mut proof = Proof::default();
        assert!(!proof.holds_for(Millis(0), REAUTH), "never asked");
        assert!(proof.holds_for(Millis(0), None), "off");
        proof.give(Millis(1_000));
        for (joined, expected) in [(500, true), (1_000, true), (60_999, true), (61_000, false)] {
            assert_eq!(
                proof.holds_for(Millis(joined), REAUTH),
                expected,
                "{joined}"
            );
        }
        proof.give(Millis(500_000));
        assert!(proof.holds_for(Millis(61_000), REAUTH));
    }

    #[test]
    fn one_asks_for_all_who_wait_and_for_as_long_as_one_of_them_may() {
        let mut proof = Proof::default();
        assert!(proof.want(Millis(0)));
        assert!(!proof.want(Millis(5_000)));
        assert_eq!(proof.go_on(OPEN_WAIT, Millis(14_999)), Next::Retry);
        assert_eq!(proof.go_on(OPEN_WAIT, Millis(15_000)), Next::Stop);
        assert!(
            proof.want(Millis(15_001)),
            "the next joiner has it begun anew"
        );
        proof.give(Millis(15_002));
        assert_eq!(proof.go_on(OPEN_WAIT, Millis(15_003)), Next::Stop);
    }

    /// Whatever comes in whatever order: one request at a time, nobody is let in on an answer that is
    /// too old, and nobody waits while nobody asks.
    #[test]
    fn a_crowd_over_a_long_time() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut proof = Proof::default();
            let (mut now, mut given, mut asking) = (0_u64, None::<u64>, 0_u32);
            let mut waiting: Vec<u64> = Vec::new();
            for _ in 0..2_000 {
                now += random.random_range(0..4_000);
                waiting.retain(|joined| now - joined < 10_000);
                match random.random_range(0..6) {
                    0..=2 if !proof.holds_for(Millis(now), REAUTH) => {
                        asking += u32::from(proof.want(Millis(now)));
                        waiting.push(now);
                    }
                    // The channel's own reader opened its stream again.
                    3 if random.random_range(0..20) == 0 => {
                        proof.give(Millis(now));
                        given = Some(now);
                    }
                    4 if asking == 1 && random.random_range(0..4) == 0 => {
                        proof.give(Millis(now));
                        proof.stop();
                        (given, asking) = (Some(now), 0);
                    }
                    5 if asking == 1 && proof.go_on(OPEN_WAIT, Millis(now)) == Next::Stop => {
                        asking = 0;
                    }
                    _ => {}
                }
                assert!(asking <= 1, "seed {seed}: one at a time");
                waiting.retain(|joined| {
                    let let_in = proof.holds_for(Millis(*joined), REAUTH);
                    assert_eq!(let_in, given.is_some_and(|at| at + 60_000 > *joined));
                    !let_in
                });
                assert!(waiting.is_empty() || asking == 1, "seed {seed}: forgotten");
            }
        }
    }
}
