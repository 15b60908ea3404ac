//! The report of a scenario: one HTML file that needs nothing else, not even a script.

pub mod axis;
pub mod charts;
pub mod plot;

use std::fmt::Write;

use plot::{Chart, escape, short};

use crate::{
    report::grouped,
    scenario::{
        figures::{self, Figure},
        record::{GroupResult, Record, Run},
    },
};

const PAGE_STYLE: &str = include_str!("page.css");
/// The figures at the top: what a reader looks for first.
const TILES: [(&str, &str); 8] = [
    ("latency_p99_ms", "ms latency, p99"),
    ("latency_p50_ms", "ms latency, p50"),
    ("deliveries_per_second", "deliveries/s"),
    ("amplification", "deliveries for each event"),
    ("connects_per_second", "connects/s"),
    (
        "server_cpu_seconds_per_million",
        "CPU seconds for a million deliveries",
    ),
    ("server_memory_mib", "MiB of server memory at most"),
    ("load_cpu_share", "of its cores used by the load"),
];

/// The page. Charts and tables show the run in the middle, when there are several.
#[must_use]
pub fn page(record: &Record) -> String {
    let mut out = String::new();
    // Writing into memory cannot fail.
    let _ = write_page(&mut out, record);
    out
}

fn write_page(out: &mut String, record: &Record) -> std::fmt::Result {
    let (name, about) = (
        escape(&record.scenario.name),
        escape(&record.scenario.about),
    );
    let (class, verdict) = verdict(record.pass);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{name}: {verdict}</title>\
         <style>{}{}{PAGE_STYLE}</style></head><body><main>\
         <h1>{name} <span class=\"verdict {class}\">{verdict}</span></h1><p class=\"dim\">{about}</p>",
        plot::COLOUR_STYLE,
        plot::PLOT_STYLE
    )?;
    let Some(run) = typical(record) else {
        return out.write_str("<p>There was no run.</p></main></body></html>\n");
    };
    write_warnings(out, run)?;
    write_tiles(out, run)?;
    write_checks(out, record)?;
    write_groups(out, &run.groups)?;
    out.push_str("<h2>Over time</h2><div class=\"charts\">");
    for chart in charts::of(run) {
        write_chart(out, &chart)?;
    }
    out.push_str("</div>");
    write_moments(out, run)?;
    write_figures(out, record)?;
    write_setup(out, record)?;
    write_details(out, record, run)?;
    out.write_str("</main></body></html>\n")
}

/// The run with the median p99, or median deliveries.
fn typical(record: &Record) -> Option<&Run> {
    let value = |run: &&Run| {
        let figure = |name| run.figures.get(name).copied();
        figure("latency_p99_ms").or_else(|| figure("deliveries_per_second"))
    };
    let mut runs: Vec<&Run> = record.runs.iter().collect();
    runs.sort_by(|one, other| {
        value(one)
            .unwrap_or(0.0)
            .total_cmp(&value(other).unwrap_or(0.0))
    });
    runs.get(runs.len() / 2).copied()
}

fn verdict(pass: bool) -> (&'static str, &'static str) {
    if pass {
        ("pass", "PASS")
    } else {
        ("fail", "FAIL")
    }
}

fn write_warnings(out: &mut String, run: &Run) -> std::fmt::Result {
    if run.warnings.is_empty() {
        return Ok(());
    }
    out.push_str("<div class=\"warnings\">");
    for warning in &run.warnings {
        write!(out, "<p>{}</p>", escape(warning))?;
    }
    out.write_str("</div>")
}

fn write_tiles(out: &mut String, run: &Run) -> std::fmt::Result {
    out.push_str("<div class=\"tiles\">");
    let faults = ["lost", "doubled", "reordered", "torn"].map(|name| run.figures.get(name));
    let faults: f64 = faults.into_iter().flatten().sum();
    let class = verdict(faults == 0.0).0;
    write!(
        out,
        "<div class=\"tile\"><b class=\"{class}\">{}</b><span>events lost, doubled, reordered or torn</span></div>",
        short(faults)
    )?;
    for (name, label) in TILES {
        if let Some(value) = run.figures.get(name) {
            let value = if name == "load_cpu_share" {
                format!("{:.0} %", value * 100.0)
            } else {
                short(*value)
            };
            write!(
                out,
                "<div class=\"tile\"><b>{value}</b><span>{label}</span></div>"
            )?;
        }
    }
    out.write_str("</div>")
}

