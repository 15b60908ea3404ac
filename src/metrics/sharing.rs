//! The metrics of one route about who shares, and who may not.

use super::{
    CountFamily, LevelFamily, Registrar,
    cell::{By, Count, Level},
    counts,
    labels::{Hint, ReauthOutcome},
    labels_of, levels,
};

/// Who shares, and who may not.
#[derive(Debug)]
pub struct SharingMetrics {
    /// Requests by which channels asked whether their credentials still hold.
    pub reauths: By<ReauthOutcome, Count>,
    /// Requests that got a stream of their own, because the app marks the shared one.
    pub unshared: Count,
    /// 1 for a sign that a setting does not fit.
    pub hints: By<Hint, Level>,
}

/// What [`SharingMetrics`] are taken from.
#[derive(Debug)]
pub(super) struct SharingFamilies {
    reauths: CountFamily,
    unshared: CountFamily,
    hints: LevelFamily,
}

impl SharingFamilies {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            reauths: r.family(
                "reauths",
                "Requests that asked whether a channel's credentials still hold",
            ),
            unshared: r.family(
                "unshared_requests",
                "Requests with a stream of their own, because strict keeps the shared one, which is marked, from them",
            ),
            hints: r.family(
                "hints",
                "1 while there are signs that a setting does not fit; /channels says more",
            ),
        }
    }

    pub(super) fn resolve(&self, route: &str) -> SharingMetrics {
        SharingMetrics {
            reauths: counts(&self.reauths, route),
            hints: levels(&self.hints, route),
            unshared: Count(self.unshared.get_or_create_owned(&labels_of(route))),
        }
    }
}
