//! The demo's control port: the page, its numbers, and the button that restarts the app.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `GET /__sidestream/` | the page |
//! | `GET /__sidestream/page.css`, `page.js`, .. | its parts |
//! | `GET /__sidestream/api/state` | the live numbers, JSON |
//! | `GET /__sidestream/api/config` | the configuration that the demo runs with, YAML |
//! | `POST /__sidestream/api/app/restart?pause_ms=N` | kills the app, starts it N ms later |
//!
//! Both Sidestream origins pass `/__sidestream/` through to here, so the page has the origin of its
//! streams. Its numbers come straight from this port: six EventSources over HTTP/1.1 would starve
//! them on the page's own origin.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use pingora::protocols::http::ServerSession;
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    app::App,
    http::{self, Handler},
    script::Kind,
    stats::DemoStats,
};

/// Everything of the demo lives below this path on all three ports.
pub(super) const PREFIX: &str = "/__sidestream/";
/// The longest pause of the restart button.
const PAUSE_MAX: Duration = Duration::from_secs(30);

const PAGE_HTML: &str = include_str!("page/page.html");
/// Its parts: name below the prefix, media type, content.
const PARTS: [(&str, &str, &str); 5] = [
    (
        "page.css",
        "text/css; charset=utf-8",
        include_str!("page/page.css"),
    ),
    (
        "page.js",
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    ),
    (
        "streams.js",
        "text/javascript; charset=utf-8",
        include_str!("page/streams.js"),
    ),
    (
        "flow.js",
        "text/javascript; charset=utf-8",
        include_str!("page/flow.js"),
    ),
    (
        "log.js",
        "text/javascript; charset=utf-8",
        include_str!("page/log.js"),
    ),
];
/// For those who ask for anything else.
const HELP: &str = "the demo's control port: GET / is its page, and below /__sidestream/ there are \
                    GET api/state, GET api/config and POST api/app/restart?pause_ms=N\n";

/// Where `page.html` wants the facts that do not change while the demo runs.
const FACTS_SLOT: &str = "{{facts}}";

/// The three ports of the demo, all on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Sidestream, plain HTTP/1.1 (and h2c).
    pub plain: u16,
    /// Sidestream, TLS with HTTP/2.
    pub secure: u16,
    /// The control port.
    pub control: u16,
}

/// The app behind the demo.
pub enum Backend {
    /// The one built in.
    BuiltIn(Arc<App>),
    /// The user's own, by URL, with the paths that fan out.
    Own {
        /// As given on the command line.
        url: String,
        /// Path patterns of the fan-out routes.
        stream_paths: Vec<String>,
    },
}

/// Answers on the control port.
pub struct Control {
    page: Bytes,
    /// Content-Security-Policy of everything here: the page needs itself and this port.
    policy: String,
    config_yaml: String,
    origins: Vec<String>,
    backend: Backend,
    stats: Box<dyn DemoStats>,
    restarting: Arc<AtomicBool>,
}

impl Control {
    /// The control server of one demo. `config_yaml` is shown on the page.
    pub fn new(
        ports: Ports,
        backend: Backend,
        config_yaml: String,
        stats: Box<dyn DemoStats>,
    ) -> Self {
        let facts = facts(ports, &backend);
        Self {
            page: Bytes::from(PAGE_HTML.replace(FACTS_SLOT, &facts)),
            policy: policy(ports),
            config_yaml,
            origins: origins(ports),
            backend,
            stats,
            restarting: Arc::default(),
        }
    }

    /// Answers on `listener` until dropped.
    pub async fn serve(self, listener: TcpListener) {
        http::serve(listener, Arc::new(self)).await;
    }

    fn state(&self) -> String {
        let numbers = self.stats.numbers();
        let app = match &self.backend {
            Backend::BuiltIn(app) => json!({
                "up": app.is_up(),
                "starts": app.starts(),
                "events": app.events(),
                "connections": app.streams().iter().map(|stream| stream.open).sum::<usize>(),
                "streams": app.streams().map(|stream| json!({
                    "path": stream.kind.path(),
                    "open": stream.open,
                    "opened": stream.opened,
                })),
            }),
            Backend::Own { .. } => serde_json::Value::Null,
        };
        json!({
            "subscribers": numbers.subscribers,
            "channels": numbers.channels,
            "upstream_connections": numbers.upstream_connections,
            "app": app,
        })
        .to_string()
    }

