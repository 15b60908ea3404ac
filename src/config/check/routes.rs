//! Routes: which requests, which app, and what happens.

use std::sync::Arc;

use http::Method;

use super::{
    super::{
        model::{Action, HostPattern, Limits, Route, RouteMatch, Upstream},
        raw::{self, RouteAction},
        suggest,
    },
    address,
    at::At,
    fanout, stream, together,
};
use crate::route::table::{Table, TableError, normal_host};

/// Routes in file order, and the table that searches them.
type Routes = (Vec<Arc<Route>>, Table<Arc<Route>>);

pub(super) fn routes(
    file: &raw::File,
    upstreams: &[Arc<Upstream>],
    limits: &Limits,
    root: &At<'_>,
) -> Routes {
    let at = root.key("routes");
    let defaults_at = root.key("defaults");
    if file.routes.is_empty() && !at.is_damaged() {
        at.problem("there is no route; add one, as in `routes: [{path: /events, action: fanout}]`");
    }
    // On their own as well: they may be wrong without a route that uses them.
    let place = fanout::Place {
        route: &defaults_at,
        defaults: &defaults_at,
    };
    let nothing = raw::Defaults::default();
    let alone = fanout::fanout(&nothing, &file.defaults, limits, &place);
    // What must fit together is judged where it is in force.
    if file
        .routes
        .iter()
        .all(|raw| raw.action == RouteAction::Proxy)
    {
        together::fanout(&nothing, &file.defaults, &alone, &place);
    }

    let mut routes: Vec<Arc<Route>> = Vec::new();
    for (index, raw) in file.routes.iter().enumerate() {
        let here = at.item(index);
        let name = name(raw, &routes, &at, &here);
        let matches = matches(raw, &here);
        let upstream = upstream(raw, upstreams, root, &here);
        let action = action(raw, file, limits, &here, &defaults_at);
        // Without an app there is no route, but its name and index must stay: a stand-in, which
        // never leaves the check.
        let upstream = upstream.or_else(|| upstreams.first().cloned());
        let Some(upstream) = upstream else { continue };
        routes.push(Arc::new(Route {
            name,
            matches,
            upstream,
            action,
        }));
    }
    let table = table(&routes, &at);
    (routes, table)
}

fn table(routes: &[Arc<Route>], at: &At<'_>) -> Table<Arc<Route>> {
    let entries: Vec<(RouteMatch, Arc<Route>)> = routes
        .iter()
        .map(|route| (route.matches.clone(), Arc::clone(route)))
        .collect();
    let errors = match Table::new(&entries) {
        Ok(table) => return table,
        Err(errors) => errors,
    };
    for error in errors {
        match error {
            TableError::Pattern { index, message } => at.item(index).key("path").problem(&message),
            TableError::Conflict { index, with } => at.item(index).key("path").clash(
                &at.item(with).key("path"),
                "first here",
                "this route takes the same requests as another; change `path`, `host` or `methods`",
            ),
        }
    }
    Table::default()
}

fn name(raw: &raw::Route, before: &[Arc<Route>], at: &At<'_>, here: &At<'_>) -> String {
    let name = raw.name.clone().unwrap_or_else(|| name_of_path(&raw.path));
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        here.key("name")
            .problem("a route name has 1 to 100 characters; choose another one");
    }
    if let Some(first) = before.iter().position(|route| route.name == name) {
        let (key, message) = match raw.name {
            Some(_) => (
                "name",
                format!("route `{name}` stands twice; give each its own name"),
            ),
            None => (
                "path",
                format!("two routes would be named `{name}`; give this one a `name`"),
            ),
        };
        let other = at.item(first);
        let other_key = if other.mentions("name") {
            "name"
        } else {
            "path"
        };
        here.key(key)
            .clash(&other.key(other_key), "first here", &message);
    }
    name
}

/// `/prices/{symbol}` is named `prices-symbol`, `/` is named `root`.
fn name_of_path(path: &str) -> String {
    let words: Vec<&str> = path
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        "root".to_owned()
    } else {
        words.join("-")
    }
}

fn matches(raw: &raw::Route, at: &At<'_>) -> RouteMatch {
    path(&raw.path, &at.key("path"));
    let host = raw
        .host
        .as_deref()
        .and_then(|text| host(text, &at.key("host")));
    let methods = raw
        .methods
        .as_deref()
        .map_or_else(Vec::new, |texts| methods(texts, raw.action, at));
    RouteMatch {
        host,
        path: raw.path.clone(),
        methods,
    }
}

