//! A scripted app, the whole of Sidestream, and raw clients, all in one process.

pub(crate) mod app;
pub(crate) mod reader;
pub(crate) mod wire;

use std::{future::Future, net::SocketAddr, path::PathBuf, time::Duration};

use sidestream::{
    app::{self as process, Options, Running},
    config::{self, model::ListenAddress},
    front::listen::Address,
    lifecycle::Phase,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
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

/// Looks at `condition` until it holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Sidestream, as `sidestream run` would start it.
pub(crate) struct Side {
    running: Option<Running>,
    folder: tempfile::TempDir,
}

/// What stands in the configuration beside the rig's own part.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    /// Settings of all fan-out routes, a line each.
    pub(crate) fanout: &'a str,
    /// Further settings of the upstream, in YAML's flow form.
    pub(crate) upstream: &'a str,
    /// `limits:`, a line each.
    pub(crate) limits: &'a str,
    /// `drain:`, in YAML's flow form.
    pub(crate) drain: &'a str,
}

impl Side {
    /// Before an app on `port`; paths below `/feed/` fan out with these settings, paths below
    /// `/pass/` pass through.
    pub(crate) fn start(port: u16, fanout: &str) -> Self {
        Self::with(
            port,
            &Settings {
                fanout,
                ..Settings::default()
            },
        )
    }

    /// As [`Side::start`], with more to set.
    pub(crate) fn with(port: u16, settings: &Settings<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut source = format!(
            "version: 1\n\
             listeners:\n\
             \x20 - {{ name: plain, address: '127.0.0.1:0' }}\n\
             \x20 - {{ name: tls, address: '127.0.0.1:0', tls: {{ certificate: '{}', key: '{}' }} }}\n\
             upstreams: {{ app: {{ address: 'http://127.0.0.1:{port}', {} }} }}\n\
             admin: {{ address: '127.0.0.1:0' }}\n\
             threads: 2\n\
             routes:\n\
             \x20 - {{ name: feed, path: '/feed/{{*rest}}', action: fanout }}\n\
             \x20 - {{ name: pass, path: '/pass/{{*rest}}', action: proxy }}\n",
            certificate.display(),
            key.display(),
            settings.upstream,
        );
        // Reconnects at once, and certificates of nobody's time.
        section(
            &mut source,
            "defaults",
            &format!("backoff: {{ min: 10ms, max: 50ms }}\n{}", settings.fanout),
        );
        section(&mut source, "limits", settings.limits);
        if !settings.drain.is_empty() {
            source.push_str(&format!("drain: {}\n", settings.drain));
        }
        let config = match config::load(&source, "test.yaml", &|_| None) {
            Ok(config) => config,
            Err(report) => panic!("{report}"),
        };
        let running = process::start(config, Options::default()).unwrap();
        Self {
            running: Some(running),
            folder,
        }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn address(&self, name: &str) -> SocketAddr {
        let addresses = &self.running().addresses;
        match &addresses.iter().find(|(n, _)| n == name).unwrap().1 {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("not TCP"),
        }
    }

    /// The plain listener.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.address("plain")
    }

    /// The TLS listener.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.address("tls")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The value of a metric, all its labels given; 0 for one that there is not.
    pub(crate) fn metric(&self, series: &str) -> i64 {
        let text = self.running().hub.metrics.render();
        let value = text.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == format!("sidestream_{series}")).then(|| value.parse::<f64>().unwrap())
        });
        #[expect(clippy::cast_possible_truncation, reason = "counts in tests are small")]
        value.map_or(0, |value| value as i64)
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until_metric(&self, series: &str, wanted: i64) {
        let mut seen = 0;
        let wait = async {
            loop {
                seen = self.metric(series);
                if seen == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("{series} is {seen}, not {wanted}");
        }
    }

    /// Clients in all channels, waiting ones included.
    pub(crate) fn members(&self) -> usize {
        let channels = self.running().hub.registry.list(usize::MAX);
        channels
            .iter()
            .map(|channel| channel.row().subscribers)
            .sum()
    }

    /// Waits until so many clients are in all channels.
    pub(crate) async fn until_members(&self, wanted: usize) {
        until(&format!("{wanted} members"), || self.members() == wanted).await;
    }

    /// Begins to leave, as on SIGTERM.
    pub(crate) fn drain(&self) {
        self.running().lifecycle.advance(Phase::Draining);
    }

    /// Waits until the drain is over, and ends.
    pub(crate) fn leave(mut self) {
        self.running.take().unwrap().wait().unwrap();
    }

    /// Everything is given back: no client, no place taken, no gauge off its zero.
    pub(crate) async fn until_empty(&self) {
        self.until_members(0).await;
        let hub = &self.running().hub;
        until("all places free", || hub.admission.subscribers.taken() == 0).await;
        for gauge in [
            "waiting_joiners",
            "behind_subscribers",
            "subscribers{route=\"feed\",protocol=\"h1\"}",
            "subscribers{route=\"feed\",protocol=\"h2\"}",
        ] {
            self.until_metric(gauge, 0).await;
        }
    }

    /// Answer of the admin service.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let ListenAddress::Tcp(address) = self.running().admin else {
            panic!("not TCP");
        };
        soon("admin", async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        })
        .await
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

fn section(source: &mut String, name: &str, lines: &str) {
    if lines.trim().is_empty() {
        return;
    }
    source.push_str(&format!("{name}:\n"));
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        source.push_str(&format!("  {}\n", line.trim()));
    }
}
