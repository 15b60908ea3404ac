//! The charts of a run.

use super::{
    axis::Scale,
    plot::{Chart, Series},
};
use crate::{
    samples::Samples,
    scenario::{
        course::streams,
        record::{GroupResult, Run},
        sampler::Sample,
    },
    timeline::Second,
};

/// Where the curve of percentiles is read.
const PERCENTS: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];
const MIB: f64 = 1_048_576.0;

/// All charts that have something to show.
#[must_use]
pub fn of(run: &Run) -> Vec<Chart> {
    let mut charts = vec![
        latency(run),
        percentiles(&run.groups),
        Chart::over_time(
            "Deliveries in each second",
            "",
            vec![seconds(run, "delivered", |second| Some(second.delivered))],
        ),
        Chart::over_time("Streams open", "", vec![open(run)]),
        Chart::over_time(
            "Streams opened and ended in each second",
            "",
            vec![
                seconds(run, "opened", |second| Some(second.opened)),
                seconds(run, "ended", |second| Some(second.ended)),
                seconds(run, "refused", |second| Some(second.refused)),
            ],
        ),
        Chart::over_time(
            "CPU",
            "cores",
            vec![
                cpu(run, "server", |sample| sample.server_cpu_seconds),
                cpu(run, "load", |sample| Some(sample.load_cpu_seconds)),
                cpu(run, "publisher", |sample| sample.app_cpu_seconds),
            ],
        ),
        Chart::over_time("Server memory", "MiB resident", vec![memory(run)]),
    ];
    if run.seconds.iter().any(|second| second.gaps > 0) {
        let gaps = seconds(run, "gaps", |second| Some(second.gaps));
        charts.push(Chart::over_time(
            "Gaps announced in each second",
            "",
            vec![gaps],
        ));
    }
    for chart in &mut charts {
        chart
            .series
            .retain(|line| line.points.iter().any(|(_, value)| value.is_some()));
        if chart.across == "s" {
            chart.marks = run
                .moments
                .iter()
                .map(|moment| (moment.at, moment.what.clone()))
                .collect();
            chart.span = Some((run.hold_from, run.hold_to));
        }
    }
    charts.retain(|chart| !chart.series.is_empty());
    charts
}

fn number(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a place in a chart")]
    let number = count as f64;
    number
}

/// A line with a point for each second, in its middle.
fn line(name: &str, values: impl Iterator<Item = Option<f64>>) -> Series {
    let middles = std::iter::successors(Some(0.5), |at| Some(at + 1.0));
    Series {
        name: name.to_owned(),
        points: middles.zip(values).collect(),
    }
}

fn seconds(run: &Run, name: &str, of: impl Fn(&Second) -> Option<u64>) -> Series {
    line(
        name,
        run.seconds.iter().map(|second| of(second).map(number)),
    )
}

fn latency(run: &Run) -> Chart {
    let percentile = |name, percent| {
        line(
            name,
            run.seconds
                .iter()
                .map(move |second| second.percentile_ms(percent)),
        )
    };
    let lines = vec![
        percentile("p50", 50.0),
        percentile("p99", 99.0),
        percentile("max", 100.0),
    ];
    Chart {
        scale: Scale::Log,
        ..Chart::over_time("Latency from the intended send time", "ms", lines)
    }
}

/// Latency by percentile: the further right, the rarer.
fn percentiles(groups: &[GroupResult]) -> Chart {
    let curve = |name: &str, latency: &Samples| Series {
        name: name.to_owned(),
        points: PERCENTS
            .iter()
            .map(|percent| {
                (
                    100.0 / (100.0 - percent),
                    Some(latency.percentile_ms(*percent)),
                )
            })
            .collect(),
    };
    let measured = groups
        .iter()
        .filter(|group| !group.counts.latency.is_empty());
    Chart {
        across: "one delivery in so many is slower",
        across_scale: Scale::Log,
        scale: Scale::Log,
        ..Chart::over_time(
            "Latency by how rare it is",
            "ms",
            measured
                .map(|group| curve(&group.name, &group.counts.latency))
                .collect(),
        )
    }
}

fn open(run: &Run) -> Series {
    line("open", streams(run).into_iter().map(Some))
}

/// Cores in use between two readings.
fn cpu(run: &Run, name: &str, of: impl Fn(&Sample) -> Option<f64>) -> Series {
    let points = run.samples.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let time = after.at - before.at;
        let used = of(after)
            .zip(of(before))
            .map(|(after, before)| after - before);
        (time > 0.2).then(|| (after.at, used.map(|used| used / time)))
    });
    Series {
        name: name.to_owned(),
        points: points.collect(),
    }
}

fn memory(run: &Run) -> Series {
    let point = |sample: &Sample| {
        let bytes = sample.server_rss_bytes.map(number);
        (sample.at, bytes.map(|bytes| bytes / MIB))
    };
    Series {
        name: "server".to_owned(),
        points: run.samples.iter().map(point).collect(),
    }
}