/// What the table does not judge: patterns that no request that we serve can meet.
fn path(path: &str, at: &At<'_>) {
    if path.contains(['?', '#']) {
        at.problem("a path pattern has no query; leave out `?` and what follows");
    }
    let bad =
        |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>' | '^' | '`' | '|');
    if let Some(bad) = path.chars().find(|c| bad(*c)) {
        at.problem(&format!(
            "clients cannot send `{}` in a path; write it percent-encoded, as they do",
            bad.escape_default()
        ));
    }
    if path
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        at.problem("requests with `.` or `..` segments are refused; write the path without them");
    }
}

fn host(text: &str, at: &At<'_>) -> Option<HostPattern> {
    let normal = normal_host(text);
    let has_port = normal.len() < text.strip_suffix('.').unwrap_or(text).len();
    let name = normal.strip_prefix("*.").unwrap_or(&normal);
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if has_port {
        at.problem("hosts are compared without their port; leave it out");
        return None;
    }
    if bare.contains('*') || !address::is_host(bare) {
        at.problem(&format!(
            "`{}` is not a host; write `app.example.com`, or `*.example.com` for all below it",
            text.escape_debug()
        ));
        return None;
    }
    Some(match normal.strip_prefix('*') {
        Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
        None if bare.contains(':') => HostPattern::Exact(format!("[{bare}]")),
        None => HostPattern::Exact(normal.into_owned()),
    })
}

fn methods(texts: &[String], action: RouteAction, at: &At<'_>) -> Vec<Method> {
    let at = at.key("methods");
    if texts.is_empty() {
        at.problem("an empty list takes no request; leave `methods` out to take any");
    }
    let mut methods = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let here = at.item(index);
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let upper = text.to_ascii_uppercase();
            here.problem(&format!("methods are in upper case; write `{upper}`"));
            continue;
        }
        match text.parse::<Method>() {
            Ok(method) if action == RouteAction::Fanout && method != Method::GET => here.problem(
                "only GET can be fanned out; leave `methods` out: other methods of a fan-out \
                 route are passed through",
            ),
            Ok(method) if methods.contains(&method) => {
                here.problem(&format!("`{method}` stands twice; keep one"));
            }
            Ok(method) => methods.push(method),
            Err(_) => here.problem("this is not a method; write one as in `GET`"),
        }
    }
    methods
}

fn upstream(
    raw: &raw::Route,
    upstreams: &[Arc<Upstream>],
    root: &At<'_>,
    at: &At<'_>,
) -> Option<Arc<Upstream>> {
    let Some(name) = &raw.upstream else {
        if let [only] = upstreams
            && !root.key("upstreams").is_damaged()
        {
            return Some(Arc::clone(only));
        }
        if !upstreams.is_empty() {
            at.missing(
                "upstream",
                "there are several upstreams; name one with `upstream`",
            );
        }
        return None;
    };
    let found = upstreams
        .iter()
        .find(|upstream| upstream.name == *name)
        .cloned();
    // That there is none at all, or that this one is bad, is told where they stand.
    if found.is_none() && !upstreams.is_empty() && !root.key("upstreams").mentions(name) {
        let known: Vec<&str> = upstreams
            .iter()
            .map(|upstream| upstream.name.as_str())
            .collect();
        let hint = match suggest::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        at.key("upstream")
            .problem(&format!("there is no upstream `{name}`; {hint}"));
    }
    found
}

fn action(
    raw: &raw::Route,
    file: &raw::File,
    limits: &Limits,
    at: &At<'_>,
    defaults_at: &At<'_>,
) -> Action {
    let place = fanout::Place {
        route: at,
        defaults: defaults_at,
    };
    match raw.action {
        RouteAction::Fanout => {
            let own = raw.fanout();
            let fanout = fanout::fanout(&own, &file.defaults, limits, &place);
            together::fanout(&own, &file.defaults, &fanout, &place);
            Action::Fanout(Arc::new(fanout))
        }
        RouteAction::Stream => {
            let stream = stream::stream(&raw.fanout(), &file.defaults, &place);
            together::retry(&stream.retry, &place);
            Action::Stream(Arc::new(stream))
        }
        RouteAction::Proxy => {
            for key in raw.fanout_keys() {
                let others = if stream::KEYS.contains(&key) {
                    "`action: fanout` or `action: stream`"
                } else {
                    "`action: fanout`"
                };
                at.key(key).key_problem(&format!(
                    "`{key}` has no effect under `action: proxy`; leave it out, or write {others}"
                ));
            }
            Action::Proxy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::name_of_path;

    #[test]
    fn routes_are_named_after_their_path() {
        for (path, expected) in [
            ("/", "root"),
            ("/prices/{symbol}", "prices-symbol"),
            ("/{*rest}", "rest"),
            ("/a/b.c/", "a-b.c"),
            ("", "root"),
        ] {
            assert_eq!(name_of_path(path), expected, "{path}");
        }
    }
}
