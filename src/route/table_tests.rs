use http::Method;

use super::{HostPattern, RouteMatch, Table, TableError, normal_host};

/// `host methods path` with `*` for any: the notation of these tests.
fn route(text: &str) -> (RouteMatch, String) {
    let parts: Vec<&str> = text.split(' ').collect();
    let [host, methods, path] = parts[..] else {
        panic!("host methods path: {text}")
    };
    let host = match host.strip_prefix('*') {
        Some("") => None,
        Some(suffix) => Some(HostPattern::Suffix(suffix.to_owned())),
        None => Some(HostPattern::Exact(host.to_owned())),
    };
    let methods = match methods {
        "*" => Vec::new(),
        list => list.split(',').map(|name| name.parse().unwrap()).collect(),
    };
    (
        RouteMatch {
            host,
            path: path.to_owned(),
            methods,
        },
        text.to_owned(),
    )
}

fn table(routes: &[&str]) -> Result<Table<String>, Vec<TableError>> {
    Table::new(&routes.iter().map(|text| route(text)).collect::<Vec<_>>())
}

/// Each question is `host method path`; the answer is the route's text.
fn check(routes: &[&str], questions: &[(&str, Option<&str>)]) {
    // The order of routes must not matter.
    let mut reversed = routes.to_vec();
    reversed.reverse();
    for routes in [routes, &reversed] {
        let table = table(routes).unwrap();
        for (question, expected) in questions {
            let parts: Vec<&str> = question.split(' ').collect();
            let [host, method, path] = parts[..] else {
                panic!("host method path: {question}")
            };
            let method: Method = method.parse().unwrap();
            let found = table.find(host, path, &method).map(String::as_str);
            assert_eq!(found, *expected, "{question} among {routes:?}");
        }
    }
}

#[test]
fn the_most_specific_path_wins() {
    check(
        &[
            "* * /",
            "* * /{*rest}",
            "* * /prices",
            "* * /prices/{symbol}",
            "* * /prices/eur",
            "* * /a/{x}/c",
        ],
        &[
            ("h GET /", Some("* * /")),
            ("h GET /x", Some("* * /{*rest}")),
            ("h GET /x/y/", Some("* * /{*rest}")),
            ("h GET /prices", Some("* * /prices")),
            ("h GET /prices/", Some("* * /{*rest}")),
            ("h GET /prices/usd", Some("* * /prices/{symbol}")),
            ("h GET /prices/eur", Some("* * /prices/eur")),
            ("h GET /prices/eur2", Some("* * /prices/{symbol}")),
            ("h GET /prices/eur/x", Some("* * /{*rest}")),
            ("h GET /a/b/c", Some("* * /a/{x}/c")),
            ("h GET /a/b/d", Some("* * /{*rest}")),
            ("h GET /a/b", Some("* * /{*rest}")),
        ],
    );
}

#[test]
fn a_catch_all_takes_its_own_folder_unless_another_route_does() {
    check(
        &["* * /files/{*rest}", "* * /docs/{*rest}", "* * /docs/"],
        &[
            ("h GET /files/", Some("* * /files/{*rest}")),
            ("h GET /files/a/b", Some("* * /files/{*rest}")),
            ("h GET /files", None),
            ("h GET /docs/", Some("* * /docs/")),
            ("h GET /docs/x", Some("* * /docs/{*rest}")),
            ("h GET /", None),
        ],
    );
    check(&["* * /{*rest}"], &[("h GET /", Some("* * /{*rest}"))]);
}

#[test]
fn a_route_that_names_the_method_wins_and_others_hide_nothing() {
    check(
        &[
            "* GET /a",
            "* * /a",
            "* POST /b",
            "* * /{*rest}",
            "* GET,HEAD /c/{x}",
            "* POST /c/{y}",
        ],
        &[
            ("h GET /a", Some("* GET /a")),
            ("h POST /a", Some("* * /a")),
            ("h DELETE /a", Some("* * /a")),
            ("h POST /b", Some("* POST /b")),
            ("h GET /b", Some("* * /{*rest}")),
            ("h PATCH /b", Some("* * /{*rest}")),
            ("h HEAD /c/1", Some("* GET,HEAD /c/{x}")),
            ("h POST /c/1", Some("* POST /c/{y}")),
            ("h PUT /c/1", Some("* * /{*rest}")),
        ],
    );
    // The more specific path wins over the named method of a less specific one.
    check(
        &["* GET /{*rest}", "* * /prices"],
        &[("h GET /prices", Some("* * /prices")), ("h POST /x", None)],
    );
}

