//! What came of the last reload, for metrics and `/readyz`.

use parking_lot::Mutex;

use super::model::Config;
use crate::clock::Millis;

/// Shared record of reloads: written by the watch, read by metrics and `/readyz`.
#[derive(Debug)]
pub struct ReloadStatus(Mutex<ReloadState>);

/// What came of the last reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadState {
    /// The file as it stands is in force. `false`: it is bad, and an older one is in force.
    pub success: bool,
    /// When the file was last taken or refused.
    pub at: Millis,
    /// Files taken, the first one included.
    pub successes: u64,
    /// Files refused.
    pub failures: u64,
    /// The report on the file that was refused last; `None` while `success`.
    pub error: Option<String>,
    /// Sections that differ from those that the process started with and take effect only after a
    /// restart.
    pub restart_needed: Vec<&'static str>,
}

impl ReloadStatus {
    /// The state after the first file was taken.
    #[must_use]
    pub const fn started(now: Millis) -> Self {
        Self(Mutex::new(ReloadState {
            success: true,
            at: now,
            successes: 1,
            failures: 0,
            error: None,
            restart_needed: Vec::new(),
        }))
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> ReloadState {
        self.0.lock().clone()
    }

    /// The file was taken.
    pub(super) fn taken(&self, now: Millis, restart_needed: Vec<&'static str>) {
        let mut state = self.0.lock();
        state.success = true;
        state.at = now;
        state.successes += 1;
        state.error = None;
        state.restart_needed = restart_needed;
    }

    /// The file was refused.
    pub(super) fn refused(&self, now: Millis, error: String) {
        let mut state = self.0.lock();
        state.success = false;
        state.at = now;
        state.failures += 1;
        state.error = Some(error);
    }
}

/// Sections of `wanted` that a process which started with `started` cannot take over.
#[must_use]
pub fn restart_needed(started: &Config, wanted: &Config) -> Vec<&'static str> {
    [
        ("listeners", started.listeners != wanted.listeners),
        ("admin", started.admin != wanted.admin),
        ("log", started.log != wanted.log),
        ("threads", started.threads != wanted.threads),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}
