//! A scripted app, the whole of Sidestream, and raw clients, all in one process. Every end-to-end
//! test stands on this; the fan-out tests add what only event streams need.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod h2;
pub(crate) mod h2app;
pub(crate) mod h2peer;
pub(crate) mod h2raw;
pub(crate) mod head;
pub(crate) mod permits;
pub(crate) mod process;

use std::{ops::Deref, time::Duration};

use bytes::Bytes;
use h2app::H2App;
use process::Process;

/// No condition in a test takes this long, not even on a crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Fails the test when `work` takes too long.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// Looks at `condition` until it holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

/// 10 MiB that no shift of bytes leaves unnoticed.
pub(crate) fn large() -> Bytes {
    (0..10_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect::<Vec<u8>>()
        .into()
}

/// What a test changes in the configuration: YAML lines `key: value` without indentation.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Settings {
    /// Of the upstream.
    pub(crate) upstream: &'static [&'static str],
    /// Of the process.
    pub(crate) limits: &'static [&'static str],
    /// Of the stream route.
    pub(crate) stream: &'static [&'static str],
    /// Of leaving.
    pub(crate) drain: &'static [&'static str],
    /// Of the file itself.
    pub(crate) file: &'static [&'static str],
}

/// Sidestream before one app. Paths below `/fan/` fan out, `/stream/` streams, all else passes
/// through.
pub(crate) struct Rig(Process);

impl Rig {
    /// `upstream` is the app's address as in a configuration.
    pub(crate) fn start(upstream: &str) -> Self {
        Self::with(upstream, Settings::default())
    }

    /// As [`Rig::start`], with other settings.
    pub(crate) fn with(upstream: &str, settings: Settings) -> Self {
        Self(Process::start(&yaml(upstream, settings)))
    }

    /// Before an app that speaks HTTP/2, with settings of the upstream.
    pub(crate) fn before(app: &H2App, upstream: &'static [&'static str]) -> Self {
        let settings = Settings {
            upstream,
            ..Settings::default()
        };
        Self::with(&format!("http://{}", app.address), settings)
    }

    /// As [`Rig::with`], on a file that [`Rig::reload`] changes.
    pub(crate) fn watching(upstream: &str, settings: Settings) -> Self {
        Self(Process::watching(&yaml(upstream, settings)))
    }

    /// Puts another configuration in force.
    pub(crate) async fn reload(&self, upstream: &str, settings: Settings) {
        let series = "config_reloads_total{outcome=\"applied\"}";
        let before = self.metric(series);
        self.rewrite(&self.source(&yaml(upstream, settings)));
        self.until_metric(series, before + 1).await;
    }
}

fn yaml(upstream: &str, settings: Settings) -> String {
    let mut yaml = format!(
        "upstreams:\n\
         \x20 app:\n\
         \x20   address: {upstream}\n\
         {}\
         routes:\n\
         \x20 - {{ path: '/fan/{{*rest}}', action: fanout }}\n\
         \x20 - {{ path: '/{{*rest}}', action: proxy }}\n\
         \x20 - path: '/stream/{{*rest}}'\n\
         \x20   action: stream\n\
         {}",
        indented(settings.upstream.iter(), "    "),
        indented(settings.stream.iter(), "    "),
    );
    section(&mut yaml, "limits", &settings.limits.join("\n"));
    section(&mut yaml, "drain", &settings.drain.join("\n"));
    yaml.push_str(&indented(settings.file.iter(), ""));
    yaml
}

/// Appends a section of a configuration with these lines, if there are any.
pub(crate) fn section(yaml: &mut String, name: &str, lines: &str) {
    let lines = indented(lines.lines().filter(|line| !line.trim().is_empty()), "  ");
    if !lines.is_empty() {
        yaml.push_str(&format!("{name}:\n{lines}"));
    }
}

fn indented(lines: impl Iterator<Item: std::fmt::Display>, by: &str) -> String {
    lines.map(|line| format!("{by}{line}\n")).collect()
}

impl Deref for Rig {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}
