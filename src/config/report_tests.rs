//! What users see when a file is wrong. Each bad value is a file of its own; the snapshots show the
//! reports of one area together. `cargo insta accept`, or `INSTA_UPDATE=always`, takes new ones.

use super::{load, report::Report};

/// What a fragment does not speak of is added after it, so that only the fragment is wrong.
const BASE: [(&str, &str); 4] = [
    ("version:", "version: 1"),
    ("listeners:", "listeners: [{address: '127.0.0.1:0'}]"),
    ("upstreams:", "upstreams: {app: 'http://app'}"),
    (
        "routes:",
        "routes: [{path: /other, upstream: app, action: proxy}]",
    ),
];

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("80x".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn refused(source: &str) -> Report {
    match load(source, "bad.yaml", &env) {
        Ok(_) => panic!("this loads:\n{source}"),
        Err(report) => report,
    }
}

/// The reports of some fragments, one after the other.
fn reports(fragments: &[&str]) -> String {
    let mut shown = String::new();
    for fragment in fragments {
        let mut source = format!("{}\n", fragment.trim_matches('\n'));
        for (key, section) in BASE {
            if !source.lines().any(|line| line.starts_with(key)) {
                source.push_str(&format!("{section}\n"));
            }
        }
        shown.push_str(&format!("{}\n\n", refused(&source)));
    }
    shown
}

macro_rules! snapshot {
    ($name:ident, $($fragment:literal),+ $(,)?) => {
        #[test]
        fn $name() {
            insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(stringify!($name), reports(&[$($fragment),+]));
            });
        }
    };
}

snapshot!(
    wrong_yaml,
    "limits:\n\tdrain: 1",
    "a: b: c",
    "limits: [1, 2",
    "admin: {address: ${ADMIN}}",
    "limits: 'x",
    "limits: *nowhere",
    "---\nlimits: {}\n---\nlimits: {}",
    "limits: !big {}",
    "? [a]\n: b",
    "limits:\n  <<: {channels_max: 1}",
    "drain: {window: 1s}\nlimits: {}\ndrain: {window: 2s}",
);

snapshot!(
    wrong_form,
    "version: 2",
    "version:",
    "version: one",
    "limts: {}",
    "heartbeat: 5s",
    "limits: 5",
    "limits: {channels_max: many}",
    "limits: {channels_max: -1}",
    "limits: {channels_max: 1.5}",
    "limits: {channels_max: 99999999999999999999}",
    "log: {format: jsn}",
    "log: {format: [json]}",
    "log: {format: 1}",
    "routes: {path: /a}",
    "routes: [/a]",
    "routes: [{path: /a}]",
    "routes: [{action: proxy}]",
    "routes: [{path: 5, action: proxy}]",
    "routes: [{path: true, action: proxy}]",
    "routes: [{path: /a, action: fanot}]",
    "routes: [{path: /a, action: redirect}]",
    "routes: [{path: /a, action: fanout, late_join: last}]",
    "routes: [{path: /a, action: fanout, late_join: -1}]",
    "routes: [{path: /a, action: fanout, query: none}]",
    "routes: [{path: /a, action: fanout, reauth: never}]",
    "routes: [{path: /a, action: fanout, query: {a: b}}]",
    "routes: [{path: /a, action: fanout, ring: 5}]",
    "routes: [{path: /a, action: fanout, ring: {event_max: 5}}]",
    "routes: [{path: /a, action: fanout, pth: /b}]",
    "upstreams: [http://app]",
    "upstreams: {app: 5}",
    "upstreams: {app: [http://app]}",
    "upstreams: {app: {addres: http://app}}",
    "upstreams: {app: {address: http://app, tls: true}}",
);

snapshot!(
    wrong_units,
    "drain: {window: 5}",
    "drain: {window: fast}",
    "drain: {window: 1.5s}",
    "drain: {window: [1s]}",
    "drain: {window: 2h}",
    "limits: {head_bytes_max: 64k}",
    "limits: {head_bytes_max: 2MiB}",
    "limits: {head_bytes_max: {}}",
);