    /// Takes the app away for `pause`. The answer does not wait for it; the state tells.
    fn restart(&self, pause: Duration) -> (u16, &'static str) {
        let Backend::BuiltIn(app) = &self.backend else {
            return (
                404,
                "this demo runs in front of your own app: restart it yourself\n",
            );
        };
        if self.restarting.swap(true, Ordering::Relaxed) {
            return (409, "a restart is under way: wait until the app is back\n");
        }
        let (app, restarting) = (Arc::clone(app), Arc::clone(&self.restarting));
        tokio::spawn(async move {
            let killed = app.kill().await;
            tokio::time::sleep(pause).await;
            if let Err(error) = killed.and(app.restart().await) {
                tracing::error!(%error, "the demo app did not come back");
            }
            restarting.store(false, Ordering::Relaxed);
        });
        (202, "")
    }

    /// The `Origin` of a request, if it is one of ours.
    fn allowed_origin(&self, session: &ServerSession) -> Origin {
        match http::header(session, "origin") {
            None => Origin::None,
            Some(origin) => self
                .origins
                .iter()
                .find(|ours| *ours == origin)
                .map_or(Origin::Foreign, |ours| Origin::Ours(ours.clone())),
        }
    }
}

/// Where a request's script came from.
enum Origin {
    /// No browser script, or one of the same origin that only reads.
    None,
    /// One of the two Sidestream origins.
    Ours(String),
    /// Some other page.
    Foreign,
}

impl Handler for Control {
    async fn handle(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let (path, query) = http::target(session);
        let method = session.req_header().method.clone();
        let origin = self.allowed_origin(session);
        let api = path
            .strip_prefix(PREFIX)
            .unwrap_or_else(|| path.trim_start_matches('/'));
        let (status, kind, body) = match (method.as_str(), api) {
            ("GET" | "HEAD", "") => (200, "text/html; charset=utf-8", self.page.clone()),
            ("GET" | "HEAD", "api/state") => (200, "application/json", self.state().into()),
            ("GET" | "HEAD", "api/config") => (
                200,
                "text/plain; charset=utf-8",
                self.config_yaml.clone().into(),
            ),
            ("OPTIONS", _) => (204, "text/plain", Bytes::new()),
            ("POST", "api/app/restart") => match origin {
                // A browser names the origin of every POST: another site must not push the button.
                Origin::Foreign => (403, "text/plain", "not from this origin\n".into()),
                Origin::None | Origin::Ours(_) => {
                    let (status, text) = self.restart(pause(&query));
                    (status, "text/plain", text.into())
                }
            },
            ("GET" | "HEAD", name) => match PARTS.iter().find(|part| part.0 == name) {
                Some((_, kind, text)) => (200, *kind, Bytes::from_static(text.as_bytes())),
                None => (404, "text/plain", HELP.into()),
            },
            _ => (405, "text/plain", HELP.into()),
        };
        let mut headers = vec![
            ("content-type", kind),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", self.policy.as_str()),
            ("vary", "origin"),
        ];
        if let Origin::Ours(origin) = &origin {
            headers.push(("access-control-allow-origin", origin));
            headers.push(("access-control-allow-methods", "GET, POST"));
        }
        http::respond(session, status, &headers, body).await
    }
}

fn pause(query: &str) -> Duration {
    let asked = http::query_value(query, "pause_ms").and_then(|value| value.parse().ok());
    Duration::from_millis(asked.unwrap_or(0)).min(PAUSE_MAX)
}

/// The names under which a browser on this machine may know our two origins.
fn origins(ports: Ports) -> Vec<String> {
    ["127.0.0.1", "localhost", "[::1]"]
        .into_iter()
        .flat_map(|host| {
            [
                format!("http://{host}:{}", ports.plain),
                format!("https://{host}:{}", ports.secure),
            ]
        })
        .collect()
}

fn policy(ports: Ports) -> String {
    let control = ports.control;
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; \
         frame-ancestors 'none'; form-action 'self'; \
         connect-src 'self' http://127.0.0.1:{control} http://localhost:{control}"
    )
}

/// What the page knows from the start. JSON inside a `<script>`: `<` must not end the element.
fn facts(ports: Ports, backend: &Backend) -> String {
    let streams = |paths: Vec<(&str, &str)>| -> Vec<serde_json::Value> {
        paths
            .iter()
            .map(|(label, path)| json!({ "label": label, "path": path }))
            .collect()
    };
    let (upstream, streams) = match backend {
        Backend::BuiltIn(_) => {
            let all = Kind::ALL.map(|kind| (kind.label(), kind.path()));
            (None, streams(all.to_vec()))
        }
        Backend::Own { url, stream_paths } => {
            let own = stream_paths
                .iter()
                .map(|path| (path.as_str(), path.as_str()));
            (Some(url), streams(own.collect()))
        }
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ports": { "plain": ports.plain, "secure": ports.secure, "control": ports.control },
        "upstream": upstream,
        "streams": streams,
    })
    .to_string()
    .replace('<', "\\u003c")
}

#[cfg(test)]
mod tests;
