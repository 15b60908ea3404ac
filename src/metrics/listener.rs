//! The metrics of one listener: its certificate.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::{family::Family, gauge::Gauge};

use super::{
    CountFamily, Labels, Registrar,
    cell::{By, Count},
    labels::RotationOutcome,
    with,
};

/// The metrics of one listener that speaks TLS.
#[derive(Debug)]
pub struct ListenerMetrics {
    not_after: Gauge<f64, AtomicU64>,
    /// Changed certificate files seen.
    pub rotations: By<RotationOutcome, Count>,
}

impl ListenerMetrics {
    /// Notes when the certificate in use expires.
    pub fn set_certificate_not_after(&self, not_after: SystemTime) {
        let since_epoch = not_after.duration_since(SystemTime::UNIX_EPOCH);
        let since_epoch = since_epoch.unwrap_or(Duration::ZERO);
        self.not_after.set(since_epoch.as_secs_f64());
    }
}

/// What [`ListenerMetrics`] are taken from.
#[derive(Debug)]
pub(super) struct ListenerFamilies {
    not_after: Family<Labels, Gauge<f64, AtomicU64>>,
    rotations: CountFamily,
}

impl ListenerFamilies {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            not_after: r.family(
                "certificate_not_after_seconds",
                "When the certificate in use expires, or the first of its chain, in seconds since 1970",
            ),
            rotations: r.family(
                "certificate_rotations",
                "Changed certificate files seen",
            ),
        }
    }

    pub(super) fn resolve(&self, listener: &str) -> ListenerMetrics {
        let labels: Labels = vec![("listener", listener.to_owned())];
        ListenerMetrics {
            not_after: self.not_after.get_or_create_owned(&labels),
            rotations: By::new(|outcome| {
                let labels = with(labels.clone(), outcome);
                Count(self.rotations.get_or_create_owned(&labels))
            }),
        }
    }
}
