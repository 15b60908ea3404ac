//! From what was counted to the figures of a run.

use super::{
    record::Run,
    sampler::Sample,
    server::Drained,
};
use crate::{
    app::feed::Stats,
    fleet::Outcome,
    samples::Samples,
    tally::{Counts, Tally},
    timeline::Second,
};

/// From this share of its cores on the load may have been what limited the run.
const LOAD_BUSY: f64 = 0.85;
/// From this delay on the publisher's own lateness is a part of the latency that counts.
const APP_LATE_MS: f64 = 20.0;
/// Streams may be missing for a moment while others come and go.
const ALL_BACK: f64 = 0.999;
const MIB: f64 = 1_048_576.0;

/// What was counted.
pub struct Measured<'a> {
    /// By group.
    pub outcomes: &'a [Outcome],
    /// Which groups joined later: they get what is past, so their latency says nothing.
    pub late: &'a [bool],
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
    let mut steady = Samples::default();
    for (outcome, late) in measured.outcomes.iter().zip(measured.late) {
        all.merge(&outcome.tally);
        if !late {
            let total = outcome.tally.total();
            steady.merge(&total.latency);
        }
    }
    let total = all.total();
    run.seconds = all.timeline.seconds();
    correctness(run, &total);
    speed(run, measured, &total, &steady, &all.means);
    server(run, &total);
    over_time(run);
    drain(run, measured.drained);
    beside(run, measured);
}

fn set(run: &mut Run, name: &'static str, value: f64) {
    debug_assert!(super::figures::named(name).is_some(), "{name}");
    run.figures.insert(name.to_owned(), value);
}

/// A count as a figure.
fn number(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures are for people")]
    let number = count as f64;
    number
}

/// A share of something, if there is something.
fn ratio(part: f64, whole: f64) -> Option<f64> {
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
        ("not_connected", total.wanted.saturating_sub(total.connected)),
        ("ended", sum(&total.ends)),
        ("refused", sum(&total.refused)),
        ("absent", total.absent),
        ("returned", total.returned),
    ];
    for (name, count) in counts {
        set(run, name, number(count));
    }
    if let Some(each) = ratio(number(total.gaps), number(total.wanted)) {
        set(run, "gaps_per_subscriber", each);
    }
}

fn speed(
    run: &mut Run,
    measured: &Measured<'_>,
    total: &Counts,
    steady: &Samples,
    means: &Samples,
) {
    if !steady.is_empty() {
        for (name, percent) in [
            ("latency_p50_ms", 50.0),
            ("latency_p90_ms", 90.0),
            ("latency_p99_ms", 99.0),
            ("latency_p999_ms", 99.9),
        ] {
            set(run, name, steady.percentile_ms(percent));
        }
        set(run, "latency_max_ms", steady.max_ms());
    }
    if let Some(spread) = ratio(means.percentile_ms(99.0), means.percentile_ms(50.0)) {
        set(run, "fairness_p99_ratio", spread);
    }
    let hold = run.hold_to - run.hold_from;
    let bytes: u64 = within(run).iter().map(|second| second.bytes).sum();
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
    let first = measured.outcomes.iter().zip(measured.late);
    let first = first.filter(|(_, late)| !**late);
    let connected: u64 = first.map(|(outcome, _)| outcome.tally.total().connected).sum();
    if let Some(rate) = ratio(number(connected), measured.connect_seconds) {
        set(run, "connects_per_second", rate);
    }
    set(run, "connect_p99_ms", total.connect.percentile_ms(99.0));
    set(run, "first_byte_p99_ms", total.first_byte.percentile_ms(99.0));
}

/// The seconds of the hold that are whole.
fn within(run: &Run) -> &[Second] {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds of a run"
    )]
    let (from, to) = (run.hold_from.ceil() as usize, run.hold_to.floor() as usize);
    let to = to.min(run.seconds.len());
    run.seconds.get(from.min(to)..to).unwrap_or_default()
}

/// The readings of the hold, both ends included.
fn held(run: &Run) -> Vec<Sample> {
    let inside = |sample: &&Sample| (run.hold_from..=run.hold_to).contains(&sample.at);
    // The first one is taken just as the hold begins.
    let before = run.samples.iter().rfind(|sample| sample.at < run.hold_from);
    let first = before.filter(|sample| run.hold_from - sample.at < 0.1);
    first.into_iter().chain(run.samples.iter().filter(inside)).copied().collect()
}