snapshot!(
    wrong_variables,
    "listeners: [{address: '0.0.0.0:${NOPE}'}]",
    "listeners:\n  - address: 0.0.0.0:${PORT",
    "listeners:\n  - address: 0.0.0.0:${PORT}",
    "threads: ${PORT}",
    "log: {filter: '${1}'}",
    "drain:\n  window: ${WINDOW:-${DRAIN}}",
    "drain: {window: '${EMPTY}'}",
    "upstreams: {app: '${EMPTY:-}'}",
    "routes:\n  - {path: /a, methods: [GET, '${NOPE:-}'], action: proxy}",
    "listeners: ['${EMPTY:-}']",
);

snapshot!(
    wrong_listeners,
    "listeners: []",
    "listeners:",
    "listeners: [{address: ':8080'}]",
    "listeners: [{address: localhost:8080}]",
    "listeners: [{address: 0.0.0.0}]",
    "listeners: [{address: 'unix:run/x.sock'}]",
    "listeners: [{address: 'unix:/x', mode: '0888'}]",
    "listeners: [{address: 'unix:/x', mode: 432}]",
    "listeners: [{address: '127.0.0.1:1', mode: '0660'}]",
    "listeners: [{address: '127.0.0.1:1', tls: {certificate: /x}}]",
    "listeners: [{address: '127.0.0.1:1', tls: {certificate: /x, key: ''}}]",
    "listeners:\n  - {name: a, address: '127.0.0.1:1'}\n  - {name: a, address: '127.0.0.1:2'}",
    "listeners:\n  - {name: '0.0.0.0:2', address: '127.0.0.1:1'}\n  - {address: '0.0.0.0:2'}",
    "listeners:\n  - {address: '127.0.0.1:0'}\n  - {address: '127.0.0.1:0'}",
    "listeners:\n  - {address: '0.0.0.0:1'}\n  - {address: '127.0.0.1:1'}",
    "listeners:\n  - {address: '0.0.0.0:1'}\n  - {address: '[::]:1'}",
);

snapshot!(
    wrong_proxies,
    "trusted_proxies: 10.0.0.0/8",
    "trusted_proxies: [10.0.0.1/8]",
    "trusted_proxies: [0.0.0.0/0]",
    "trusted_proxies: [loopback, ingress]",
    "forwarded_header: x-real-ip",
    "listeners: [{address: '127.0.0.1:1', proxy_protocol: true}]",
    "trusted_proxies: [unix]\nlisteners: [{address: '127.0.0.1:1', proxy_protocol: true}]",
    "trusted_proxies: [private]\nlisteners: [{address: 'unix:/x', proxy_protocol: true}]",
    "limits: {per_address: 5}",
    "limits: {per_address: {subscribers_max: 0, ipv6_prefix: 129}}",
    "limits: {per_address: {subscriber_max: 5}}",
    "limits: {connects_per_second: 0}",
    "routes: [{path: /a, action: fanout, route_subscribers_max: 0}]",
    "routes: [{path: /a, action: proxy, route_subscribers_max: 5}]",
);

snapshot!(
    wrong_upstreams,
    "upstreams: {}",
    "upstreams: {app: 'app:3000'}",
    "upstreams: {app: 'ftp://app'}",
    "upstreams: {app: 'http://app/api'}",
    "upstreams: {app: 'http://u:p@app'}",
    "upstreams: {app: 'http://u:p/w@app/api'}",
    "upstreams: {app: 'u:p@app'}",
    "upstreams: {app: {address: 'http://app', host: 'u:p@app'}}",
    "upstreams: {app: 'http://app:port'}",
    "upstreams: {app: {address: 'http://app', tls: {}}}",
    "upstreams: {app: {address: 'unix:/x', tls: {}}}",
    "upstreams: {app: {address: 'https://app', tls: {server_name: 'a b'}}}",
    "upstreams: {app: {address: 'http://app', host: 'a b'}}",
    "upstreams: {app: {address: 'http://app', connect_timeout: 0}}",
    "upstreams: {app: {address: 'http://app', connections_max: 0}}",
    "upstreams: {app: {address: 'http://app', attempts_max: 0}}",
    "upstreams: {app: {address: 'http://app', http: auto}}",
    "upstreams: {app: {address: 'unix:/x', http: auto}}",
    "upstreams: {app: {address: 'https://app', http: 3}}",
    "upstreams: {app: {address: 'https://app', http: 1.1}}",
    "upstreams: {app: {address: 'https://app', http: h2}}",
    "upstreams:\n  app: http://app\n  app: http://other",
);