fn write_checks(out: &mut String, record: &Record) -> std::fmt::Result {
    out.push_str(
        "<h2>Thresholds</h2><div class=\"wide\"><table><tr><th>Verdict</th><th>Threshold</th>",
    );
    for number in 1..=record.runs.len() {
        write!(out, "<th class=\"n\">Run {number}</th>")?;
    }
    out.push_str("<th>What it is</th></tr>");
    for (at, threshold) in record.scenario.thresholds.iter().enumerate() {
        let checks: Vec<_> = record
            .runs
            .iter()
            .filter_map(|run| run.checks.get(at))
            .collect();
        let (class, verdict) = verdict(checks.iter().all(|check| check.pass));
        let text = escape(&threshold.to_string());
        write!(
            out,
            "<tr><td class=\"{class}\">{verdict}</td><td><code>{text}</code></td>"
        )?;
        for check in checks {
            let found = check.found.map_or("none".to_owned(), short);
            write!(out, "<td class=\"n\">{found}</td>")?;
        }
        write!(
            out,
            "<td class=\"dim\">{}</td></tr>",
            threshold.figure.about
        )?;
    }
    out.write_str("</table></div>")
}

fn write_groups(out: &mut String, groups: &[GroupResult]) -> std::fmt::Result {
    const COLUMNS: [&str; 13] = [
        "Connected",
        "Delivered",
        "Lost",
        "Doubled",
        "Reordered",
        "Torn",
        "Gaps",
        "Ended",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
    ];
    out.push_str("<h2>Subscribers</h2><div class=\"wide\"><table><tr><th>Group</th>");
    for column in COLUMNS {
        write!(out, "<th class=\"n\">{column}</th>")?;
    }
    out.push_str("</tr>");
    for GroupResult { name, counts } in groups {
        let cells = [
            format!(
                "{} of {}",
                grouped(counts.connected),
                grouped(counts.wanted)
            ),
            grouped(counts.delivered),
            grouped(counts.lost),
            grouped(counts.doubled),
            grouped(counts.reordered),
            grouped(counts.torn),
            grouped(counts.gaps),
            grouped(counts.ends.values().sum()),
        ];
        write!(out, "<tr><td>{}</td>", escape(name))?;
        for cell in cells {
            write!(out, "<td class=\"n\">{cell}</td>")?;
        }
        for percent in [50.0, 90.0, 99.0, 99.9, 100.0] {
            if counts.latency.is_empty() {
                out.push_str("<td class=\"n\">-</td>");
            } else {
                let value = counts.latency.percentile_ms(percent);
                write!(out, "<td class=\"n\">{}</td>", short(value))?;
            }
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    let mut rows = String::new();
    for GroupResult { name, counts } in groups {
        let reasons = [
            ("never connected", &counts.failures),
            ("attempt repeated", &counts.refused),
            ("stream ended", &counts.ends),
        ];
        for (what, reasons) in reasons {
            for (reason, count) in reasons {
                let (name, reason, count) = (escape(name), escape(reason), grouped(*count));
                write!(
                    rows,
                    "<tr><td>{name}</td><td>{what}</td><td>{reason}</td><td class=\"n\">{count}</td></tr>"
                )?;
            }
        }
    }
    if !rows.is_empty() {
        write!(
            out,
            "<h2>What ended or failed</h2><table><tr><th>Group</th><th>What</th><th>Reason</th><th class=\"n\">How often</th></tr>{rows}</table>"
        )?;
    }
    Ok(())
}

fn write_chart(out: &mut String, chart: &Chart) -> std::fmt::Result {
    write!(out, "<figure><figcaption>{}", escape(&chart.caption()))?;
    for (number, line) in chart.series.iter().enumerate() {
        let (class, name) = (number % plot::COLOURS, escape(&line.name));
        write!(
            out,
            "<i><svg viewBox=\"0 0 16 8\"><line class=\"line c{class}\" x1=\"0\" y1=\"4\" x2=\"16\" y2=\"4\"/></svg>{name}</i>"
        )?;
    }
    write!(out, "</figcaption>{}</figure>", chart.svg())
}

fn write_moments(out: &mut String, run: &Run) -> std::fmt::Result {
    if run.moments.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>Events</h2><table><tr><th class=\"n\">Second of the run</th><th>What</th></tr>",
    );
    for moment in &run.moments {
        let what = escape(&moment.what);
        write!(
            out,
            "<tr><td class=\"n\">{:.1}</td><td>{what}</td></tr>",
            moment.at
        )?;
    }
    out.write_str("</table>")
}

fn write_figures(out: &mut String, record: &Record) -> std::fmt::Result {
    out.push_str(
        "<h2>Figures</h2><div class=\"wide\"><table><tr><th>Figure</th><th class=\"n\">Median</th>",
    );
    if record.runs.len() > 1 {
        out.push_str("<th class=\"n\">Lowest</th><th class=\"n\">Highest</th>");
    }
    out.push_str("<th>What it is</th></tr>");
    for Figure { name, about, .. } in figures::ALL {
        let Some(spread) = record.spread(name) else {
            continue;
        };
        write!(
            out,
            "<tr><td><code>{name}</code></td><td class=\"n\">{}</td>",
            short(spread.median)
        )?;
        if record.runs.len() > 1 {
            let (low, high) = (short(spread.low), short(spread.high));
            write!(out, "<td class=\"n\">{low}</td><td class=\"n\">{high}</td>")?;
        }
        write!(out, "<td class=\"dim\">{about}</td></tr>")?;
    }
    out.write_str("</table></div>")
}

fn write_setup(out: &mut String, record: &Record) -> std::fmt::Result {
    let setup = &record.setup;
    let bytes = |bytes: u64| format!("{} MiB", grouped(bytes >> 20));
    let none = || "not bounded".to_owned();
    let rows = [
        ("Command", setup.command.clone()),
        (
            "Server",
            setup
                .server
                .clone()
                .unwrap_or_else(|| "not ours".to_owned()),
        ),
        ("loadtest", setup.loadtest.clone()),
        ("Kernel", setup.kernel.clone()),
        (
            "Processor",
            format!("{}, {} cores for this run", setup.cpu, setup.cores),
        ),
        ("Memory", format!("{} MiB", grouped(setup.memory_mib))),
        (
            "Memory of the cgroup",
            setup.cgroup_memory_bytes.map_or_else(none, bytes),
        ),
        (
            "Descriptors of a process",
            setup.descriptors.map_or_else(none, grouped),
        ),
        (
            "Hash of configuration and scenario",
            setup.config_hash.clone(),
        ),
        ("Seed", setup.seed.to_string()),
        ("Started", format!("{} (seconds since 1970)", setup.started)),
    ];
    out.push_str("<h2>Set-up</h2><table>");
    for (name, value) in rows {
        write!(out, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value))?;
    }
    out.write_str("</table>")
}

