//! The only place that reads a clock. The pure core takes `now: Millis` as an argument.

use std::sync::OnceLock;

use tokio::time::Instant;

/// Monotonic milliseconds since the process first asked. Coarse on purpose: eight bytes in every
/// ring entry and subscriber, and more exact than any duration that we configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `self` + `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// Now, monotonic.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub fn now() -> Millis {
    static START: OnceLock<Instant> = OnceLock::new();
    #[cfg(test)]
    if let Some(now) = testing::stopped_at() {
        return now;
    }
    let start = *START.get_or_init(Instant::now);
    Millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The time of day. It jumps: only for dates that others name, never for durations of ours.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(test)]
pub(crate) mod testing {
    use std::{cell::Cell, time::Duration};

    use super::Millis;

    thread_local! {
        static STOPPED_AT: Cell<Option<Millis>> = const { Cell::new(None) };
    }

    pub(super) fn stopped_at() -> Option<Millis> {
        STOPPED_AT.get()
    }

    /// On this thread, time passes only as told, until this is dropped.
    pub(crate) struct Stopped;

    impl Stopped {
        pub(crate) fn at(now: Millis) -> Self {
            STOPPED_AT.set(Some(now));
            Self
        }

        pub(crate) fn pass(&self, time: Duration) {
            STOPPED_AT.set(stopped_at().map(|now| now.after(time)));
        }
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            STOPPED_AT.set(None);
        }
    }
}