snapshot!(
    wrong_routes,
    "routes: []",
    "routes: [{path: a, action: proxy}]",
    "routes: [{path: '/a?b', action: proxy}]",
    "routes: [{path: /a b, action: proxy}]",
    "routes: [{path: /ä, action: proxy}]",
    "routes: [{path: /a/../b, action: proxy}]",
    "routes: [{path: '/{a', action: proxy}]",
    "routes: [{path: '/{a}{b}', action: proxy}]",
    "routes: [{path: '/{*a}/b', action: proxy}]",
    "routes: [{path: /a, host: 'app:80', action: proxy}]",
    "routes: [{path: /a, host: 'a.*.b', action: proxy}]",
    "routes: [{path: /a, host: '', action: proxy}]",
    "routes: [{path: /a, methods: [], action: proxy}]",
    "routes: [{path: /a, methods: [get], action: proxy}]",
    "routes: [{path: /a, methods: [GET, GET], action: proxy}]",
    "routes: [{path: /a, methods: ['G T'], action: proxy}]",
    "routes: [{path: /a, methods: [POST], action: fanout}]",
    "routes: [{path: /a, upstream: ap, action: proxy}]",
    "upstreams: {one: 'http://a', two: 'http://b'}\nroutes: [{path: /a, action: proxy}]",
    "routes:\n  - {path: /a, name: x, action: proxy}\n  - {path: /b, name: x, action: proxy}",
    "routes:\n  - {path: /a, action: proxy}\n  - {path: /a, methods: [GET], action: proxy}",
    "routes:\n  - {name: x, path: '/{a}', action: proxy}\n  - {name: y, path: '/{b}', action: proxy}",
    "routes: [{path: /a, action: proxy, heartbeat: 10s}]",
    "routes: [{path: /a, action: stream, ring: {events_max: 5}}]",
    "routes: [{path: /a, action: stream, slow: {policy: skip, events_max: 5}}]",
    "routes: [{path: /a, action: stream, batch_delay: 5ms, slow: {conflate_by: id}}]",
);

