//! From what was counted to the figures of a run.

use super::{course, file::Group, record::Run, server::Drained};
use crate::{
    app::feed::Stats,
    conduct::AfterEnd,
    fleet::Outcome,
    tally::{Counts, Tally},
};

/// From this share of its cores on the load may have been what limited the run.
const LOAD_BUSY: f64 = 0.85;
/// From this delay on the publisher's own lateness is a part of the latency that counts.
const APP_LATE_MS: f64 = 20.0;

/// What was counted.
pub struct Measured<'a> {
    /// By group.
    pub outcomes: &'a [Outcome],
    /// The groups.
    pub groups: &'a [Group],
    /// Until all who were there from the start were connected.
    pub connect_seconds: f64,
    /// Events published while measuring.
    pub published: Option<u64>,
    /// The publisher's counters at the end.
    pub stats: Option<&'a Stats>,
    /// What became of a drain.
    pub drained: Option<Drained>,
    /// Cores that the load may use.
    pub cores: usize,
}

/// Adds figures, warnings and the timeline to a run whose samples and moments are there.
pub fn complete(run: &mut Run, measured: &Measured<'_>) {
    let mut all = Tally::default();
    let mut steady = Tally::default();
    let mut slow = 0;
    let mut ended = [0, 0];
    for (outcome, group) in measured.outcomes.iter().zip(measured.groups) {
        all.merge(&outcome.tally);
        let total = outcome.tally.total();
        // Who joins later gets what is past, and who reads slowly gets it when it wants to: their
        // latency says nothing of the server.
        if group.joins.is_none() && group.bytes_per_second.is_none() {
            steady.merge(&outcome.tally);
        }
        if group.bytes_per_second.is_some() {
            slow += u64::from(group.count);
        }
        let [faults, expected] = &mut ended;
        let kind = if group.after_end == AfterEnd::Fail {
            faults
        } else {
            expected
        };
        *kind += total.ends.values().sum::<u64>();
    }
    let total = all.total();
    set(run, "ended", number(ended[0]));
    set(run, "ended_expectedly", number(ended[1]));
    run.seconds = all.timeline.seconds();
    correctness(run, &total);
    speed(run, measured, &total);
    latency(run, &steady);
    course::server(run, &total);
    course::over_time(run, &steady.timeline.seconds());
    course::drain(run, measured.drained);
    beside(run, measured);
    told_by_server(run, slow);
}

/// What only the server knows, with so many `slow` readers; nothing where it has no metrics.
fn told_by_server(run: &mut Run, slow: u64) {
    if run.metrics.is_empty() {
        return;
    }
    let sum = |counter: &str, labels: &[&str]| -> f64 {
        let is_one = |name: &str| {
            let rest = name
                .strip_prefix("sidestream_")
                .and_then(|name| name.strip_prefix(counter));
            rest.is_some_and(|rest| labels.iter().any(|label| rest.contains(label)))
        };
        let samples = run.metrics.iter().filter(|(name, _)| is_one(name));
        samples.map(|(_, value)| value).sum()
    };
    let reloads = "config_reloads_total{";
    let applied = ["outcome=\"applied\"", "outcome=\"restart_needed\""];
    let ended_slow = sum("subscribers_ended_total{", &["reason=\"slow\""]);
    let figures = [
        ("reloads_applied", sum(reloads, &applied)),
        ("reloads_rejected", sum(reloads, &["outcome=\"rejected\""])),
        ("ended_slow", ended_slow),
    ];
    for (name, value) in figures {
        set(run, name, value);
    }
    if let Some(share) = ratio(ended_slow, number(slow)) {
        set(run, "ended_slow_share", share);
    }
}

pub(super) fn set(run: &mut Run, name: &'static str, value: f64) {
    debug_assert!(super::figures::named(name).is_some(), "{name}");
    run.figures.insert(name.to_owned(), value);
}

/// A count as a figure.
pub(super) fn number(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures are for people")]
    let number = count as f64;
    number
}

/// A share of something, if there is something.
pub(super) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then_some(part / whole)
}

fn correctness(run: &mut Run, total: &Counts) {
    let sum = |reasons: &std::collections::BTreeMap<String, u64>| reasons.values().sum::<u64>();
    let counts = [
        ("lost", total.lost),
        ("doubled", total.doubled),
        ("reordered", total.reordered),
        ("torn", total.torn),
        ("faulty_subscribers", total.faulty),
        ("gaps", total.gaps),
        ("gaps_per_subscriber", total.gaps_max),
        (
            "not_connected",
            total.wanted.saturating_sub(total.connected),
        ),
        ("refused", sum(&total.refused)),
        ("absent", total.absent),
        ("returned", total.returned),
    ];
    for (name, count) in counts {
        set(run, name, number(count));
    }
}

