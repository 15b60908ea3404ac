//! Certificates that are renewed while the process runs.
//!
//! By polling and by content, as the configuration file: a mounted Secret changes by a swap of the
//! symlink `..data`. A pair is taken when both files have come to rest and belong together; until then
//! the one in use stays, and clients that are connected never notice.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use super::tls::{self, Certificate, Pair, TlsError};
use crate::{
    clock,
    config::{model::ListenerTls, mount, watch::SETTLE_INTERVAL},
    lifecycle::Lifecycle,
    metrics::{Metrics, labels::RotationOutcome, listener::ListenerMetrics},
};

/// From here on people are told that a certificate expires; whoever renews them does so weeks before.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * DAY);

/// How often they are told.
const TOLD_EACH: Duration = Duration::from_secs(DAY);

const DAY: u64 = 24 * 3_600;

/// A listener's certificate, and the files that it comes from.
pub struct Rotation {
    listener: String,
    files: ListenerTls,
    certificate: Arc<Certificate>,
    not_after: SystemTime,
    metrics: Arc<ListenerMetrics>,
    /// Content that was taken or refused last.
    seen: u64,
    /// Other content, not yet at rest.
    unsettled: Option<u64>,
    /// Why the content of the files is not in use.
    refused: Option<String>,
    /// When people were told last that it expires.
    told: Option<SystemTime>,
    /// Why a renewal cannot be noticed.
    mounts: Vec<String>,
}

/// What a look at the files led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// They say what they said before.
    Unchanged,
    /// They differ, and may still be in the middle of a change. Look again soon.
    Unsettled,
    /// The next handshake uses the new pair.
    Taken,
    /// They are no usable pair; nothing changed.
    Refused,
}

impl Rotation {
    /// Loads the pair.
    ///
    /// # Errors
    /// It cannot be used; says which file and why.
    pub fn load(listener: &str, files: ListenerTls, metrics: &Metrics) -> Result<Self, TlsError> {
        let pair = Pair::read(&files);
        let seen = fingerprint(&pair);
        let (key, not_after) = tls::certify(&files, &pair?)?;
        let paths = [&files.certificate, &files.key];
        let mounts: Vec<_> = paths
            .iter()
            .filter_map(|path| mount::warning(path))
            .collect();
        for warning in &mounts {
            tracing::warn!(listener, "{warning}");
        }
        let metrics = metrics.listener(listener);
        metrics.set_certificate_not_after(not_after);
        Ok(Self {
            listener: listener.to_owned(),
            certificate: Certificate::new(key),
            files,
            not_after,
            metrics,
            seen,
            unsettled: None,
            refused: None,
            told: None,
            mounts,
        })
    }

    /// The certificate in use.
    #[must_use]
    pub const fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    fn look(&mut self) -> Looked {
        let pair = Pair::read(&self.files);
        let content = fingerprint(&pair);
        if content == self.seen {
            self.unsettled = None;
            return Looked::Unchanged;
        }
        if self.unsettled.replace(content) != Some(content) {
            return Looked::Unsettled;
        }
        self.unsettled = None;
        // Taken or refused, it is not looked at again until it differs: one report per content.
        self.seen = content;
        let listener = self.listener.as_str();
        match pair.and_then(|pair| tls::certify(&self.files, &pair)) {
            Ok((key, not_after)) => {
                self.certificate.replace(key);
                self.not_after = not_after;
                self.refused = None;
                self.told = None;
                self.metrics.rotations.inc(RotationOutcome::Applied);
                self.metrics.set_certificate_not_after(not_after);
                tracing::info!(listener, "certificate renewed");
                Looked::Taken
            }
            Err(error) => {
                self.metrics.rotations.inc(RotationOutcome::Rejected);
                tracing::error!(listener, %error, "the new certificate is bad; the one in use stays");
                self.refused = Some(error.to_string());
                Looked::Refused
            }
        }
    }

    /// Days until it expires, if that is soon; 0: it has.
    fn expires_in_days(&self, now: SystemTime) -> Option<u64> {
        let left = self.not_after.duration_since(now).unwrap_or_default();
        (left < EXPIRES_SOON).then_some(left.as_secs() / DAY)
    }

    fn tell_of_expiry(&mut self, now: SystemTime) {
        let Some(days) = self.expires_in_days(now) else {
            return;
        };
        let since = self
            .told
            .map(|told| now.duration_since(told).unwrap_or_default());
        if since.is_none_or(|since| since >= TOLD_EACH) {
            self.told = Some(now);
            tracing::warn!(
                listener = self.listener,
                days,
                "the certificate expires soon"
            );
        }
    }

    /// For `/readyz`.
    fn notes(&self, now: SystemTime) -> impl Iterator<Item = String> {
        let days = self.expires_in_days(now);
        let expires = days.map(|days| match days {
            0 => "its certificate has expired, or does within a day".to_owned(),
            days => format!("its certificate expires in {days} days"),
        });
        let refused = self.refused.as_ref();
        let refused = refused.map(|why| format!("its new certificate is not in use: {why}"));
        let notes = expires
            .into_iter()
            .chain(refused)
            .chain(self.mounts.iter().cloned());
        notes.map(|note| format!("listener {}: {note}", self.listener))
    }
}

/// Tells contents apart; equal ones have equal fingerprints, unreadable ones are told by why.
fn fingerprint(pair: &Result<Pair, TlsError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match pair {
        Ok(pair) => pair.hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

/// The certificates of all listeners.
pub struct Rotations {
    all: Mutex<Vec<Rotation>>,
    lifecycle: Arc<Lifecycle>,
}

impl Rotations {
    pub(super) const fn new(all: Vec<Rotation>, lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            all: Mutex::new(all),
            lifecycle,
        }
    }

    /// Looks at once, and each `interval` then, until it is dropped. Reading and checking run on a
    /// blocking thread.
    pub async fn run(self: Arc<Self>, interval: Duration) {
        loop {
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || this.look(clock::wall())).await;
            let is_settled = looked.unwrap_or_else(|failure| match failure.try_into_panic() {
                // Whoever keeps us running counts it.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends.
                Err(_) => true,
            });
            let wait = if is_settled {
                interval
            } else {
                interval.min(SETTLE_INTERVAL)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks at all files once; `false`: some are in the middle of a change.
    fn look(&self, now: SystemTime) -> bool {
        let mut all = self.all.lock();
        let mut is_settled = true;
        for rotation in all.iter_mut() {
            is_settled &= rotation.look() != Looked::Unsettled;
            rotation.tell_of_expiry(now);
        }
        let notes = all.iter().flat_map(|rotation| rotation.notes(now));
        self.lifecycle.note("certificates", notes.collect());
        is_settled
    }
}

#[cfg(test)]
mod tests;
