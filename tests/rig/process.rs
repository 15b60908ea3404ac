//! Sidestream, as `sidestream run` would start it, in the process of the test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use sidestream::{
    app::{Options, Running},
    config::{self, model::ListenAddress},
    front::listen::Address,
    lifecycle::Phase,
    metrics::Metrics,
    subscribe::Hub,
};

use super::{LOOK, PATIENCE, client::Client};

/// It listens on TCP, with TLS, and on a unix socket; it ends with the test.
pub(crate) struct Process {
    running: Option<Running>,
    folder: tempfile::TempDir,
}

impl Process {
    /// `rest` is the configuration without what all tests have in common.
    pub(crate) fn start(rest: &str) -> Self {
        Self::with_listeners("", rest)
    }

    /// As [`Process::start`], with listeners of the test's own: items of a list in YAML, in which
    /// `{folder}` is where `cert.pem` and `key.pem` are.
    pub(crate) fn with_listeners(listeners: &str, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path());
        let listeners = listeners.replace("{folder}", &folder.path().display().to_string());
        let yaml = format!("{}{listeners}{rest}", in_common(folder.path()));
        let config =
            config::load(&yaml, "test.yaml", &|_| None).unwrap_or_else(|report| panic!("{report}"));
        let running = sidestream::app::start(config, Options::default()).unwrap();
        Self {
            running: Some(running),
            folder,
        }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// A TCP listener by its name.
    pub(crate) fn tcp(&self, name: &str) -> SocketAddr {
        let listener = self.running().addresses.iter().find(|(n, _)| n == name);
        match &listener.unwrap().1 {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("{name} is not TCP"),
        }
    }

    /// The plain listener.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.tcp("plain")
    }

    /// The TLS listener.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.tcp("tls")
    }

    /// The unix socket.
    pub(crate) fn unix(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// What clients of the TLS listener are to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.running().hub
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.hub().metrics
    }

    /// The value of a series, its labels given as they are printed. A name that no series has fails
    /// the test, which would otherwise look at a zero for ever.
    pub(crate) fn metric(&self, series: &str) -> i64 {
        self.metric_if_any(series)
            .unwrap_or_else(|| panic!("no series {series}; there are\n{}", self.alike(series)))
    }

    /// As [`Process::metric`]; `None` for a series that there is not, or not yet.
    pub(crate) fn metric_if_any(&self, series: &str) -> Option<i64> {
        let wanted = format!("sidestream_{series}");
        let text = self.metrics().render();
        let value = text.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == wanted).then(|| value.parse::<f64>().unwrap())
        });
        #[expect(clippy::cast_possible_truncation, reason = "counts in tests are small")]
        value.map(|value| value as i64)
    }

    /// The series of the same metric; without any, all there are.
    fn alike(&self, series: &str) -> String {
        let metric = format!("sidestream_{}", series.split('{').next().unwrap());
        let text = self.metrics().render();
        let all = || text.lines().filter(|line| !line.starts_with('#'));
        let same = |line: &&str| line.split(['{', ' ']).next() == Some(&metric);
        let mut alike: Vec<_> = all().filter(same).collect();
        if alike.is_empty() {
            alike = all().collect();
        }
        alike.sort_unstable();
        alike.join("\n")
    }

    /// Waits until a series, be it there already or not, has a value.
    pub(crate) async fn until_metric(&self, series: &str, wanted: i64) {
        let reached = async {
            while self.metric_if_any(series) != Some(wanted) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("{series} is {}, not {wanted}", self.metric(series));
        }
    }

    /// Client connections now.
    pub(crate) fn connections(&self) -> usize {
        self.hub().admission.connections.taken()
    }

    /// Answer of the admin service: head and body.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let ListenAddress::Tcp(address) = self.running().admin else {
            panic!("not TCP");
        };
        let mut client = Client::connect(address).await;
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            ))
            .await;
        String::from_utf8(client.rest().await).unwrap()
    }

    /// Begins to leave, as on SIGTERM.
    pub(crate) fn drain(&self) {
        self.running().lifecycle.advance(Phase::Draining);
    }

    /// Waits until the drain is over, and ends.
    pub(crate) fn leave(mut self) {
        self.running.take().unwrap().wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

/// A certificate for `localhost`, of nobody's time.
fn make_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

fn in_common(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "version: 1\n\
         threads: 2\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         listeners:\n\
         \x20 - {{ name: plain, address: '127.0.0.1:0' }}\n\
         \x20 - name: tls\n\
         \x20   address: '127.0.0.1:0'\n\
         \x20   tls: {{ certificate: '{folder}/cert.pem', key: '{folder}/key.pem' }}\n\
         \x20 - {{ name: unix, address: 'unix:{folder}/sock', mode: '0600' }}\n"
    )
}
