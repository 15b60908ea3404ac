//! The examples of `conf/`, the schema, and what is printed.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::{
    load,
    model::{Action, Config, CookieIdentity, Fanout, Share},
    print, schema,
};

/// An environment with nothing in it.
fn no_env(_: &str) -> Option<String> {
    None
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn loaded(source: &str) -> Config {
    load(source, "test.yaml", &no_env).unwrap_or_else(|report| panic!("{report}"))
}

/// All files of `conf/` with their names.
fn examples() -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = fs::read_dir(repository().join("conf"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    examples.sort();
    examples
}

fn fanouts(config: &Config) -> Vec<&Fanout> {
    fn fanout(action: &Action) -> Option<&Fanout> {
        match action {
            Action::Fanout(fanout) => Some(fanout),
            Action::Stream(_) | Action::Proxy => None,
        }
    }
    config
        .routes
        .iter()
        .filter_map(|route| fanout(&route.action))
        .collect()
}

#[test]
fn every_example_loads() {
    let examples = examples();
    assert!(examples.len() >= 8, "{} examples", examples.len());
    for (name, source) in examples {
        if let Err(report) = load(&source, &name, &no_env) {
            panic!("{report}");
        }
        let first = source.lines().next().unwrap();
        let expected = "# yaml-language-server: $schema=../schema/sidestream.schema.json";
        assert_eq!(first, expected, "{name}");
    }
}

#[test]
fn what_is_printed_loads_to_the_same_configuration() {
    for (name, source) in examples() {
        let config = loaded(&source);
        let printed = print(&config);
        let again = load(&printed, &name, &no_env).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(again, config, "{name}:\n{printed}");
        assert_eq!(print(&again), printed, "{name}");
    }
}

#[test]
fn a_dollar_sign_survives_printing() {
    let source = "
version: 1
listeners: [{name: '$${HOME}$$', address: '127.0.0.1:0'}]
upstreams: {app: http://app}
routes: [{path: '/$x', action: proxy}]
";
    let config = loaded(source);
    assert_eq!(config.listeners[0].name, "${HOME}$");
    assert_eq!(config.routes[0].matches.path, "/$x");
    assert_eq!(loaded(&print(&config)), config);
}

#[test]
fn the_common_case_is_short() {
    let (_, source) = examples()
        .into_iter()
        .find(|(name, _)| name == "sidestream.yaml")
        .unwrap();
    let effective = source
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    assert!(effective.count() <= 20);
}

/// Keys of all mappings in the schema.
fn schema_keys() -> BTreeSet<String> {
    fn gather(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
        if let Some(properties) = schema
            .get("properties")
            .and_then(serde_json::Value::as_object)
        {
            keys.extend(properties.keys().cloned());
        }
        if let Some(map) = schema.as_object() {
            map.values().for_each(|value| gather(value, keys));
        }
        for item in schema.as_array().into_iter().flatten() {
            gather(item, keys);
        }
    }
    let mut keys = BTreeSet::new();
    gather(&serde_json::from_str(&schema()).unwrap(), &mut keys);
    keys
}

#[test]
fn the_full_example_mentions_every_key() {
    let (_, source) = examples()
        .into_iter()
        .find(|(name, _)| name == "full.yaml")
        .unwrap();
    let mentioned: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.trim_start_matches([' ', '#', '-']).split_once(':'))
        .map(|(key, _)| key)
        .collect();
    let keys = schema_keys();
    assert!(keys.len() > 60, "{} keys in the schema", keys.len());
    let missing: Vec<&String> = keys
        .iter()
        .filter(|key| !mentioned.contains(key.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "conf/full.yaml does not mention {missing:?}"
    );
}

#[test]
fn the_full_example_shows_the_defaults() {
    let (_, source) = examples()
        .into_iter()
        .find(|(name, _)| name == "full.yaml")
        .unwrap();
    let full = loaded(&source);
    let bare = loaded(
        "
version: 1
listeners: [{address: 0.0.0.0:8080}]
upstreams: {app: http://127.0.0.1:3000, billing: https://billing.internal}
routes: [{path: /a, upstream: app, action: fanout}]
",
    );
    assert_eq!(fanouts(&full), fanouts(&bare));
    assert_eq!(full.upstreams, bare.upstreams);
    assert_eq!(full.limits, bare.limits);
    assert_eq!(full.drain, bare.drain);
    assert_eq!(full.admin, bare.admin);
    assert_eq!(full.log, bare.log);
    assert_eq!(full.threads, bare.threads);
}

#[test]
fn the_authority_of_an_app_is_one_that_host_may_carry() {
    for (address, authority) in [
        ("http://app:3000", "app:3000"),
        ("https://app", "app:443"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("unix:/run/app.sock", "localhost"),
    ] {
        let config = loaded(&format!(
            "version: 1\nlisteners: [{{address: 127.0.0.1:0}}]\nupstreams: {{app: '{address}'}}\n\
             routes: [{{path: /, action: proxy}}]"
        ));
        assert_eq!(config.upstreams[0].address.authority(), authority);
    }
}

#[test]
fn timeouts_and_bounds_do_not_make_another_app() {
    let app = |settings: &str| {
        let config = loaded(&format!(
            "version: 1\nlisteners: [{{address: 127.0.0.1:0}}]\nupstreams: {{{settings}}}\n\
             routes: [{{path: /, action: proxy}}]"
        ));
        config.upstreams[0].clone()
    };
    let before = app("app: 'https://app'");
    for (settings, is_same) in [
        (
            "app: {address: 'https://app', connections_max: 7, attempts_max: 3}",
            true,
        ),
        (
            "app: {address: 'https://app', read_timeout: 5s, connect_timeout: 1s}",
            true,
        ),
        ("app: 'https://app:8443'", false),
        ("app: 'http://app:443'", false),
        ("app: {address: 'https://app', tls: {verify: false}}", false),
        ("app: {address: 'https://app', host: inner}", false),
        ("app: {address: 'https://app', http: 1}", true),
        ("app: {address: 'https://app', http: auto}", false),
        ("other: 'https://app'", true),
    ] {
        assert_eq!(before.is_same_app(&app(settings)), is_same, "{settings}");
    }
}

#[test]
fn the_schema_file_is_up_to_date() {
    let path = repository().join("schema/sidestream.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, schema()).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == schema(),
        "run `UPDATE_SCHEMA=1 cargo test schema` and commit the file"
    );
}

#[test]
fn a_route_wins_over_defaults_and_they_over_the_program() {
    let config = loaded(
        "
version: 1
listeners: [{address: 127.0.0.1:0}]
upstreams: {app: http://app}
defaults:
  heartbeat: 20s
  ring: {events_max: 10, bytes_max: 2MiB}
  identity: {cookies: [session]}
routes:
  - {path: /a, action: fanout, heartbeat: 30s, ring: {events_max: 20}}
  - {path: /b, action: fanout, share: public}
",
    );
    let [a, b] = fanouts(&config)[..] else {
        panic!("two fan-out routes")
    };
    assert_eq!((a.heartbeat.as_secs(), b.heartbeat.as_secs()), (30, 20));
    assert_eq!((a.ring.events_max, b.ring.events_max), (20, 10));
    assert_eq!((a.ring.bytes_max, a.slow.bytes_max), (2 << 20, 2 << 20));
    assert_eq!(
        (a.ring.age_max.as_secs(), b.ring.age_max.as_secs()),
        (600, 600)
    );
    assert_eq!((a.linger.as_secs(), b.linger.as_secs()), (5, 30));
    assert_eq!(
        a.identity.cookies,
        CookieIdentity::Named(vec!["session".to_owned()])
    );
    assert_eq!(b.share, Share::Public);
    assert!(
        b.identity.headers.is_empty(),
        "a public route has no identity"
    );
    assert_eq!(b.identity.cookies, CookieIdentity::Named(Vec::new()));
}

#[test]
fn what_must_fit_together_is_judged_where_it_is_in_force() {
    let source = |defaults: &str, route: &str| {
        format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{app: 'http://app'}}\n\
             defaults: {{{defaults}}}\nroutes: [{{path: /a, {route}}}]\n"
        )
    };
    for (defaults, route) in [
        ("backoff: {min: 20s}", "backoff: {max: 30s}"),
        ("retry: {min: 10s, max: 5s}", "retry: {max: 20s}"),
        ("on_end: final, late_join: all", "on_end: pass"),
        ("on_end: final, ids: unique", "ids: local"),
        ("on_end: final, linger: 5s", "linger: 2m"),
        ("late_join: 2000", "ring: {events_max: 2000}"),
        ("identity: {headers: [], cookies: []}", "share: public"),
        ("cors: {max_age: 1m}", "cors: {origins: all}"),
        (
            "cors: {origins: all, credentials: true}",
            "cors: {credentials: false}",
        ),
        ("query: [a, last_event_id]", "last_event_id_query: from"),
        ("resume: true, event: {id_bytes_max: 2KiB}", "resume: false"),
        ("event: {bytes_max: 2MiB}", "ring: {bytes_max: 8MiB}"),
        (
            "ring: {events_max: 10}, slow: {events_max: 20}",
            "slow: {events_max: 5}",
        ),
        ("slow: {bytes_max: 2MiB}", "ring: {bytes_max: 2MiB}"),
        ("slow: {bytes_max: 64KiB}", "event: {bytes_max: 16KiB}"),
        ("slow: {policy: conflate}", "slow: {conflate_by: id}"),
    ] {
        let fits = source(defaults, &format!("action: fanout, {route}"));
        loaded(&fits);
        for action in ["fanout", "proxy"] {
            let clashes = source(defaults, &format!("action: {action}"));
            let report = load(&clashes, "test.yaml", &no_env).unwrap_err();
            assert_eq!(report.problems.len(), 1, "{clashes}{report}");
            assert_eq!(report.problems[0].line, 4, "{clashes}{report}");
        }
    }
    // A stream route has a range of reconnect times, and nothing of the rest.
    let range = "retry: {min: 10s, max: 5s}";
    loaded(&source(
        &format!("{range}, late_join: 2000"),
        "action: stream, retry: {max: 20s}",
    ));
    let report = load(&source(range, "action: stream"), "test.yaml", &no_env).unwrap_err();
    assert_eq!(report.problems[0].path, "defaults.retry.max", "{report}");
}

#[test]
fn variables_serve_where_numbers_and_booleans_are_wanted() {
    let env = |name: &str| match name {
        "PORT" => Some("8080".to_owned()),
        "THREADS" => Some("3".to_owned()),
        "VERIFY" => Some("false".to_owned()),
        "JOIN" => Some("7".to_owned()),
        "BEAT" => Some("20s".to_owned()),
        "ACTION" => Some("fanout".to_owned()),
        "NAME" => Some("8080".to_owned()),
        _ => None,
    };
    let source = "
version: 1
listeners: [{name: '${NAME}', address: '127.0.0.1:${PORT}'}]
upstreams: {app: {address: 'https://app', tls: {verify: '${VERIFY}'}}}
routes: [{path: '/${NONE:-a}', action: '${ACTION}', late_join: '${JOIN}', heartbeat: '${BEAT}', linger: '${NONE:-}'}]
threads: ${THREADS}
";
    let config = load(source, "test.yaml", &env).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.threads, 3);
    assert_eq!(config.listeners[0].name, "8080");
    assert!(!config.upstreams[0].tls.as_ref().unwrap().verify);
    let [fanout] = fanouts(&config)[..] else {
        panic!("one fan-out route")
    };
    assert_eq!(fanout.late_join, super::model::LateJoin::Last(7));
    assert_eq!(
        (fanout.heartbeat.as_secs(), fanout.linger.as_secs()),
        (20, 5)
    );
    assert_eq!(config.routes[0].matches.path, "/a");
}

#[test]
fn an_empty_variable_is_a_value_unless_it_may_stay_away() {
    let env = |name: &str| (name == "EMPTY").then(String::new);
    let has_host = |host: &str| {
        let source = format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{app: 'http://app'}}\n\
             routes: [{{path: /a, action: proxy, host: '{host}'}}]\n"
        );
        load(&source, "test.yaml", &env).map(|config| config.routes[0].matches.host.is_some())
    };
    assert!(has_host("${EMPTY}").is_err(), "an empty host is no host");
    assert_eq!(has_host("${EMPTY:-a}"), Ok(true));
    assert_eq!(has_host("${EMPTY:-}"), Ok(false));
    assert_eq!(has_host("${NONE:-}"), Ok(false));
}