snapshot!(
    wrong_fanout_settings,
    "defaults: {heartbeat: 500ms}",
    "defaults: {heartbeat: 0}",
    "defaults: {heartbeat: 10m}",
    "defaults: {retry: {min: 10ms}}",
    "defaults: {retry: {max: 2h}}",
    "defaults: {retry: {min: 10s, max: 5s}}",
    "defaults: {retry: {min: 10s}}",
    "defaults: {retry: {max: 500ms}}",
    "defaults: {backoff: {min: 1s}}\nroutes: [{path: /a, action: fanout, backoff: {max: 100ms}}]",
    "defaults: {backoff: {min: 0}}",
    "defaults: {resume: true, event: {id_bytes_max: 2KiB}}",
    "defaults: {resume: yes}",
    "defaults: {watchdog: 0}",
    "defaults: {watchdog: on}",
    "defaults: {watchdog: 60}",
    "defaults: {open_wait: 0}",
    "defaults: {ring: {events_max: 0}}",
    "defaults: {ring: {bytes_max: 0}}",
    "defaults: {ring: {bytes_max: 64KiB}, event: {bytes_max: 64KiB}}",
    "defaults: {ring: {events_max: 10}, slow: {events_max: 20}}",
    "defaults: {slow: {bytes_max: 2MiB}}",
    "defaults: {slow: {bytes_max: 64KiB}}",
    "defaults: {slow: {stall_max: 0}}",
    "defaults: {slow: {policy: drop}}",
    "defaults: {slow: {policy: conflate}}",
    "defaults: {slow: {policy: conflate, conflate_by: symbol}}",
    "defaults: {slow: {policy: conflate, conflate_by: /a~}}",
    "routes: [{path: /a, action: fanout, slow: {policy: skip, conflate_by: event}}]",
    "defaults: {batch_delay: 2s}",
    "defaults: {connection_age_max: 100ms}",
    "defaults: {late_join: 2000}",
    "defaults: {on_end: final, late_join: all}",
    "routes: [{path: /a, action: fanout, on_end: final, late_join: 3}]",
    "defaults: {on_end: final, ids: unique}",
    "defaults: {on_end: final, linger: 5s}",
    "routes: [{path: /a, action: fanout, on_end: final, retry: {max: 2m}}]",
    "defaults: {channel_subscribers_max: 0}",
    "defaults: {identity: {headers: [host]}}",
    "defaults: {identity: {headers: [Cookie]}}",
    "defaults: {identity: {headers: [x-a, X-A]}}",
    "defaults: {identity: {headers: ['a b']}}",
    "defaults: {identity: {cookies: ['a=b']}}",
    "defaults: {identity: {headers: [], cookies: []}}",
    "routes: [{path: /a, action: fanout, identity: {headers: [], cookies: []}}]",
    "defaults: {response_headers: [Set-Cookie]}",
    "defaults: {response_headers: [Date, Proxy-Connection, X-Accel-Buffering]}",
    "defaults: {query: [a, a]}",
    "defaults: {query: [a, last_event_id]}",
    "defaults: {last_event_id_query: ''}",
    "routes: [{path: /a, action: fanout, share: public, identity: {cookies: [a]}}]",
    "routes: [{path: /a, action: fanout, share: public, reauth: 1m}]",
    "defaults: {reauth: 10ms}",
    "routes: [{path: /a, action: fanout, strict: true}]",
    "routes: [{path: /a, action: fanout, cors: {}}]",
    "routes: [{path: /a, action: fanout, cors: {origins: []}}]",
    "routes: [{path: /a, action: fanout, cors: {origins: all, credentials: true}}]",
    "routes: [{path: /a, action: fanout, cors: {origins: ['*', 'null', a.example, https://a.example/]}}]",
    "routes: [{path: /a, action: fanout, cors: {origins: ['https://*', https://A.example, https://a:443]}}]",
    "routes: [{path: /a, action: fanout, cors: {origins: [https://a, https://a], headers: ['x y']}}]",
);

snapshot!(
    wrong_process_settings,
    "limits: {channels_max: 0}",
    "limits: {subscribers_max: 0}",
    "limits: {streams_per_connection_max: 0}",
    "limits: {head_fields_max: 1}",
    "limits: {head_timeout: 0}",
    "limits: {body_timeout: 1ms}",
    "limits: {body_bytes_per_second_min: 2MiB}",
    "limits: {client_timeout: 500ms}",
    "limits: {control_frames_per_second_max: 0}",
    "limits: {tcp_send_buffer_bytes: 1}",
    "limits: {memory_max: 90}",
    "drain: {window: 1s, margin: 1s, listen_min: 3s}",
    "admin: {address: '0.0.0.0:9901'}",
    "admin: {address: '9901'}",
    "admin: {mode: '0660'}",
    "listeners: [{address: '127.0.0.1:9901'}]",
    "listeners: [{address: '0.0.0.0:8080'}]\nadmin: {address: '127.0.0.1:8080'}",
    "admin: {metrics_address: '9902'}",
    "admin: {metrics_address: 'unix:/run/metrics.sock'}",
    "admin: {metrics_address: '0.0.0.0:9901'}",
    "listeners: [{name: web, address: '0.0.0.0:8080'}]\nadmin: {metrics_address: '0.0.0.0:8080'}",
    "log: {filter: verbose}",
    "log: {filter: 'a=b=c'}",
    "threads: 0",
    "ids_key: too short",
    "ids_key: 1234567890123456",
    "threads: 5000",
);

