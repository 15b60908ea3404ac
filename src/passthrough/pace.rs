//! How slowly a client may send a request body.
//!
//! Two rules: no silence longer than `limits.body_timeout`, and, once that time was spent on waiting,
//! no average below `limits.body_bytes_per_second_min`. An honest upload over a bad line passes; a
//! byte a minute does not hold a connection of the app for ever.
//!
//! [`Pace`] is the rule, pure. HTTP/1 keeps it where pingora's reads pass through ([`Wait`], in the
//! turnstile). HTTP/2 bodies are read inside pingora, out of our reach: there the request's task is
//! watched from outside ([`Watch`]) and dropped, which resets the stream.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use crate::{
    clock::{self, Millis},
    config::model::Limits,
};

/// A request body came too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body did not arrive in time")
    }
}

impl std::error::Error for TooSlow {}

/// What a client has sent, and for how long it was waited for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    silence_max: Duration,
    bytes_per_second_min: u64,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    /// The pace of a body that has not begun.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            silence_max: limits.body_timeout,
            bytes_per_second_min: u64::try_from(limits.body_bytes_per_second_min)
                .unwrap_or(u64::MAX),
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// How long the next byte may take.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let Some(earned) = self
            .bytes
            .saturating_mul(1_000)
            .checked_div(self.bytes_per_second_min)
        else {
            return self.silence_max;
        };
        let granted = self
            .silence_max
            .saturating_add(Duration::from_millis(earned));
        granted.saturating_sub(self.waited).min(self.silence_max)
    }

    /// `bytes` came after `waited`.
    pub fn received(&mut self, bytes: usize, waited: Duration) {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.waited = self.waited.saturating_add(waited);
    }
}

/// Waits for the bytes of one HTTP/1 request body. Time in which nobody asks for them is not counted.
#[derive(Debug)]
pub struct Wait {
    pace: Pace,
    /// Since when the reader waits.
    since: Option<Millis>,
    /// Rings at the end of patience, or too early: it is set once and outlives the waits that were
    /// short, since patience never ends earlier for a later one.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    /// For a body that has not begun.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            pace: Pace::new(limits),
            since: None,
            alarm: None,
        }
    }

    /// There is nothing to read now. Ready when that was so for too long.
    pub fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(clock::now);
        loop {
            if let Some(alarm) = &mut self.alarm {
                ready!(alarm.as_mut().poll(cx));
                self.alarm = None;
            }
            let waited = clock::now().since(since);
            let left = self.pace.patience().saturating_sub(waited);
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.alarm = Some(Box::pin(sleep(left)));
        }
    }

    /// `bytes` came.
    pub fn received(&mut self, bytes: usize) {
        let waited = self.since.take().map(|since| clock::now().since(since));
        self.pace.received(bytes, waited.unwrap_or_default());
    }
}

/// Watches one HTTP/2 request body from outside of what reads it.
#[derive(Debug)]
pub struct Watch {
    state: Mutex<Watched>,
    /// What the app may take for each piece. From outside its slowness looks like the client's, so
    /// the client is given that much more.
    allowance: Duration,
}

#[derive(Debug)]
struct Watched {
    pace: Pace,
    /// Since when the client is waited for; `None` before the app is connected, and after the end.
    since: Option<Millis>,
}

impl Watch {
    /// A watch over a body whose pieces the app takes within `allowance` each.
    #[must_use]
    pub fn new(limits: &Limits, allowance: Duration) -> Self {
        Self {
            state: Mutex::new(Watched {
                pace: Pace::new(limits),
                since: None,
            }),
            allowance,
        }
    }

    /// The app is connected: from now on the client is waited for.
    pub fn begin(&self, now: Millis) {
        self.state.lock().since = Some(now);
    }

    /// A piece of `bytes` came; the last one ends the watch.
    pub fn received(&self, bytes: usize, is_last: bool, now: Millis) {
        let mut state = self.state.lock();
        if let Some(since) = state.since.take() {
            state.pace.received(bytes, now.since(since));
        }
        state.since = (!is_last).then_some(now);
    }

    /// Ends when the body is too slow, and never if it is not.
    pub async fn too_slow(&self) {
        loop {
            let left = self.left(clock::now());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    /// How long to wait before looking again.
    fn left(&self, now: Millis) -> Duration {
        let state = self.state.lock();
        match state.since {
            Some(since) => {
                let patience = state.pace.patience().saturating_add(self.allowance);
                patience.saturating_sub(now.since(since))
            }
            None => state.pace.silence_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes_per_second_min: u64) -> Pace {
        Pace {
            silence_max: Duration::from_secs(60),
            bytes_per_second_min,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// Feeds pieces of `bytes`, each after `seconds`; how many come before patience ends, of `most`.
    fn accepted(mut pace: Pace, bytes: usize, seconds: u64, most: usize) -> usize {
        let waited = Duration::from_secs(seconds);
        (0..most)
            .take_while(|_| {
                let in_time = waited <= pace.patience();
                pace.received(bytes, waited);
                in_time
            })
            .count()
    }

    #[test]
    fn slow_but_honest_uploads_pass_and_drips_end() {
        for (rate, bytes, seconds, expected) in [
            // No silence beyond the longest one, whatever came before.
            (240, 1 << 30, 61, 0),
            (240, 1 << 20, 60, 1_000),
            // A byte a second, a byte a minute.
            (240, 1, 1, 60),
            (240, 1, 60, 1),
            // Just above and just below the least rate.
            (240, 241, 1, 1_000),
            (240, 120, 1, 119),
            // Any rate will do.
            (0, 1, 60, 1_000),
        ] {
            assert_eq!(
                accepted(pace(rate), bytes, seconds, 1_000),
                expected,
                "{bytes} bytes each {seconds} s at {rate} B/s"
            );
        }
    }

    #[test]
    fn what_came_fast_does_not_excuse_a_silence() {
        let mut pace = pace(240);
        pace.received(1 << 30, Duration::from_secs(1));
        assert_eq!(pace.patience(), Duration::from_secs(60));
        pace.received(usize::MAX, Duration::MAX);
        assert!(pace.patience() <= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_for_silence_and_not_before_the_app_is_there_or_after_the_end() {
        let hour = Duration::from_secs(3_600);
        let watch = |begun: bool| {
            let watch = Watch {
                state: Mutex::new(Watched {
                    pace: pace(240),
                    since: None,
                }),
                allowance: Duration::from_secs(30),
            };
            if begun {
                watch.begin(clock::now());
            }
            watch
        };
        let early = watch(false);
        assert!(tokio::time::timeout(hour, early.too_slow()).await.is_err());
        let ended = watch(true);
        ended.received(1, true, clock::now());
        assert!(tokio::time::timeout(hour, ended.too_slow()).await.is_err());

        let silent = watch(true);
        silent.received(1, false, clock::now());
        let begun = clock::now();
        silent.too_slow().await;
        let took = clock::now().since(begun);
        assert!((89..=91).contains(&took.as_secs()), "{took:?}");
    }
}
