//! A scripted app, the whole of Sidestream, and raw clients, all in one process.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod h2;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sidestream::{
    app::{Options, Running},
    config,
    front::listen::Address,
    lifecycle::Phase,
    metrics::Metrics,
    subscribe::Hub,
};

/// No condition in a test takes this long, not even on a crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails the test when `work` takes too long.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("took too long: {what}"),
    }
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
}

/// Sidestream before one app, with a plain, a TLS and a unix listener. Paths below `/fan/` fan out,
/// `/stream/` streams, all else passes through.
pub(crate) struct Rig {
    running: Option<Running>,
    folder: tempfile::TempDir,
}

impl Rig {
    /// `upstream` is the app's address as in a configuration.
    pub(crate) fn start(upstream: &str) -> Self {
        Self::with(upstream, Settings::default())
    }

    /// As [`Rig::start`], with other settings.
    pub(crate) fn with(upstream: &str, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let yaml = yaml(upstream, settings, folder.path());
        let config =
            config::load(&yaml, "test.yaml", &|_| None).unwrap_or_else(|report| panic!("{report}"));
        let running = sidestream::app::start(config, Options::default()).unwrap();
        Self {
            running: Some(running),
            folder,
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn tcp(&self, name: &str) -> SocketAddr {
        let listener = self.running().addresses.iter().find(|(n, _)| n == name);
        match &listener.unwrap().1 {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("{name} is not TCP"),
        }
    }

    pub(crate) fn plain(&self) -> SocketAddr {
        self.tcp("plain")
    }

    pub(crate) fn tls(&self) -> SocketAddr {
        self.tcp("tls")
    }

    pub(crate) fn unix(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.running().hub
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.hub().metrics
    }

    /// Client connections now.
    pub(crate) fn connections(&self) -> usize {
        self.hub().admission.connections.taken()
    }

    /// Begins to leave.
    pub(crate) fn drain(&self) {
        self.running().lifecycle.advance(Phase::Draining);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

fn yaml(upstream: &str, settings: Settings, folder: &Path) -> String {
    let lines = |lines: &[&str], indent: &str| -> String {
        let line = |line: &&str| format!("{indent}{line}\n");
        lines.iter().map(line).collect()
    };
    let folder = folder.display();
    let section = |name: &str, keys: &[&str]| match keys {
        [] => String::new(),
        keys => format!("{name}:\n{}", lines(keys, "  ")),
    };
    format!(
        r#"
version: 1
threads: 2
admin:
  address: 127.0.0.1:0
listeners:
  - name: plain
    address: 127.0.0.1:0
  - name: tls
    address: 127.0.0.1:0
    tls:
      certificate: {folder}/cert.pem
      key: {folder}/key.pem
  - name: unix
    address: unix:{folder}/sock
    mode: "0600"
upstreams:
  app:
    address: {upstream}
{}
routes:
  - path: /fan/{{*rest}}
    action: fanout
  - path: /stream/{{*rest}}
    action: stream
{}
  - path: /{{*rest}}
    action: proxy
{}{}
"#,
        lines(settings.upstream, "    "),
        lines(settings.stream, "    "),
        section("limits", settings.limits),
        section("drain", settings.drain),
    )
}
