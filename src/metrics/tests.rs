use std::collections::BTreeMap;

use super::*;

/// One row of the table in `docs/metrics.md`.
fn rows(text: &str) -> BTreeMap<String, String> {
    let mut meta: BTreeMap<String, (String, String, String)> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            meta.entry(name.to_owned()).or_default().1 = help.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            meta.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            let keys: Vec<&str> = labels
                .split("\",")
                .filter_map(|pair| pair.split_once('=').map(|(key, _)| key))
                .filter(|key| *key != "le")
                .collect();
            let owner = ["_total", "_info", "_bucket"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            meta.entry(owner.to_owned()).or_default().2 = keys.join(", ");
        }
    }
    meta.into_iter()
        .map(|(name, (kind, help, labels))| {
            let shown = match kind.as_str() {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name,
            };
            (
                shown.clone(),
                format!("| `{shown}` | {kind} | {labels} | {help} |"),
            )
        })
        .collect()
}

#[test]
fn the_documented_list_is_the_exposed_list() {
    let metrics = Metrics::new();
    drop((
        metrics.route("prices"),
        metrics.upstream("app"),
        metrics.listener("web"),
    ));
    let exposed = rows(&metrics.render());
    let page = include_str!("../../docs/metrics.md");
    let documented: BTreeMap<String, String> = page
        .lines()
        .filter(|line| line.starts_with("| `sidestream_"))
        .map(|line| (line.split('`').nth(1).unwrap().to_owned(), line.to_owned()))
        .collect();
    let wanted: String = exposed.values().map(|row| format!("{row}\n")).collect();
    assert!(
        documented == exposed,
        "docs/metrics.md should hold these rows:\n{wanted}"
    );
}

#[test]
fn every_label_value_is_documented() {
    let metrics = Metrics::new();
    drop((
        metrics.route("prices"),
        metrics.upstream("app"),
        metrics.listener("web"),
    ));
    let page = include_str!("../../docs/metrics.md");
    for line in metrics
        .render()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let Some((_, labels)) = line.split_once('{') else {
            continue;
        };
        for pair in labels.split(['{', ',', '}']) {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim_matches('"');
            if !["route", "upstream", "listener", "version", "le"].contains(&key) {
                assert!(
                    page.contains(&format!("`{value}`")),
                    "{key}={value} in docs/metrics.md"
                );
            }
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    let metrics = Metrics::new();
    drop((
        metrics.route("prices"),
        metrics.upstream("app"),
        metrics.listener("web"),
    ));
    for row in rows(&metrics.render()).into_values() {
        assert!(row.starts_with("| `sidestream_"), "prefix: {row}");
        assert!(
            !row.contains("_total_total"),
            "`_total` is added by the encoder: {row}"
        );
        for unit in ["_ms", "_millis", "_kb", "_percent"] {
            assert!(!row.contains(unit), "base units only: {row}");
        }
    }
}

#[test]
fn a_route_keeps_its_series_across_reloads() {
    let metrics = Metrics::new();
    metrics.route("prices").events_received.add(2);
    metrics.route("prices").events_received.inc();
    assert_eq!(metrics.route("prices").events_received.get(), 3);
    assert!(
        metrics
            .render()
            .contains("sidestream_events_received_total{route=\"prices\"} 3\n")
    );
}

#[test]
fn route_names_are_bounded() {
    let metrics = Metrics::new();
    for n in 0..NAMES_MAX + 50 {
        metrics.route(&format!("route-{n}")).events_received.inc();
    }
    assert_eq!(metrics.route("route-0").events_received.get(), 1);
    assert_eq!(metrics.route("one-more").events_received.get(), 50);
}

#[test]
fn a_held_level_is_taken_back_on_drop() {
    let metrics = Metrics::new();
    let route = metrics.route("prices");
    let held = route.subscribers.hold(Protocol::H2);
    assert_eq!(route.subscribers.get(Protocol::H2), 1);
    assert_eq!(route.subscribers.get(Protocol::H1), 0);
    drop(held);
    assert_eq!(route.subscribers.get(Protocol::H2), 0);
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new();
    metrics.route("a\"b\nc\\").channels.inc();
    assert!(
        metrics
            .render()
            .contains("sidestream_channels{route=\"a\\\"b\\nc\\\\\"} 1\n")
    );
}

#[test]
fn every_status_has_a_class() {
    for (status, class) in [
        (101, "1xx"),
        (200, "2xx"),
        (304, "3xx"),
        (404, "4xx"),
        (599, "5xx"),
    ] {
        let status = http::StatusCode::from_u16(status).unwrap();
        assert_eq!(StatusClass::from(status).as_label(), class);
    }
}
