//! The program as it is shipped, in a process of its own: where one process has too few descriptors
//! for Sidestream, its app and its clients together.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::net::UnixStream;

use super::{reader::H2, soon};
use crate::base::client::Client;

/// Between two looks at a process: each is a request.
const LOOK: Duration = Duration::from_millis(50);

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
             listeners: [{{ name: web, address: 'unix:{at}/web' }}]\n{rest}"
        );
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

    /// An HTTP/2 connection to the listener, with windows that hold what a test does not read yet.
    pub(crate) async fn h2(&self, window: u32) -> H2 {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(window);
        let stream = UnixStream::connect(self.socket("web")).await.unwrap();
        H2::over(stream, builder).await
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