fn server(run: &mut Run, total: &Counts) {
    let held = held(run);
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        return;
    };
    let cpu = last.server_cpu_seconds.zip(first.server_cpu_seconds);
    if let Some(cpu) = cpu.map(|(last, first)| last - first) {
        if let Some(cores) = ratio(cpu, last.at - first.at) {
            set(run, "server_cpu_cores", cores);
        }
        if let Some(each) = ratio(cpu * 1e6, number(total.measured)) {
            set(run, "server_cpu_seconds_per_million", each);
        }
    }
    let rss = run.samples.iter().filter_map(|sample| sample.server_rss_bytes);
    if let Some(highest) = rss.max() {
        set(run, "server_memory_mib", number(highest) / MIB);
    }
    let before = run.samples.first().and_then(|sample| sample.server_rss_bytes);
    if let (Some(before), Some(after)) = (before, first.server_rss_bytes)
        && let Some(each) = ratio(number(after.saturating_sub(before)), streams_at(run, first.at))
    {
        set(run, "server_bytes_per_subscriber", each);
    }
    let memory = |from: f64, to: f64| {
        let part = part(&held, from, to).iter();
        mean(part.filter_map(|sample| sample.server_rss_bytes.map(number)))
    };
    let growth = memory(0.25, 0.5).zip(memory(0.75, 1.0));
    if let Some(share) = growth.and_then(|(early, late)| ratio(late - early, early)) {
        set(run, "server_memory_growth_percent", share * 100.0);
    }
}

/// A part of a list, from one share of its length to another.
fn part<T>(list: &[T], from: f64, to: f64) -> &[T] {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let at = |share: f64| ((list.len() as f64 * share).round() as usize).min(list.len());
    list.get(at(from)..at(to)).unwrap_or_default()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    ratio(sum, count)
}

/// Streams open at the end of each second.
#[must_use]
pub fn streams(run: &Run) -> Vec<f64> {
    let mut open = 0.0;
    let each = run.seconds.iter().map(|second| {
        open += number(second.opened) - number(second.ended);
        open
    });
    each.collect()
}

/// Streams open at a time.
fn streams_at(run: &Run, at: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a second of a run"
    )]
    let second = at.max(0.0) as usize;
    streams(run).get(second).copied().unwrap_or(0.0)
}

fn over_time(run: &mut Run) {
    let p99 = |from: f64, to: f64| {
        let mut sum = Second::default();
        for second in part(within(run), from, to) {
            sum.merge(second);
        }
        sum.percentile_ms(99.0)
    };
    let drift = p99(0.25, 0.5).zip(p99(0.75, 1.0));
    if let Some(share) = drift.and_then(|(early, late)| ratio(late - early, early)) {
        set(run, "latency_drift_percent", share * 100.0);
    }
    if let Some(seconds) = recovery(run) {
        set(run, "recovery_seconds", seconds);
    }
}

/// From the last event of the run until all streams were back; none when they were not, or when
/// nothing happened.
fn recovery(run: &Run) -> Option<f64> {
    let (first, last) = (run.moments.first()?.at, run.moments.last()?.at);
    let wanted = streams_at(run, first - 1.0) * ALL_BACK;
    let open = streams(run);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a second of a run"
    )]
    let (from, to) = (last as usize, (run.hold_to as usize).min(open.len()));
    let during = open.get(from.min(to)..to)?;
    let Some(missing) = during.iter().rposition(|open| *open < wanted) else {
        return Some(0.0);
    };
    #[expect(clippy::cast_precision_loss, reason = "a second of a run")]
    let back = (missing + 1 < during.len()).then(|| (from + missing + 1) as f64 - last);
    back.map(|seconds| seconds.max(0.0))
}

fn drain(run: &mut Run, drained: Option<Drained>) {
    let Some(drained) = drained else { return };
    set(run, "drain_seconds", drained.seconds);
    if !drained.clean {
        run.warnings.push("the drained server did not end with exit code 0".to_owned());
    }
    let began = run.moments.iter().find(|moment| moment.what == "drain");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a second of a run"
    )]
    let from = began.map_or(0, |moment| moment.at as usize);
    let ended: Vec<u64> = run.seconds.iter().skip(from).map(|second| second.ended).collect();
    let busy = |count: &u64| *count > 0;
    let span = ended.iter().position(busy).zip(ended.iter().rposition(busy));
    if let Some((first, last)) = span {
        let sum: u64 = ended.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
        let even = number(sum) / (last - first + 1) as f64;
        let peak = ended.iter().max().copied().map_or(0.0, number);
        if let Some(peak) = ratio(peak, even) {
            set(run, "drain_peak_ratio", peak);
        }
    }
}

/// What stood beside the streams: the publisher, ordinary requests, and the load itself.
fn beside(run: &mut Run, measured: &Measured<'_>) {
    if let Some(stats) = measured.stats {
        let late_ms = number(stats.late_us_max) / 1_000.0;
        set(run, "app_connections", number(stats.connections));
        set(run, "app_connections_total", number(stats.connections_total));
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
        set(run, "requests_failed", number(answers.failures.values().sum()));
        set(run, "requests_p99_ms", answers.latency.percentile_ms(99.0));
    }
    let held = held(run);
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
    let machine = mean(held.iter().skip(1).map(|sample| sample.machine_share));
    if let Some(busy) = machine.filter(|busy| *busy > 0.95) {
        run.warnings.push(format!(
            "the machine was {:.0} % busy: load and server took each other's time",
            busy * 100.0
        ));
    }
}
