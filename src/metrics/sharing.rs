//! The metrics of one route about who shares, and who may not.

use super::{
    CountFamily, Registrar,
    cell::{By, Count},
    counts,
    labels::ReauthOutcome,
};

/// Who shares, and who may not.
#[derive(Debug)]
pub struct SharingMetrics {
    /// Requests by which channels asked whether their credentials still hold.
    pub reauths: By<ReauthOutcome, Count>,
}

/// What [`SharingMetrics`] are taken from.
#[derive(Debug)]
pub(super) struct SharingFamilies {
    reauths: CountFamily,
}

impl SharingFamilies {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            reauths: r.family(
                "reauths",
                "Requests that asked whether a channel's credentials still hold",
            ),
        }
    }

    pub(super) fn resolve(&self, route: &str) -> SharingMetrics {
        SharingMetrics {
            reauths: counts(&self.reauths, route),
        }
    }
}
