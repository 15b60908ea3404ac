//! Watches the configuration file and publishes what is valid.
//!
//! By polling: a mounted ConfigMap changes by a swap of the symlink `..data`, and change
//! notifications are lost on several file systems. Each poll opens the path anew, links and all, and
//! compares content, so that it does not matter how the file came to differ.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    FILE_BYTES_MAX, load,
    model::Config,
    reload::{ReloadStatus, restart_needed},
    report::Report,
    too_large,
};
use crate::clock::{self, Millis};

/// Time between looks at the file.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// A changed file is looked at again after this time, and taken when it has come to rest: not every
/// writer replaces files in one step, and half a file can be valid.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

/// Looks up an environment variable; outlives the watch's thread.
pub type OwnedEnv = Box<dyn Fn(&str) -> Option<String> + Send>;
/// Called with the old and the new configuration after the new one is published.
pub type OnChange = Box<dyn FnMut(&Arc<Config>, &Arc<Config>) + Send>;

/// The configuration file and what it last said.
pub struct Watch {
    path: PathBuf,
    env: OwnedEnv,
    on_change: OnChange,
    current: Arc<ArcSwap<Config>>,
    status: Arc<ReloadStatus>,
    /// What the process started with: some of it stays in force until a restart.
    started: Arc<Config>,
    /// Content that was taken or refused last: the same is not looked at twice.
    seen: Content,
    /// Other content, not yet at rest.
    unsettled: Option<Content>,
}

/// What reading the file gave.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes(Vec<u8>),
    /// It cannot be read, and why.
    Unreadable(String),
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

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load_file(path: &Path, env: &super::Env<'_>) -> Result<Config, Report> {
    load_content(path, &read(path), env)
}

fn load_content(path: &Path, content: &Content, env: &super::Env<'_>) -> Result<Config, Report> {
    let name = path.display().to_string();
    let bytes = match content {
        Content::Bytes(bytes) => bytes,
        Content::Unreadable(why) => {
            let message = format!("the file cannot be read: {why}");
            return Err(Report::whole_file(
                &name,
                &message,
                "check its path and permissions",
            ));
        }
    };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large(&name));
    }
    let source = std::str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to() + 1;
        let message = format!("the file is not UTF-8: see byte {place}");
        Report::whole_file(&name, &message, "save it as UTF-8")
    })?;
    load(source, &name, env)
}

fn read(path: &Path) -> Content {
    let bounded = || -> io::Result<Vec<u8>> {
        // Opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        let bound = u64::try_from(FILE_BYTES_MAX)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        File::open(path)?.take(bound).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    bounded().map_or_else(
        |error| Content::Unreadable(error.to_string()),
        Content::Bytes,
    )
}

impl Watch {
    /// Loads the file for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it, or why it cannot be read.
    pub fn new(path: PathBuf, env: OwnedEnv, on_change: OnChange) -> Result<Self, Report> {
        let seen = read(&path);
        let started = Arc::new(load_content(&path, &seen, &env)?);
        Ok(Self {
            current: Arc::new(ArcSwap::new(Arc::clone(&started))),
            status: Arc::new(ReloadStatus::started(clock::now())),
            path,
            env,
            on_change,
            started,
            seen,
            unsettled: None,
        })
    }

    /// The configuration in force, kept up to date.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Config>> {
        Arc::clone(&self.current)
    }

    /// What came of the last reload, kept up to date.
    #[must_use]
    pub fn status(&self) -> Arc<ReloadStatus> {
        Arc::clone(&self.status)
    }

    /// Watches until it is dropped. Reading and checking run on a blocking thread.
    pub async fn run(self) {
        if cannot_change(&self.path) {
            tracing::warn!(
                path = %self.path.display(),
                "the configuration file is itself a mount (a ConfigMap's subPath, or a single bind-mounted \
                 file): replacing it will not be noticed here; mount its folder instead"
            );
        }
        let watch = Arc::new(Mutex::new(self));
        let mut wait = POLL_INTERVAL;
        loop {
            tokio::time::sleep(wait).await;
            let polling = Arc::clone(&watch);
            let polled =
                tokio::task::spawn_blocking(move || polling.lock().poll(clock::now())).await;
            wait = match polled {
                Ok(Polled::Unsettled) => SETTLE_INTERVAL,
                Ok(Polled::Unchanged | Polled::Taken | Polled::Refused) => POLL_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "reloading failed; the configuration in force stays");
                    POLL_INTERVAL
                }
            };
        }
    }

    /// Looks at the file once.
    pub fn poll(&mut self, now: Millis) -> Polled {
        let content = read(&self.path);
        if content == self.seen {
            self.unsettled = None;
            return Polled::Unchanged;
        }
        if self.unsettled.as_ref() != Some(&content) {
            self.unsettled = Some(content);
            return Polled::Unsettled;
        }
        self.unsettled = None;
        let loaded = load_content(&self.path, &content, &self.env);
        // Taken or refused, it is not looked at again until it differs: one report per content.
        self.seen = content;
        match loaded {
            Ok(config) => {
                self.take(Arc::new(config), now);
                Polled::Taken
            }
            Err(report) => {
                let report = report.to_string();
                tracing::error!(
                    path = %self.path.display(),
                    "the configuration file is bad; the one in force stays\n{report}"
                );
                self.status.refused(now, report);
                Polled::Refused
            }
        }
    }

    fn take(&mut self, new: Arc<Config>, now: Millis) {
        let restart = restart_needed(&self.started, &new);
        if restart.is_empty() {
            tracing::info!(path = %self.path.display(), "configuration reloaded");
        } else {
            tracing::warn!(
                path = %self.path.display(),
                sections = restart.join(", "),
                "configuration reloaded, but these sections take effect after a restart only"
            );
        }
        let old = self.current.load_full();
        // A comment changed, or a bad edit was taken back: nobody need know.
        if *old != *new {
            self.current.store(Arc::clone(&new));
            (self.on_change)(&old, &new);
        }
        self.status.taken(now, restart);
    }
}

/// The file itself is a mount point: replacing it in its original place does not show here.
fn cannot_change(path: &Path) -> bool {
    let (Ok(path), Ok(mounts)) = (
        fs::canonicalize(path),
        fs::read_to_string("/proc/self/mountinfo"),
    ) else {
        return false;
    };
    is_mount_point(&mounts, &path)
}

/// Whether `path` is a mount point in the format of `/proc/self/mountinfo`: the fifth field, with
/// blanks as octal escapes (proc_pid_mountinfo(5)).
fn is_mount_point(mounts: &str, path: &Path) -> bool {
    let Some(path) = path.to_str() else {
        return false;
    };
    let escaped = path
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
        .replace('\n', "\\012");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(escaped.as_str()))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
