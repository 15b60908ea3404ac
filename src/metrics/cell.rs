//! What call sites hold: cheap, shared handles that were resolved to their time series once.

use std::{fmt, time::Duration};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

use super::labels::Label;

/// A counter.
#[derive(Debug, Clone, Default)]
pub struct Count(pub(super) Counter);

impl Count {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// `n` more. Hot paths count in a plain integer of their own and add it up now and then.
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0.inc_by(n);
        }
    }

    /// The value so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A gauge: something that there is a number of right now.
#[derive(Debug, Clone, Default)]
pub struct Level(pub(super) Gauge);

impl Level {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// One less.
    pub fn dec(&self) {
        self.0.dec();
    }

    /// More or, with a negative `n`, less.
    pub fn add(&self, n: i64) {
        self.0.inc_by(n);
    }

    /// Exactly `n`.
    pub fn set(&self, n: usize) {
        self.0.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.get()
    }

    /// Counts one more until the returned guard is dropped. Prefer it to `inc` and `dec`: it cannot
    /// drift.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.inc();
        Held(self.clone())
    }
}

/// One unit of a [`Level`]; dropping it takes the unit back.
#[derive(Debug)]
pub struct Held(Level);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A histogram of durations, in seconds.
#[derive(Debug, Clone)]
pub struct Timing(pub(super) Histogram);

impl Timing {
    /// Notes one duration. Takes a short lock: once a sweep, never once a subscriber.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }
}

/// One cell for each value of a closed label set.
#[derive(Clone)]
pub struct By<L, M> {
    /// In the order of `L::all()`.
    cells: Box<[(L, M)]>,
}

impl<L: Label, M> By<L, M> {
    /// Makes the cells.
    pub(super) fn new(mut cell: impl FnMut(L) -> M) -> Self {
        Self {
            cells: L::all().iter().map(|&label| (label, cell(label))).collect(),
        }
    }

    /// The cell of `label`. A handful of values: a scan is as quick as a table, and total.
    fn at(&self, label: L) -> Option<&M> {
        debug_assert!(
            self.cells.iter().any(|(l, _)| *l == label),
            "Label::all() is complete"
        );
        self.cells
            .iter()
            .find(|(l, _)| *l == label)
            .map(|(_, cell)| cell)
    }
}

impl<L: Label> By<L, Count> {
    /// One more of `label`.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// `n` more of `label`.
    pub fn add(&self, label: L, n: u64) {
        if let Some(cell) = self.at(label) {
            cell.add(n);
        }
    }

    /// The count of `label` so far.
    #[must_use]
    pub fn get(&self, label: L) -> u64 {
        self.at(label).map_or(0, Count::get)
    }
}

impl<L: Label> By<L, Level> {
    /// The gauge of `label`.
    #[must_use]
    pub fn level(&self, label: L) -> Level {
        self.at(label).cloned().unwrap_or_default()
    }

    /// Counts one more of `label` until the returned guard is dropped.
    #[must_use]
    pub fn hold(&self, label: L) -> Held {
        self.level(label).hold()
    }

    /// The number of `label` now.
    #[must_use]
    pub fn get(&self, label: L) -> i64 {
        self.at(label).map_or(0, Level::get)
    }
}

impl<L, M> fmt::Debug for By<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("By")
            .field("cells", &self.cells.len())
            .finish()
    }
}
