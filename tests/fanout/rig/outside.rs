//! The program as it is shipped, in a process of its own: where one process has too few descriptors
//! for Sidestream, its app and its clients together, or where its memory is looked at.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::net::UnixStream;
use tokio_rustls::client::TlsStream;

use super::{make_certificate, reader::H2, soon};
use crate::base::client::{Client, tls_over};

/// Between two looks at a process: each is a request.
const LOOK: Duration = Duration::from_millis(50);

/// Descriptors beside those of a test's connections.
const OTHER_FILES: usize = 1_000;

/// Fails the test when this process may not have so many connections.
pub(crate) fn need_open_files(connections: usize) {
    let open_files = sidestream::admission::fd::raise_open_files().unwrap();
    assert!(
        open_files > connections + OTHER_FILES,
        "too few: {open_files}"
    );
}

/// A connection, as soon as the listener's queue has room.
async fn connect(socket: &Path) -> UnixStream {
    soon("connect", async {
        loop {
            match UnixStream::connect(socket).await {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    tokio::time::sleep(LOOK).await;
                }
                connected => return connected.unwrap(),
            }
        }
    })
    .await
}

/// `sidestream run`, on unix sockets. It ends with the test.
pub(crate) struct Outside {
    child: Child,
    folder: tempfile::TempDir,
}

impl Outside {
    /// `rest` is the configuration without listeners and admin service.
    pub(crate) async fn start(rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let yaml = format!(
            "version: 1\nthreads: 2\nlog: {{ filter: error }}\n\
             admin: {{ address: 'unix:{at}/admin' }}\n\
             listeners:\n\
             \x20 - {{ name: web, address: 'unix:{at}/web' }}\n\
             \x20 - name: tls\n\
             \x20   address: 'unix:{at}/tls'\n\
             \x20   tls: {{ certificate: '{at}/cert.pem', key: '{at}/key.pem' }}\n{rest}"
        );
        make_certificate(folder.path());
        let file = folder.path().join("sidestream.yaml");
        std::fs::write(&file, yaml).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sidestream"))
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut side = Self { child, folder };
        soon("it is ready", async {
            while !side.is_ready().await {
                assert_eq!(side.child.try_wait().unwrap(), None, "it ended");
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
        side
    }

    async fn is_ready(&self) -> bool {
        UnixStream::connect(self.socket("admin")).await.is_ok()
            && self.page("/readyz").await.contains("\"ready\":true")
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection.
    pub(crate) async fn plain(&self) -> UnixStream {
        connect(&self.socket("web")).await
    }

    /// A connection over TLS, for a client that speaks one protocol: `http/1.1`, or `h2`.
    pub(crate) fn tls(
        &self,
        alpn: &'static str,
    ) -> impl Future<Output = TlsStream<UnixStream>> + Send + use<> {
        let (socket, certificate) = (self.socket("tls"), self.socket("cert.pem"));
        async move { tls_over(connect(&socket).await, &certificate, &[alpn]).await }
    }

    /// An HTTP/2 connection, with windows that hold what a test does not read yet.
    pub(crate) async fn h2(&self, window: u32) -> H2 {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(window);
        H2::over(self.plain().await, builder).await
    }

    /// Bytes of memory now.
    pub(crate) fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that [`Outside::resident`] has been since [`Outside::forget_peak`].
    pub(crate) fn resident_peak(&self) -> usize {
        self.status("VmHWM:")
    }

    /// See proc(5), `clear_refs`.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<usize>().unwrap() << 10
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// The body of a page of the admin service.
    async fn page(&self, path: &str) -> String {
        let mut admin = Client::connect_unix(&self.socket("admin")).await;
        let answer = admin
            .request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
        answer.text()
    }

    /// Rows of `/channels`, at most `limit`.
    pub(crate) async fn channels(&self, limit: usize) -> Vec<Value> {
        let page = self.page(&format!("/channels?limit={limit}")).await;
        let page: Value = serde_json::from_str(&page).unwrap();
        page["channels"].as_array().unwrap().clone()
    }

    /// The value of a series, its labels given as they are printed; 0 for one that there is not yet.
    pub(crate) async fn metric(&self, series: &str) -> usize {
        let wanted = format!("sidestream_{series} ");
        let page = self.page("/metrics").await;
        let value = page.lines().find_map(|line| line.strip_prefix(&wanted));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until the value of a series holds.
    pub(crate) async fn until_metric(&self, series: &str, holds: impl Fn(usize) -> bool) {
        soon(series, async {
            while !holds(self.metric(series).await) {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
