//! The metrics of one route about who shares, and who may not.

use super::{
    CountFamily, Registrar,
    cell::{By, Count},
    counts,
    labels::ReauthOutcome,
    labels_of,
};

/// Who shares, and who may not.
#[derive(Debug)]
pub struct SharingMetrics {
    /// Requests by which channels asked whether their credentials still hold.
    pub reauths: By<ReauthOutcome, Count>,
    /// Requests that got a stream of their own, because the app marks the shared one.
    pub unshared: Count,
}

/// What [`SharingMetrics`] are taken from.
#[derive(Debug)]
pub(super) struct SharingFamilies {
    reauths: CountFamily,
    unshared: CountFamily,
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
                "Requests passed through because strict keeps a stream that is marked private from them",
            ),
        }
    }

    pub(super) fn resolve(&self, route: &str) -> SharingMetrics {
        SharingMetrics {
            reauths: counts(&self.reauths, route),
            unshared: Count(self.unshared.get_or_create_owned(&labels_of(route))),
        }
    }
}