/// Of subscribers that are there from the start and read as fast as they can.
fn latency(run: &mut Run, steady: &Tally) {
    let latency = steady.total().latency;
    if !latency.is_empty() {
        for (name, percent) in [
            ("latency_p50_ms", 50.0),
            ("latency_p90_ms", 90.0),
            ("latency_p99_ms", 99.0),
            ("latency_p999_ms", 99.9),
        ] {
            set(run, name, latency.percentile_ms(percent));
        }
        set(run, "latency_max_ms", latency.max_ms());
    }
    let means = &steady.means;
    if let Some(spread) = ratio(means.percentile_ms(99.0), means.percentile_ms(50.0)) {
        set(run, "fairness_p99_ratio", spread);
    }
}

fn speed(run: &mut Run, measured: &Measured<'_>, total: &Counts) {
    let hold = run.hold_to - run.hold_from;
    let bytes: u64 = course::within(run, &run.seconds)
        .iter()
        .map(|second| second.bytes)
        .sum();
    set(run, "deliveries", number(total.measured));
    if let Some(rate) = ratio(number(total.measured), hold) {
        set(run, "deliveries_per_second", rate);
    }
    if let Some(rate) = ratio(number(bytes) / 1e6, hold) {
        set(run, "megabytes_per_second", rate);
    }
    let published = measured.published.map(number);
    if let Some(each) = published.and_then(|count| ratio(number(total.measured), count)) {
        set(run, "amplification", each);
    }
    set(run, "connect_seconds", measured.connect_seconds);
    let first = measured.outcomes.iter().zip(measured.groups);
    let first = first.filter(|(_, group)| group.joins.is_none());
    let connected: u64 = first
        .map(|(outcome, _)| outcome.tally.total().connected)
        .sum();
    if let Some(rate) = ratio(number(connected), measured.connect_seconds) {
        set(run, "connects_per_second", rate);
    }
    set(run, "connect_p99_ms", total.connect.percentile_ms(99.0));
    set(
        run,
        "first_byte_p99_ms",
        total.first_byte.percentile_ms(99.0),
    );
}

/// What stood beside the streams: the publisher, ordinary requests, and the load itself.
fn beside(run: &mut Run, measured: &Measured<'_>) {
    if let Some(stats) = measured.stats {
        let late_ms = number(stats.late_us_max) / 1_000.0;
        set(run, "app_connections", number(stats.connections));
        set(
            run,
            "app_connections_total",
            number(stats.connections_total),
        );
        set(run, "app_late_ms", late_ms);
        if late_ms > APP_LATE_MS {
            run.warnings.push(format!(
                "the publisher itself was up to {late_ms:.0} ms late, which is part of every latency"
            ));
        }
        if stats.overruns > 0 {
            let overruns = stats.overruns;
            run.warnings.push(format!(
                "the publisher cut {overruns} connections that did not take their events"
            ));
        }
    }
    if let Some(answers) = run.answers.clone() {
        set(run, "requests", number(answers.requests));
        set(
            run,
            "requests_failed",
            number(answers.failures.values().sum()),
        );
        set(run, "requests_p99_ms", answers.latency.percentile_ms(99.0));
    }
    let held = course::held(run);
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful of cores")]
    let available = (last.at - first.at) * measured.cores as f64;
    if let Some(share) = ratio(last.load_cpu_seconds - first.load_cpu_seconds, available) {
        set(run, "load_cpu_share", share);
        if share > LOAD_BUSY {
            run.warnings.push(format!(
                "the load used {:.0} % of its cores: it may have been the limit, not the server",
                share * 100.0
            ));
        }
    }
    let machine = course::mean(held.iter().skip(1).map(|sample| sample.machine_share));
    if let Some(busy) = machine.filter(|busy| *busy > 0.95) {
        run.warnings.push(format!(
            "the machine was {:.0} % busy: load and server took each other's time",
            busy * 100.0
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_tells_of_reloads_and_slow_readers() {
        let mut run = Run::default();
        told_by_server(&mut run, 0);
        assert!(run.figures.is_empty(), "nobody was asked");
        run.metrics = [
            ("sidestream_config_reloads_total{outcome=\"applied\"}", 3.0),
            (
                "sidestream_config_reloads_total{outcome=\"restart_needed\"}",
                1.0,
            ),
            (
                "sidestream_subscribers_ended_total{route=\"a\",reason=\"slow\"}",
                5.0,
            ),
            (
                "sidestream_subscribers_ended_total{route=\"b\",reason=\"slow\"}",
                2.0,
            ),
            (
                "sidestream_subscribers_ended_total{route=\"a\",reason=\"age\"}",
                9.0,
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        told_by_server(&mut run, 28);
        let figures: Vec<(&str, f64)> = run
            .figures
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let expected = [
            ("ended_slow", 7.0),
            ("ended_slow_share", 0.25),
            ("reloads_applied", 4.0),
            ("reloads_rejected", 0.0),
        ];
        assert_eq!(figures, expected);
    }
}
