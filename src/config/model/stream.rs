//! Streams of one client's own.

use std::time::Duration;

use super::{Fanout, RetryRange, Watchdog};

/// Settings of a stream route; defaults as for [`Fanout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// A comment line goes to a client after this long without a byte of the app's. Default 15 s,
    /// +-10 %.
    pub heartbeat: Duration,
    /// A client that takes nothing for this long is cut off. Default 10 s.
    pub stall_max: Duration,
    /// Longest silence of the app within an event stream. Default: none.
    pub silence_max: Option<Duration>,
    /// Range of the reconnect time told to a client that is sent away. Default 1 s to 5 s.
    pub retry: RetryRange,
}

impl Stream {
    /// For a client of a fan-out route that may not share its channel.
    #[must_use]
    pub const fn of(fanout: &Fanout) -> Self {
        Self {
            heartbeat: fanout.heartbeat,
            stall_max: fanout.slow.stall_max,
            silence_max: match fanout.watchdog {
                Watchdog::After(silence_max) => Some(silence_max),
                // What the app's pace is, nobody listens for: its bytes pass as they are.
                Watchdog::Auto | Watchdog::Off => None,
            },
            retry: fanout.retry,
        }
    }
}
