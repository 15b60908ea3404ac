//! `loadtest ratios`: the results of `loadtest/peers/run.sh` as one table of medians, ratios and verdicts.
//!
//! A ratio is made of two runs of the same number, which stood next to each other in time; the median
//! is taken of those ratios, so that a machine that gets slower in between does not matter.

pub mod bars;
pub mod results;
mod table;

use std::path::PathBuf;

use serde::Serialize;

use self::{
    bars::{BARS, Bar, Limit},
    results::{Results, median},
};
use crate::failure::Result;

/// The server that the bars are about.
const OURS: &str = "sidestream";
/// Cores that others may use beside a run before its rates and latencies are doubtful.
const OTHERS_MAX: f64 = 0.1;

/// `ratios`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the results: a folder per shape, in it `server-number.json`.
    pub results: PathBuf,
    /// Judge only these shapes, and not what earlier sittings left there.
    pub shapes: Vec<String>,
    /// Write the table as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the table as Markdown.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}

/// Everything that was measured and what it amounts to.
#[derive(Debug, Serialize)]
pub struct Ratios {
    /// Bars whose shapes were run.
    pub verdicts: Vec<Verdict>,
    /// Our faults: lost events, refused connects and the like.
    pub faults: Vec<String>,
    /// Those of the peers, which count against nobody; they say how far a figure can be trusted.
    pub faults_of_peers: Vec<String>,
    /// The medians behind them.
    pub medians: Vec<Medians>,
}

/// A bar held against what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Shape of the runs.
    pub shape: &'static str,
    /// Name of the figure.
    pub figure: &'static str,
    /// Whose figure it was divided by.
    pub peer: Option<&'static str>,
    /// Runs that count.
    pub runs: usize,
    /// The median of the ratios, or of the figure itself; `None` when no run counts.
    pub value: Option<f64>,
    /// The lowest and the highest.
    pub spread: Option<(f64, f64)>,
    /// Of rates: the same ratio by the CPU that a delivery costs, which neighbours on the machine and a
    /// load that is too slow disturb the least.
    pub by_cpu: Option<f64>,
    /// What it must come to, in words.
    pub bar: String,
    /// Whether it does; `None` when there is nothing to reach.
    pub pass: Option<bool>,
    /// Others kept the machine busy: the verdict is worth little.
    pub doubtful: bool,
}

/// A server's medians in a shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Medians {
    /// Shape.
    pub shape: String,
    /// Server.
    pub server: String,
    /// Runs.
    pub runs: usize,
    /// By name of the figure.
    pub figures: std::collections::BTreeMap<String, f64>,
}

impl Ratios {
    /// Reads the results of these shapes in a folder; of all shapes, if none is named.
    ///
    /// # Errors
    /// When they cannot be read, or a result is not one.
    pub fn read(folder: &std::path::Path, shapes: &[String]) -> Result<Self> {
        Ok(Self::of(&Results::read(folder, shapes)?))
    }

    /// Holds results against the bars.
    #[must_use]
    pub fn of(results: &Results) -> Self {
        let measured = BARS.iter().filter(|bar| results.has_shape(bar.shape));
        Self {
            verdicts: measured.map(|bar| verdict(bar, results)).collect(),
            faults: results.faults(is_ours),
            faults_of_peers: results.faults(|server| !is_ours(server)),
            medians: results.medians(),
        }
    }

    /// True when every bar is met and no run of ours had a fault.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        let met = |verdict: &Verdict| verdict.pass != Some(false);
        self.faults.is_empty() && self.verdicts.iter().all(met)
    }
}

/// Also of `sidestream-1` and the like.
fn is_ours(server: &str) -> bool {
    server.starts_with(OURS)
}

