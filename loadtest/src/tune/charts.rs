//! The curves.

use super::{Measurements, trial::Trial};
use crate::html::{
    axis::Scale,
    plot::{Chart, Series},
};

/// File name and chart, for all curves that were measured.
#[must_use]
pub fn of(measured: &Measurements) -> Vec<(&'static str, Chart)> {
    let budget = &measured.budget;
    #[expect(clippy::cast_precision_loss, reason = "a place in a chart")]
    let memory_mib = budget.memory_bytes as f64 / 1_048_576.0;
    let load = |title, unit, figure, scale, limit| Chart {
        across: "subscribers",
        scale,
        limit: Some(limit),
        ..Chart::over_time(title, unit, by_rate(&measured.load, figure))
    };
    let mut charts = vec![
        (
            "latency",
            load(
                "Latency at p99 by subscribers",
                "ms",
                "latency_p99_ms",
                Scale::Log,
                budget.objective_ms,
            ),
        ),
        (
            "cpu",
            load(
                "CPU by subscribers",
                "cores",
                "server_cpu_cores",
                Scale::Linear,
                budget.cpus,
            ),
        ),
        (
            "memory",
            load(
                "Memory by subscribers",
                "MiB",
                "server_memory_mib",
                Scale::Linear,
                memory_mib,
            ),
        ),
    ];
    if !measured.heartbeat.is_empty() {
        let line = curve(
            "idle subscribers",
            &measured.heartbeat,
            "server_cpu_cores",
            |trial| trial.point.heartbeat_seconds,
        );
        charts.push((
            "heartbeat",
            Chart {
                across: "seconds between heartbeats",
                ..Chart::over_time("CPU by heartbeat", "cores", vec![line])
            },
        ));
    }
    if !measured.batching.is_empty() {
        let delay = |trial: &Trial| trial.point.batch_delay_ms;
        let line = |name, figure| curve(name, &measured.batching, figure, delay);
        charts.push((
            "batching",
            Chart {
                across: "ms of delay",
                ..Chart::over_time(
                    "Cost of a million deliveries by batching delay",
                    "CPU seconds",
                    vec![line("CPU seconds", "server_cpu_seconds_per_million")],
                )
            },
        ));
    }
    charts
}

/// One line for each rate.
fn by_rate(trials: &[Trial], figure: &str) -> Vec<Series> {
    let mut rates: Vec<f64> = trials.iter().map(|trial| trial.point.rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let line = |rate: f64| {
        let same: Vec<Trial> = trials
            .iter()
            .filter(|trial| (trial.point.rate - rate).abs() < 1e-9)
            .cloned()
            .collect();
        curve(&format!("{rate} events/s"), &same, figure, |trial| {
            Some(f64::from(trial.point.subscribers))
        })
    };
    rates.into_iter().map(line).collect()
}

fn curve(
    name: &str,
    trials: &[Trial],
    figure: &str,
    across: impl Fn(&Trial) -> Option<f64>,
) -> Series {
    let point = |trial: &Trial| Some((across(trial)?, Some(trial.median(figure))));
    Series {
        name: name.to_owned(),
        points: trials.iter().filter_map(point).collect(),
    }
}
