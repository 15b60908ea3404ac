//! Sidestream, as `sidestream run` would start it, in the process of the test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sidestream::{
    app::{Options, Running},
    config::{self, model::ListenAddress},
    front::listen::Address,
    metrics::Metrics,
    subscribe::Hub,
};

use super::{LOOK, PATIENCE, client::Client};

/// Name of the configuration file.
const FILE: &str = "sidestream.yaml";

/// Between two looks at files of a process that watches them.
const LOOK_AT_FILES: Duration = Duration::from_millis(20);

/// It listens on TCP, with TLS, and on a unix socket; it ends with the test.
pub(crate) struct Process {
    running: Option<Running>,
    folder: tempfile::TempDir,
}

impl Process {
    /// `rest` is the configuration without what all tests have in common.
    pub(crate) fn start(rest: &str) -> Self {
        Self::run("", rest, |_| Options::default())
    }

    /// As [`Process::start`], with listeners of the test's own: items of a list in YAML, in which
    /// `{folder}` is where `cert.pem` and `key.pem` are.
    pub(crate) fn with_listeners(listeners: &str, rest: &str) -> Self {
        Self::run(listeners, rest, |_| Options::default())
    }

    /// As [`Process::start`], on a file that [`Process::rewrite`] changes. It looks often at that and at
    /// its certificate.
    pub(crate) fn watching(rest: &str) -> Self {
        Self::run("", rest, |file| Options {
            config_file: Some(file.to_owned()),
            look_interval: LOOK_AT_FILES,
            ..Options::default()
        })
    }

    fn run(listeners: &str, rest: &str, options: impl FnOnce(&Path) -> Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path());
        let listeners = listeners.replace("{folder}", &folder.path().display().to_string());
        let yaml = format!("{}{listeners}{rest}", in_common(folder.path()));
        let file = folder.path().join(FILE);
        std::fs::write(&file, &yaml).unwrap();
        let config =
            config::load(&yaml, FILE, &|_| None).unwrap_or_else(|report| panic!("{report}"));
        let running = sidestream::app::start(config, options(&file)).unwrap();
        Self {
            running: Some(running),
            folder,
        }
    }

    /// A whole configuration.
    pub(crate) fn source(&self, rest: &str) -> String {
        format!("{}{rest}", in_common(self.folder.path()))
    }

    /// Puts another configuration in place.
    pub(crate) fn rewrite(&self, source: &str) {
        std::fs::write(self.folder.path().join(FILE), source).unwrap();
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

    /// The key of [`Process::certificate`].
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
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
        self.ask_admin(&format!("GET {path} HTTP/1.1\r\n")).await
    }

    /// As `sidestream drain`.
    pub(crate) async fn drain_by_command(&self) {
        let order = "POST /drain HTTP/1.1\r\nSidestream-Command: drain\r\n";
        let answer = self.ask_admin(order).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }

    async fn ask_admin(&self, head: &str) -> String {
        Self::ask(&self.running().admin, head).await
    }

    /// As [`Process::admin`], of the service for those who scrape from outside.
    pub(crate) async fn scrape(&self, path: &str) -> String {
        let address = self.running().metrics_address.as_ref().unwrap();
        Self::ask(address, &format!("GET {path} HTTP/1.1\r\n")).await
    }

    async fn ask(address: &ListenAddress, head: &str) -> String {
        let ListenAddress::Tcp(address) = *address else {
            panic!("not TCP");
        };
        let mut client = Client::connect(address).await;
        client
            .send(format!(
                "{head}Host: localhost\r\nConnection: close\r\n\r\n"
            ))
            .await;
        String::from_utf8(client.rest().await).unwrap()
    }

    /// Begins to leave, as on SIGTERM.
    pub(crate) fn drain(&self) {
        self.running().lifecycle.leave();
    }

    /// Is told to end, as on SIGTERM, and does.
    pub(crate) fn leave_now(self) {
        self.drain();
        self.leave();
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

/// A certificate for `localhost`, of nobody's time: `cert.pem` and `key.pem`.
pub(crate) fn make_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

fn in_common(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "version: 1\n\
         threads: 2\n\
         admin: {{ address: '127.0.0.1:0', metrics_address: '127.0.0.1:0' }}\n\
         listeners:\n\
         \x20 - {{ name: plain, address: '127.0.0.1:0' }}\n\
         \x20 - name: tls\n\
         \x20   address: '127.0.0.1:0'\n\
         \x20   tls: {{ certificate: '{folder}/cert.pem', key: '{folder}/key.pem' }}\n\
         \x20 - {{ name: unix, address: 'unix:{folder}/sock', mode: '0600' }}\n"
    )
}
