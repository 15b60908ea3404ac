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
                None => (404, "text/plain", "not found\n".into()),
            },
            _ => (405, "text/plain", "method not allowed\n".into()),
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
mod tests {
    use std::net::SocketAddr;

    use serde_json::Value;

    use super::*;
    use crate::demo::{
        stats::Numbers,
        testing::{Client, eventually, request},
    };

    const PORTS: Ports = Ports {
        plain: 8080,
        secure: 8443,
        control: 8090,
    };
    const NUMBERS: Numbers = Numbers {
        subscribers: 60,
        channels: 2,
        upstream_connections: 1,
    };

    async fn control(backend: Backend) -> SocketAddr {
        let control = Control::new(PORTS, backend, "version: 1\n".into(), Box::new(|| NUMBERS));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(control.serve(listener));
        address
    }

    async fn built_in() -> (SocketAddr, Arc<App>) {
        let app = Arc::new(App::start(([127, 0, 0, 1], 0).into(), 7).await.unwrap());
        (control(Backend::BuiltIn(Arc::clone(&app))).await, app)
    }

    async fn own(url: &str) -> SocketAddr {
        control(Backend::Own {
            url: url.to_owned(),
            stream_paths: vec!["/{name}/stream".to_owned(), "/sse".to_owned()],
        })
        .await
    }

    fn body(wire: &str) -> &str {
        wire.split_once("\r\n\r\n").unwrap().1
    }

    fn facts_of(page: &str) -> Value {
        let (_, rest) = page.split_once("id=\"facts\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[tokio::test]
    async fn the_page_and_its_parts_are_served_at_both_places() {
        let (address, _app) = built_in().await;
        let page = request(address, "GET /", "").await;
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        assert_eq!(
            body(&page),
            body(&request(address, "GET /__sidestream/", "").await)
        );
        let referred = body(&page)
            .split('"')
            .filter(|text| text.starts_with(PREFIX));
        for part in referred.chain(["/__sidestream/flow.js"]) {
            let answer = request(address, &format!("GET {part}"), "").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{part}: {answer}");
            assert!(
                answer.contains("text/css") || answer.contains("text/javascript"),
                "{part}"
            );
        }
    }

    #[tokio::test]
    async fn the_page_knows_ports_and_streams_from_the_start() {
        let (address, _app) = built_in().await;
        let facts = facts_of(&request(address, "GET /", "").await);
        assert_eq!(facts["ports"]["secure"], 8443);
        assert_eq!(facts["upstream"], Value::Null);
        assert_eq!(facts["streams"][0]["path"], "/xxx/stream");

        let address = own("http://a/</script>").await;
        let facts = facts_of(&request(address, "GET /", "").await);
        assert_eq!(facts["upstream"], "http://a/</script>");
        assert_eq!(facts["streams"][1]["path"], "/sse");
    }

    #[tokio::test]
    async fn the_state_has_the_numbers_of_sidestream_and_of_the_app() {
        let (address, app) = built_in().await;
        let mut reader = Client::get(app.address(), "/xxx/stream").await;
        reader.until("aaa").await;
        let wire = request(address, "GET /__sidestream/api/state", "").await;
        let state: Value = serde_json::from_str(body(&wire)).unwrap();
        assert_eq!(state["subscribers"], 60);
        assert_eq!(state["upstream_connections"], 1);
        assert_eq!(state["app"]["connections"], 1);
        assert_eq!(state["app"]["streams"][0]["open"], 1);

        let wire = request(own("http://a").await, "GET /__sidestream/api/state", "").await;
        let state: Value = serde_json::from_str(body(&wire)).unwrap();
        assert_eq!(
            (&state["channels"], &state["app"]),
            (&2.into(), &Value::Null)
        );
    }

    #[tokio::test]
    async fn only_our_two_origins_may_read_and_push_the_button() {
        let (address, app) = built_in().await;
        let check = async |origin: &str, allowed: bool| {
            let extra = format!("origin: {origin}\r\n");
            let answer = request(address, "GET /__sidestream/api/state", &extra).await;
            let cors = format!("access-control-allow-origin: {origin}\r\n");
            assert_eq!(
                answer.to_lowercase().contains(&cors),
                allowed,
                "{origin}: {answer}"
            );
            if !allowed {
                let button = "POST /__sidestream/api/app/restart";
                let answer = request(address, button, &extra).await;
                assert!(answer.starts_with("HTTP/1.1 403 "), "{origin}: {answer}");
            }
        };
        check("http://127.0.0.1:8080", true).await;
        check("https://localhost:8443", true).await;
        for foreign in ["http://127.0.0.1:8443", "https://evil.example", "null"] {
            check(foreign, false).await;
        }
        assert_eq!(app.starts(), 1);
    }

    #[tokio::test]
    async fn the_button_takes_the_app_away_and_brings_it_back() {
        let (address, app) = built_in().await;
        let mut reader = Client::get(app.address(), "/xxx/stream").await;
        reader.until("aaa").await;
        let button = "POST /__sidestream/api/app/restart?pause_ms=50";
        let extra = "origin: http://127.0.0.1:8080\r\ncontent-length: 0\r\n";
        let answer = request(address, button, extra).await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        reader.until_closed().await;
        eventually("the app is back", || app.is_up() && app.starts() == 2).await;
    }

    #[tokio::test]
    async fn a_second_push_meanwhile_is_refused() {
        let (address, app) = built_in().await;
        let button = "POST /__sidestream/api/app/restart?pause_ms=30000";
        let answer = request(address, button, "").await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let answer = request(address, button, "").await;
        assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
        eventually("the app is down", || !app.is_up()).await;
    }

    #[tokio::test]
    async fn an_own_app_has_no_button_and_unknown_paths_are_not_found() {
        let address = own("http://a").await;
        for (request_line, status) in [
            ("POST /__sidestream/api/app/restart", "404"),
            ("GET /__sidestream/nothing", "404"),
            ("GET /__sidestream/api/config", "200"),
            ("HEAD /", "200"),
            ("DELETE /", "405"),
            ("OPTIONS /__sidestream/api/state", "204"),
        ] {
            let answer = request(address, request_line, "").await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request_line}: {answer}"
            );
        }
    }

    #[test]
    fn a_pause_is_bounded() {
        for (query, milliseconds) in [
            ("", 0),
            ("pause_ms=2500", 2_500),
            ("pause_ms=-1", 0),
            ("pause_ms=999999", 30_000),
        ] {
            assert_eq!(pause(query), Duration::from_millis(milliseconds), "{query}");
        }
    }
}
