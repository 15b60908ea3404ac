//! How a frozen app is told from a quiet one.

use std::time::Duration;

/// When the silence of an open stream means that the app is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// By the rhythm of the app's comments, if it has one (default).
    Auto,
    /// Never: only the kernel's keep-alive finds a dead connection.
    Off,
    /// After this long.
    After(Duration),
}
