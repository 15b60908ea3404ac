//! Watches the configuration file and publishes what is valid.
//!
//! By polling: a mounted ConfigMap changes by a swap of the symlink `..data`, and change
//! notifications are lost on several file systems. Each poll opens the path anew, links and all, and
//! compares content, so that it does not matter how the file came to differ.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    file::{self, Content, load_content},
    model::Config,
    reload::{Waiting, merge},
};

/// Time between looks at a file.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// A changed file is looked at again after this time, and taken when it has come to rest: not every
/// writer replaces files in one step, and half a file can be valid.
pub const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

/// Looks up an environment variable; outlives the watch's thread.
pub type OwnedEnv = Box<dyn Fn(&str) -> Option<String> + Send>;
/// Told of each reload; runs on a blocking thread.
pub type OnReload = Box<dyn FnMut(Reload<'_>) + Send>;

/// What became of a changed file.
#[derive(Debug, Clone, Copy)]
pub enum Reload<'a> {
    /// It is in force, less what waits for a restart.
    Applied {
        /// What was in force before.
        old: &'a Arc<Config>,
        /// What is in force, published already. The very same as `old` if the file differs in form
        /// only or in what waits, or if a bad edit was taken back.
        new: &'a Arc<Config>,
        /// What takes effect after a restart only.
        waiting: &'a Waiting,
    },
    /// It is bad; nothing changed.
    Rejected {
        /// What is wrong, for people.
        report: &'a str,
    },
    /// Loading or applying it panicked: a bug. It is not tried again until it changes.
    Panicked,
}

/// The configuration file and what it last said.
pub struct Watch {
    path: PathBuf,
    env: OwnedEnv,
    on_reload: OnReload,
    current: Arc<ArcSwap<Config>>,
    /// What the process started with: some of it stays in force until a restart.
    started: Arc<Config>,
    /// Content that was taken or refused last: the same is not looked at twice. `None` before the
    /// first look.
    seen: Option<Content>,
    /// Other content, not yet at rest.
    unsettled: Option<Content>,
}

/// What a look at the file led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// It says what it said before.
    Unchanged,
    /// It differs, and may still be in the middle of a change. Look again soon.
    Unsettled,
    /// It was valid and is in force.
    Taken,
    /// It was bad; nothing changed.
    Refused,
}

/// As `file::read`, but regular files only: opening a pipe would wait for its writer.
fn read(path: &Path) -> Content {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => file::read(path),
        Ok(_) => Content::Unreadable("it is not a regular file".to_owned()),
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

impl Watch {
    /// A watch over the file that `current` was loaded from. What is valid is stored there.
    #[must_use]
    pub fn new(
        current: Arc<ArcSwap<Config>>,
        path: PathBuf,
        env: OwnedEnv,
        on_reload: OnReload,
    ) -> Self {
        Self {
            started: current.load_full(),
            current,
            path,
            env,
            on_reload,
            seen: None,
            unsettled: None,
        }
    }

    /// Looks each `interval` until it is dropped. Reading and checking run on a blocking thread.
    pub async fn run(self, interval: Duration) {
        let watch = Arc::new(Mutex::new(self));
        let mut wait = interval;
        loop {
            tokio::time::sleep(wait).await;
            let polling = Arc::clone(&watch);
            let polled = tokio::task::spawn_blocking(move || polling.lock().poll()).await;
            wait = match polled {
                Ok(Polled::Unsettled) => interval.min(SETTLE_INTERVAL),
                Ok(Polled::Unchanged | Polled::Taken | Polled::Refused) => interval,
                Err(error) => {
                    tracing::error!(%error, "reloading the configuration file failed");
                    (watch.lock().on_reload)(Reload::Panicked);
                    interval
                }
            };
        }
    }

    /// Looks at the file once.
    pub fn poll(&mut self) -> Polled {
        let content = read(&self.path);
        // At the first look the file is usually the one that was loaded, but may have changed since.
        let is_known = match &self.seen {
            Some(seen) => *seen == content,
            None => load_content(&self.path, &content, &self.env)
                .is_ok_and(|config| config == **self.current.load()),
        };
        if is_known {
            self.seen = Some(content);
            self.unsettled = None;
            return Polled::Unchanged;
        }
        if self.unsettled.as_ref() != Some(&content) {
            self.unsettled = Some(content);
            return Polled::Unsettled;
        }
        self.unsettled = None;
        // Taken or refused, it is not looked at again until it differs: one report per content.
        self.seen = Some(content.clone());
        match load_content(&self.path, &content, &self.env) {
            Ok(config) => {
                self.take(&config);
                Polled::Taken
            }
            Err(report) => {
                let report = report.to_string();
                tracing::error!(
                    path = %self.path.display(),
                    "the configuration file is bad; the one in force stays\n{report}"
                );
                (self.on_reload)(Reload::Rejected { report: &report });
                Polled::Refused
            }
        }
    }

    fn take(&mut self, wanted: &Config) {
        let (in_force, waiting) = merge(&self.started, wanted);
        if waiting.is_empty() {
            tracing::info!(path = %self.path.display(), "configuration reloaded");
        } else {
            tracing::warn!(
                path = %self.path.display(),
                sections = waiting.sections.join(", "),
                "configuration reloaded, but these sections take effect after a restart only"
            );
        }
        let old = self.current.load_full();
        let new = if *old == in_force {
            Arc::clone(&old)
        } else {
            Arc::new(in_force)
        };
        self.current.store(Arc::clone(&new));
        (self.on_reload)(Reload::Applied {
            old: &old,
            new: &new,
            waiting: &waiting,
        });
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