fn write_details(out: &mut String, record: &Record, run: &Run) -> std::fmt::Result {
    let scenario = serde_yaml::to_string(&record.scenario).unwrap_or_default();
    write!(
        out,
        "<details><summary>The scenario as it was run</summary><pre>{}</pre></details>",
        escape(&scenario)
    )?;
    if run.metrics.is_empty() {
        return Ok(());
    }
    out.push_str("<details><summary>The server's metrics at the end</summary><table>");
    for (name, value) in &run.metrics {
        write!(
            out,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td></tr>",
            escape(name),
            short(*value)
        )?;
    }
    out.write_str("</table></details>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{file::Scenario, record::FORMAT, setup::Setup};

    #[test]
    fn a_page_stands_alone_and_escapes_what_it_shows() {
        let text = "{name: a, about: <b>, subscribers: [{protocol: h1, count: 1}], hold: 1s, thresholds: [lost <= 0]}";
        let mut run = Run::default();
        run.figures.insert("lost".into(), 0.0);
        run.warnings.push("x < y".into());
        let scenario = Scenario::parse(text).unwrap();
        run.judge(&scenario.thresholds);
        let record = Record {
            format: FORMAT,
            pass: true,
            scenario,
            setup: Setup::default(),
            runs: vec![run],
        };
        let page = page(&record);
        for wanted in [
            "&lt;b&gt;",
            "x &lt; y",
            "<code>lost &lt;= 0</code>",
            ">PASS<",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for unwanted in ["<script", "http://", "https://", "<b>,", "href=", "src="] {
            assert!(!page.contains(unwanted), "{unwanted}");
        }
    }
}
