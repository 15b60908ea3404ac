//! `sidestream demo`: a small app, Sidestream in front of it, and a page that shows the point.
//!
//! Three ports on loopback: plain HTTP/1.1 and HTTPS with HTTP/2, both Sidestream's, and the control
//! port with the page's numbers. The app is an ordinary server behind them.

mod app;
mod certificate;
mod configuration;
mod control;
mod http;
mod ports;
mod script;
mod stats;
#[cfg(test)]
mod testing;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use tokio::sync::oneshot;

pub use app::{App, StreamUse};
use certificate::Certificate;
use configuration::Setup;
pub use control::{Backend, Control, Ports};
pub use script::{Kind, Script, Step};
pub use stats::{DemoStats, Numbers, stats_of};

use crate::{cli::Failure, config::Config};

/// Where the built-in app listens, or the next free port: the tutorial's.
const APP_PORT: u16 = 3005;
/// Where the admin service listens, or the next free port.
const ADMIN_PORT: u16 = 9901;
/// Prices and log lines are the same in every demo.
const SEED: u64 = 0x51de;
/// Paths that fan out in front of a user's own app, unless they say which.
const STREAM_PATHS: [&str; 4] = ["/{name}/stream", "/stream", "/events", "/sse"];

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The user's own app, by URL; `None`: the built-in one.
    pub upstream: Option<String>,
    /// Path patterns that fan out in front of the user's app; empty: the usual ones.
    pub stream_paths: Vec<String>,
    /// First choice of the plain port.
    pub http_port: u16,
    /// First choice of the secure port.
    pub https_port: u16,
    /// First choice of the control port.
    pub control_port: u16,
}

/// Sidestream, started for the demo.
pub struct Serving {
    /// Its numbers for the page.
    pub stats: Box<dyn DemoStats>,
    /// Blocks until the process is told to end, and Sidestream has.
    pub wait: Box<dyn FnOnce() -> Result<(), String>>,
}

/// Runs the demo until the process is told to end. `start` starts Sidestream on a configuration.
///
/// # Errors
/// For the user: what could not be started, and why.
pub fn run(
    options: &Options,
    start: impl FnOnce(Config) -> Result<Serving, Failure>,
    print: impl FnOnce(&str),
) -> Result<(), Failure> {
    let failed = |what: &'static str| {
        move |error: io::Error| Failure::runtime(format!("demo: {what}: {error}"))
    };
    let reserved = Reserved::take(options).map_err(failed("no free port on 127.0.0.1"))?;
    let certificate = Certificate::make(&std::env::temp_dir()).map_err(failed(
        "cannot write a certificate to the temporary directory",
    ))?;
    let helpers = Helpers::start().map_err(failed("cannot start"))?;
    let backend = helpers
        .backend(options)
        .map_err(failed("the built-in app"))?;

    let (app, stream_paths) = match &backend {
        Backend::BuiltIn(app) => (format!("http://{}", app.address()), None),
        Backend::Own { url, stream_paths } => (url.clone(), Some(stream_paths.as_slice())),
    };
    let (yaml, config) = configuration::load(&Setup {
        ports: reserved.ports,
        admin: reserved.admin_port,
        app: &app,
        stream_paths,
        certificate: &certificate.certificate(),
        key: &certificate.key(),
    })
    .map_err(Failure::usage)?;

    let text = banner(reserved.ports, &backend, &yaml);
    let (ports, control_listener) = reserved.release();
    let serving = start(config)?;
    let control = Control::new(ports, backend, yaml, serving.stats);
    helpers
        .serve(control, control_listener)
        .map_err(failed("the control port"))?;
    print(&text);
    (serving.wait)().map_err(Failure::runtime)
}

/// Ports that are ours until Sidestream binds them itself.
struct Reserved {
    ports: Ports,
    admin_port: u16,
    control: TcpListener,
    others: [TcpListener; 3],
}

impl Reserved {
    fn take(options: &Options) -> io::Result<Self> {
        let plain = ports::bind(options.http_port)?;
        let secure = ports::bind(options.https_port)?;
        let control = ports::bind(options.control_port)?;
        let admin = ports::bind(ADMIN_PORT)?;
        Ok(Self {
            ports: Ports {
                plain: ports::port(&plain)?,
                secure: ports::port(&secure)?,
                control: ports::port(&control)?,
            },
            admin_port: ports::port(&admin)?,
            control,
            others: [plain, secure, admin],
        })
    }

    /// Frees the ports that Sidestream binds next, and keeps the control port.
    fn release(self) -> (Ports, TcpListener) {
        drop(self.others);
        (self.ports, self.control)
    }
}

/// The runtime of the app and the control port: a thread of their own, so that the demo's app costs
/// Sidestream's workers nothing. Dropping it ends the thread and closes what it served.
struct Helpers {
    runtime: tokio::runtime::Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Helpers {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("demo".to_owned())
            .spawn(move || {
                // An error says that the sender is gone, which means the same.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self {
            runtime: handle,
            end: Some(end),
            thread: Some(thread),
        })
    }

    fn backend(&self, options: &Options) -> io::Result<Backend> {
        if let Some(url) = &options.upstream {
            let stream_paths = match options.stream_paths.as_slice() {
                [] => STREAM_PATHS.map(str::to_owned).to_vec(),
                given => given.to_vec(),
            };
            return Ok(Backend::Own {
                url: url.clone(),
                stream_paths,
            });
        }
        let address = {
            let free = ports::bind(APP_PORT)?;
            SocketAddr::from((Ipv4Addr::LOCALHOST, ports::port(&free)?))
        };
        let app = self.runtime.block_on(App::start(address, SEED))?;
        Ok(Backend::BuiltIn(Arc::new(app)))
    }

    fn serve(&self, control: Control, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.runtime.spawn(control.serve(listener));
        Ok(())
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only panics if the demo's own code did; then that was already said.
            let _ = thread.join();
        }
    }
}

/// What the terminal shows once all is up.
fn banner(ports: Ports, backend: &Backend, yaml: &str) -> String {
    let (behind, page) = match backend {
        Backend::BuiltIn(app) => (format!("the demo app on http://{}", app.address()), "/"),
        Backend::Own { url, .. } => (format!("your app on {url}"), control::PREFIX),
    };
    let Ports {
        plain,
        secure,
        control,
    } = ports;
    format!(
        "\
Sidestream is in front of {behind}. Its configuration:

{yaml}
Open both in a browser:

  HTTP/1.1   http://127.0.0.1:{plain}{page}    the browser stops at six streams
  HTTP/2     https://127.0.0.1:{secure}{page}   all streams on one connection
  counters   http://127.0.0.1:{control}/api/state    what both pages read

The browser warns once about the certificate, which was made just now for this machine:
choose Advanced, then Proceed. Ctrl-C ends the demo.
"
    )
}
