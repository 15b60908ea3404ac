//! Checked values for tests, with the shipped defaults.

use std::sync::Arc;

use super::{
    load,
    model::{Action, Config, Fanout, Limits, Route, RouteMatch, Stream, Upstream},
};

/// What a configuration says that says no more than it must, before an app on loopback.
fn bare(port: u16) -> Config {
    let source = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{app: 'http://127.0.0.1:{port}'}}\nroutes: [{{path: /, action: fanout}}]\n"
    );
    load(&source, "testing.yaml", &|_| None).unwrap_or_else(|report| panic!("{report}"))
}

/// A configuration with these routes. Its table knows none of them: for who takes routes by name.
#[must_use]
pub fn config(routes: Vec<Arc<Route>>) -> Config {
    Config { routes, ..bare(1) }
}

/// A fan-out route's settings.
#[must_use]
pub fn fanout() -> Fanout {
    match &bare(1).routes[0].action {
        Action::Fanout(settings) => Fanout::clone(settings),
        Action::Stream(_) | Action::Proxy => unreachable!("the route above fans out"),
    }
}

/// A stream route's settings.
#[must_use]
pub fn stream() -> Stream {
    Stream::of(&fanout())
}

/// The bounds of a process.
#[must_use]
pub fn limits() -> Limits {
    bare(1).limits
}

/// An upstream on loopback.
#[must_use]
pub fn upstream(port: u16) -> Arc<Upstream> {
    bare(port).upstreams[0].clone()
}

/// A route on `path`.
#[must_use]
pub fn route(name: &str, path: &str, action: Action) -> Arc<Route> {
    Arc::new(Route {
        name: name.to_owned(),
        matches: RouteMatch {
            host: None,
            path: path.to_owned(),
            methods: Vec::new(),
        },
        upstream: upstream(1),
        action,
    })
}
