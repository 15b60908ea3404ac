//! The demo's configuration: YAML as a user would write it, loaded the way a user's is.

use std::path::Path;

use super::control::Ports;
use crate::config::{self, Config, Report, report::Problem};

/// Name of the file in reports, had anybody written it.
const FILE_NAME: &str = "demo.yaml";

/// What is behind the demo's Sidestream.
pub(super) struct Setup<'a> {
    /// The ports of the demo.
    pub(super) ports: Ports,
    /// Port of the admin service.
    pub(super) admin: u16,
    /// URL of the app.
    pub(super) app: &'a str,
    /// Fan-out paths of the user's own app; none: the built-in app.
    pub(super) stream_paths: Option<&'a [String]>,
    /// Certificate file.
    pub(super) certificate: &'a Path,
    /// Key file.
    pub(super) key: &'a Path,
}

/// Text and configuration.
///
/// # Errors
/// Something that the user gave (URL, paths) is wrong; the report says what.
pub(super) fn load(setup: &Setup<'_>) -> Result<(String, Config), String> {
    let text = yaml(setup);
    match config::load(&text, FILE_NAME, &|_| None) {
        Ok(config) => Ok((text, config)),
        Err(report) => Err(in_words_of_the_command_line(setup, &report)),
    }
}

/// The file is ours, so the user knows nothing of its lines: problems are told by flag.
fn in_words_of_the_command_line(setup: &Setup<'_>, report: &Report) -> String {
    let by_flag = |problem: &Problem| {
        let flag = flag(setup, &problem.path)?;
        let hint = problem.hint.as_deref().unwrap_or("see --help");
        Some(format!("{flag}: {}; {hint}", problem.message))
    };
    let told: Option<Vec<String>> = report.problems.iter().map(by_flag).collect();
    match told {
        Some(lines) => lines.join("\n"),
        None => format!("the demo's own configuration does not load; please report it\n{report}"),
    }
}

/// The flag from which the value at `path` in the file came.
fn flag(setup: &Setup<'_>, path: &str) -> Option<String> {
    if path.starts_with("upstreams.app") {
        return Some("--upstream".to_owned());
    }
    let index = path.strip_prefix("routes[")?.split(']').next()?;
    let index: usize = index.parse().ok()?;
    // Our own routes are well, unless one of the user's takes the same requests.
    Some(match setup.stream_paths?.get(index) {
        Some(pattern) => format!("--stream-path {pattern}"),
        None => "--stream-path".to_owned(),
    })
}

fn yaml(setup: &Setup<'_>) -> String {
    let Ports {
        plain,
        secure,
        control,
    } = setup.ports;
    let admin = setup.admin;
    let certificate = quoted(&setup.certificate.display().to_string());
    let key = quoted(&setup.key.display().to_string());
    let app = quoted(setup.app);
    let routes = setup.stream_paths.map_or_else(
        || BUILT_IN_ROUTES.to_owned(),
        |paths| own_routes(paths.iter().map(String::as_str)),
    );
    format!(
        "version: 1
listeners:
  - name: plain
    address: 127.0.0.1:{plain}
  - name: secure
    address: 127.0.0.1:{secure}
    tls: {{ certificate: {certificate}, key: {key} }}
upstreams:
  app: {app}
  page: http://127.0.0.1:{control}
defaults:
  backoff: {{ min: 100ms, max: 1s }}   # so that a restarted app is found within a second
  linger: 5s
routes:
{routes}  - {{ path: /__sidestream/, upstream: page, action: proxy }}
  - {{ path: \"/__sidestream/{{*rest}}\", upstream: page, action: proxy }}
drain: {{ window: 1s, margin: 1s, listen_min: 0 }}   # Ctrl-C should not take long
admin:
  address: 127.0.0.1:{admin}
log:
  filter: warn
"
    )
}

/// The built-in app's streams are the same for all; a chat's answer is read from its beginning.
const BUILT_IN_ROUTES: &str = "  \
  - { path: \"/{name}/stream\", upstream: app, action: fanout, share: public }
  - { path: /demo/ticker, upstream: app, action: fanout, share: public }
  - { path: /demo/log, upstream: app, action: fanout, share: public }
  - { path: /demo/chat, upstream: app, action: fanout, share: public, late_join: all }
  - { path: /, upstream: page, action: proxy }
";

/// The user's app keeps every path but ours, and shares only what has the same credentials.
fn own_routes<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let fanout = |path| {
        format!(
            "  - {{ path: {}, upstream: app, action: fanout }}\n",
            quoted(path)
        )
    };
    let mut routes: String = paths.map(fanout).collect();
    routes.push_str("  - { path: /, upstream: app, action: proxy }\n");
    routes.push_str("  - { path: \"/{*rest}\", upstream: app, action: proxy }\n");
    routes
}

/// A JSON string is a YAML string, whatever the user typed; `$$` is a dollar sign to our loader.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Action;

    fn setup<'a>(app: &'a str, stream_paths: Option<&'a [String]>) -> Setup<'a> {
        Setup {
            ports: Ports {
                plain: 8080,
                secure: 8443,
                control: 8090,
            },
            admin: 9901,
            app,
            stream_paths,
            certificate: Path::new("/tmp/a \"b\"/certificate.pem"),
            key: Path::new("/tmp/a \"b\"/key.pem"),
        }
    }

    fn fanout_paths(config: &Config) -> Vec<&str> {
        let fanout = |action: &Action| matches!(action, Action::Fanout(_));
        let routes = config.routes.iter();
        routes
            .filter(|route| fanout(&route.action))
            .map(|route| route.matches.path.as_str())
            .collect()
    }

    #[test]
    fn the_built_in_app_fans_out_its_streams_and_the_page_passes_through() {
        let (_, config) = load(&setup("http://127.0.0.1:3005", None)).unwrap();
        assert_eq!(
            fanout_paths(&config),
            ["/{name}/stream", "/demo/ticker", "/demo/log", "/demo/chat"]
        );
        assert_eq!(config.routes.len(), 7);
    }

    #[test]
    fn an_own_app_keeps_every_other_path() {
        let paths = ["/{name}/stream".to_owned(), "/costs$5".to_owned()];
        let (_, config) = load(&setup("http://127.0.0.1:3005", Some(&paths))).unwrap();
        assert_eq!(fanout_paths(&config), ["/{name}/stream", "/costs$5"]);
        let root = config.routes.iter().find(|route| route.matches.path == "/");
        assert_eq!(root.unwrap().upstream.name, "app");
    }

    #[test]
    fn what_the_user_typed_wrong_is_reported_not_injected() {
        let check = |app: &str, path: &str, said: &str| {
            let paths = [path.to_owned()];
            let error = load(&setup(app, Some(&paths))).unwrap_err();
            assert!(error.contains(said), "{app} {path}: {error}");
            assert!(!error.contains("demo.yaml"), "{error}");
        };
        check(
            "not a url",
            "/sse",
            "--upstream: `not a url` has no scheme; write",
        );
        check(
            "http://u:secret@app",
            "/sse",
            "--upstream: an address must not hold",
        );
        check(
            "http://127.0.0.1:1\"\nlog: {}",
            "/sse",
            "is not an address; write",
        );
        let app = "http://127.0.0.1:3005";
        check(app, "no-slash", "--stream-path no-slash: ");
        check(app, "/", "--stream-path: ");
    }
}