fn verdict(bar: &Bar, results: &Results) -> Verdict {
    let Bar {
        shape,
        figure,
        peer,
        limit,
    } = *bar;
    let values = match peer {
        None => sorted(results.figure(shape, OURS, figure).into_values()),
        Some(peer) => quotients(results, shape, figure, [OURS, peer]),
    };
    let by_cpu = peer
        .filter(|_| figure == bars::RATE)
        .map(|peer| quotients(results, shape, bars::CPU, [peer, OURS]));
    let value = median(&values);
    let others = [Some(OURS), peer]
        .into_iter()
        .flatten()
        .filter_map(|server| {
            median(&sorted(
                results.figure(shape, server, bars::OTHERS).into_values(),
            ))
        });
    Verdict {
        shape,
        figure,
        peer,
        runs: values.len(),
        value,
        spread: values.first().copied().zip(values.last().copied()),
        by_cpu: by_cpu.and_then(|values| median(&values)),
        bar: match limit {
            Limit::Least(least) => format!(">= {}", table::number(least)),
            Limit::Most(most) => format!("<= {}", table::number(most)),
            Limit::Told => "-".to_owned(),
        },
        pass: match limit {
            Limit::Told => None,
            // What could not be measured is not reached.
            Limit::Least(_) | Limit::Most(_) => Some(value.is_some_and(|value| limit.holds(value))),
        },
        doubtful: others.into_iter().any(|others| others > OTHERS_MAX),
    }
}

/// A figure of one server by that of another, run by run, in order of size.
fn quotients(results: &Results, shape: &str, figure: &str, [of, by]: [&str; 2]) -> Vec<f64> {
    let divisors = results.figure(shape, by, figure);
    let quotient = |(number, value): (u32, f64)| {
        let divisor = divisors.get(&number).filter(|divisor| **divisor > 0.0)?;
        Some(value / divisor)
    };
    let values = results.figure(shape, of, figure).into_iter();
    sorted(values.filter_map(quotient))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_of_neighbours() {
        let rate = |rate: f64| {
            serde_json::json!({
                "deliveries_per_second": rate,
                "server_us_per_delivery": 1.0,
            "others_share": rate / 1_000.0,
                "faults": {},
            })
        };
        let mut results = Results::default();
        // The machine gets slower and slower, the ratio stays.
        for (number, floor, ours) in [(1, 400.0, 380.0), (2, 200.0, 190.0), (3, 100.0, 50.0)] {
            results.add("sat1k-w1", "floor-event", number, &rate(floor));
            results.add("sat1k-w1", "sidestream", number, &rate(ours));
        }
        results.add("sat1k-w1", "sidestream", 4, &rate(1.0));
        let ratios = Ratios::of(&results);
        let [verdict] = ratios.verdicts.as_slice() else {
            panic!("one verdict expected: {ratios:?}");
        };
        assert_eq!((verdict.value, verdict.runs), (Some(0.95), 3));
        assert_eq!(
            (verdict.spread, verdict.by_cpu),
            (Some((0.5, 0.95)), Some(1.0))
        );
        assert!(verdict.doubtful && ratios.is_pass());
    }

    #[test]
    fn faults_and_missing_runs_fail() {
        let mut results = Results::default();
        let fault = serde_json::json!({ "server_rss_bytes": 1e9, "connected": 1e6, "latency_p99_ms": 1.0,
            "faults": { "lost": 2 } });
        results.add("million", "sidestream", 1, &fault);
        let ratios = Ratios::of(&results);
        assert!(
            ratios
                .verdicts
                .iter()
                .all(|verdict| verdict.pass != Some(false))
        );
        assert_eq!(ratios.faults, ["million, sidestream, run 1: lost 2"]);
        assert!(!ratios.is_pass());

        let mut results = Results::default();
        results.add(
            "pass",
            "nginx",
            1,
            &serde_json::json!({ "requests_per_second": 1 }),
        );
        assert!(!Ratios::of(&results).is_pass());

        // A run that broke has no figures: the median of the others is not all there is to say.
        let mut results = Results::default();
        let good = serde_json::json!({ "server_rss_bytes": 1e9, "connected": 1e6,
            "latency_p99_ms": 1.0, "faults": {} });
        results.add("million", "sidestream", 1, &good);
        assert!(Ratios::of(&results).is_pass());
        let broken = serde_json::json!({ "faults": { "not run": 1 } });
        results.add("million", "sidestream", 2, &broken);
        let ratios = Ratios::of(&results);
        assert_eq!(ratios.faults, ["million, sidestream, run 2: not run 1"]);
        assert!(!ratios.is_pass());
    }
}