#[test]
fn hosts_are_tried_from_the_most_to_the_least_exact() {
    check(
        &[
            "a.example.com * /x",
            "*.example.com * /x",
            "*.b.example.com * /x",
            "*.example.com * /y",
            "* * /x",
            "* * /z",
            "a.example.com POST /z",
            "[::1] * /x",
        ],
        &[
            ("a.example.com GET /x", Some("a.example.com * /x")),
            ("A.Example.COM:8080 GET /x", Some("a.example.com * /x")),
            ("a.example.com. GET /x", Some("a.example.com * /x")),
            ("a.example.com.:80 GET /x", Some("a.example.com * /x")),
            ("c.example.com GET /x", Some("*.example.com * /x")),
            ("c.b.example.com GET /x", Some("*.b.example.com * /x")),
            ("d.c.b.example.com GET /x", Some("*.b.example.com * /x")),
            ("b.example.com GET /x", Some("*.example.com * /x")),
            ("example.com GET /x", Some("* * /x")),
            ("evilexample.com GET /x", Some("* * /x")),
            // A path or method that the nearer group lacks falls to the next.
            ("a.example.com GET /y", Some("*.example.com * /y")),
            ("c.b.example.com GET /y", Some("*.example.com * /y")),
            ("a.example.com GET /z", Some("* * /z")),
            ("a.example.com POST /z", Some("a.example.com POST /z")),
            ("example.com GET /y", None),
            ("[::1] GET /x", Some("[::1] * /x")),
            ("[::1]:8080 GET /x", Some("[::1] * /x")),
        ],
    );
}

#[test]
fn a_request_without_host_takes_routes_of_any_host() {
    let table = table(&["* * /x", "a * /y"]).unwrap();
    assert!(table.find("", "/x", &Method::GET).is_some());
    assert!(table.find("", "/y", &Method::GET).is_none());
}

#[test]
fn hosts_are_compared_without_port_case_and_root_dot() {
    for (host, expected) in [
        ("example.com", "example.com"),
        ("EXAMPLE.com:443", "example.com"),
        ("example.com.", "example.com"),
        ("example.com.:1", "example.com"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ("::1", "::1"),
        ("", ""),
        (":80", ""),
        ("[", "["),
        ("a:b:c", "a:b:c"),
    ] {
        assert_eq!(normal_host(host), expected, "{host}");
    }
}

#[test]
fn routes_that_take_the_same_requests_conflict() {
    for (routes, expected) in [
        (&["* * /a", "* * /a"][..], Some((1, 0))),
        (&["* * /a/{x}", "* * /a/{y}"], Some((1, 0))),
        (&["* GET /a", "* GET,POST /a"], Some((1, 0))),
        (&["h * /a", "* * /b", "h * /a"], Some((2, 0))),
        (&["* GET /a", "* * /a"], None),
        (&["* GET /a", "* POST /a"], None),
        (&["h * /a", "* * /a"], None),
        (&["*.h * /a", "h * /a"], None),
        (&["* * /a/{x}", "* * /a/{*x}"], None),
        (&["* * /a/b", "* * /a/{x}"], None),
    ] {
        let expected = expected.map(|(index, with)| vec![TableError::Conflict { index, with }]);
        assert_eq!(table(routes).err(), expected, "{routes:?}");
    }
}

#[test]
fn a_malformed_pattern_is_told_with_its_route() {
    let errors = table(&["* * /a", "* * /a/{", "* * b"]).unwrap_err();
    let indexes: Vec<usize> = errors
        .iter()
        .map(|error| match error {
            TableError::Pattern { index, .. } | TableError::Conflict { index, .. } => *index,
        })
        .collect();
    assert_eq!(indexes, [1, 2]);
}

#[test]
fn parameters_and_catch_alls_live_side_by_side() {
    check(
        &[
            "* * /{*rest}",
            "* * /{page}",
            "* * /{tenant}/files/{*rest}",
            "* * /a/{*rest}",
            "* * /a/{x}",
            "* GET /a/{x}.json",
            "* * /a/b-{x}.json",
        ],
        &[
            ("h GET /", Some("* * /{*rest}")),
            ("h GET /x", Some("* * /{page}")),
            ("h GET /x/", Some("* * /{*rest}")),
            ("h GET /x/files/1/2", Some("* * /{tenant}/files/{*rest}")),
            ("h GET /x/file/1/2", Some("* * /{*rest}")),
            ("h GET /a/files/1", Some("* * /a/{*rest}")),
            ("h GET /a/1", Some("* * /a/{x}")),
            ("h GET /a/1.json", Some("* GET /a/{x}.json")),
            ("h PUT /a/1.json", Some("* * /a/{x}")),
            ("h GET /a/.json", Some("* * /a/{x}")),
            ("h GET /a/b-1.json", Some("* * /a/b-{x}.json")),
            ("h GET /a/b-.json", Some("* GET /a/{x}.json")),
            ("h GET /a/1/2", Some("* * /a/{*rest}")),
            ("h GET /a/", Some("* * /a/{*rest}")),
            ("h GET /a", Some("* * /{page}")),
            ("h GET ", None),
            ("h GET *", None),
        ],
    );
}

#[test]
fn doubled_braces_are_literal() {
    check(
        &["* * /a/{{x}}"],
        &[("h GET /a/{x}", Some("* * /a/{{x}}")), ("h GET /a/y", None)],
    );
}