snapshot!(
    problems_of_all_kinds_are_reported_at_once,
    "
version: 3
listeners:
  - address: :8080
    tsl: {}
upstreams:
  app: 127.0.0.1:3000
  api: {address: http://api, read_timeout: soon}
defaults:
  heartbeat: 15
  share: pubic
routes:
  - {path: /a, upstream: app, action: fanot}
  - {path: /b, upstream: apu, action: fanout, retry: {min: 9s, max: 1s}}
  - path: /c
    action: proxy
    upstream: api
    ring: {}
  - path: /c
    name: c2
    upstream: ${API}
    action: proxy
threads: 0
",
);

#[test]
fn a_file_that_is_too_large_or_empty_is_refused() {
    let large = format!("# {}\n", "x".repeat(super::FILE_BYTES_MAX));
    assert!(refused(&large).to_string().contains("larger than 1 MiB"));
    for empty in ["", "\n", "# only a comment\n", "---\n", "~"] {
        assert!(
            refused(empty).to_string().contains("the file is empty"),
            "{empty:?}"
        );
    }
}

#[test]
fn every_problem_has_its_place_and_says_what_to_do() {
    let report = refused("version: 1\nlimts: {}\n");
    let json = serde_json::to_value(&report).unwrap();
    let limts = &json["problems"][0];
    assert_eq!(json["file"], "bad.yaml");
    assert_eq!(limts["path"], "limts");
    assert_eq!(
        (limts["line"].as_u64(), limts["column"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(limts["hint"], "did you mean `limits`?");
}

#[test]
fn a_hostile_file_is_refused_quickly_and_in_bounds() {
    let deep = format!("a: {}", "[".repeat(500_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        + "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
        + "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    let many = (0..20_000)
        .map(|n| format!("key{n}: {n}\n"))
        .collect::<String>();
    let long = format!("key: {}", "x".repeat(900_000));
    for source in [
        deep,
        bomb,
        many,
        long,
        "\u{0}".to_owned(),
        "\u{feff}a: b".to_owned(),
    ] {
        let shown = refused(&source).to_string();
        assert!(shown.len() < 100_000, "{} bytes", shown.len());
    }
}

/// Each line of the fullest example in turn is left out, cut, doubled or made nonsense: that loads or
/// is refused with places that exist, and never panics.
#[test]
fn damaged_files_are_refused_with_places_that_exist() {
    let full = include_str!("../../conf/full.yaml");
    let lines: Vec<&str> = full
        .lines()
        .filter(|line| !line.trim().starts_with('#'))
        .collect();
    let damage: [fn(&str) -> String; 7] = [
        |_| String::new(),
        |line| line.chars().take(line.chars().count() / 2).collect(),
        |line| format!("{line}\n{line}"),
        |line| line.replace(": ", ": ["),
        |line| line.replace(':', ""),
        |line| format!("  {line}"),
        |line| line.split(':').next().unwrap_or_default().to_owned() + ": {${X: \u{1f4a5}",
    ];
    let mut refusals = 0;
    for (index, _) in lines.iter().enumerate() {
        for damage in damage {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            lines[index] = damage(&lines[index]);
            let source = lines.join("\n");
            let Err(report) = load(&source, "bad.yaml", &env) else {
                continue;
            };
            refusals += 1;
            assert!(!report.problems.is_empty());
            let count = source.lines().count();
            for problem in &report.problems {
                assert!(
                    (1..=count + 1).contains(&problem.line),
                    "{source}\n{report}"
                );
            }
        }
    }
    assert!(refusals > 100, "{refusals} refusals");
}
