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

/// `ratios`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the results: a folder per shape, in it `server-number.json`.
    pub results: PathBuf,
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
    /// Runs with faults: lost events, refused connects and the like.
    pub faulty: Vec<String>,
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
    /// What it must come to, in words.
    pub bar: String,
    /// Whether it does; `None` when there is nothing to reach.
    pub pass: Option<bool>,
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
    /// Reads a folder of results.
    ///
    /// # Errors
    /// When it cannot be read, or a result is not one.
    pub fn read(folder: &std::path::Path) -> Result<Self> {
        Ok(Self::of(&Results::read(folder)?))
    }

    /// Holds results against the bars.
    #[must_use]
    pub fn of(results: &Results) -> Self {
        let measured = BARS.iter().filter(|bar| results.has_shape(bar.shape));
        Self {
            verdicts: measured.map(|bar| verdict(bar, results)).collect(),
            faulty: results.faulty(),
            medians: results.medians(),
        }
    }

    /// True when every bar is met and no run had a fault.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        let met = |verdict: &Verdict| verdict.pass != Some(false);
        self.faulty.is_empty() && self.verdicts.iter().all(met)
    }
}

fn verdict(bar: &Bar, results: &Results) -> Verdict {
    let ours = results.figure(bar.shape, OURS, bar.figure);
    let mut values: Vec<f64> = match bar.peer {
        None => ours.into_values().collect(),
        Some(peer) => {
            let theirs = results.figure(bar.shape, peer, bar.figure);
            let ratio = |(number, ours): (u32, f64)| {
                let theirs = theirs.get(&number).filter(|theirs| **theirs > 0.0)?;
                Some(ours / theirs)
            };
            ours.into_iter().filter_map(ratio).collect()
        }
    };
    values.sort_by(f64::total_cmp);
    let value = median(&values);
    let pass = match bar.limit {
        Limit::Told => None,
        // What could not be measured is not reached.
        limit => Some(value.is_some_and(|value| limit.holds(value))),
    };
    Verdict {
        shape: bar.shape,
        figure: bar.figure,
        peer: bar.peer,
        runs: values.len(),
        value,
        spread: values.first().copied().zip(values.last().copied()),
        bar: match bar.limit {
            Limit::Least(least) => format!(">= {}", table::number(least)),
            Limit::Most(most) => format!("<= {}", table::number(most)),
            Limit::Told => "-".to_owned(),
        },
        pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_of_neighbours() {
        let rate = |rate: f64| serde_json::json!({ "deliveries_per_second": rate, "faults": {} });
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
        assert_eq!(verdict.spread, Some((0.5, 0.95)));
        assert!(ratios.is_pass());
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
        assert_eq!(ratios.faulty, ["million, sidestream, run 1: lost 2"]);
        assert!(!ratios.is_pass());

        let mut results = Results::default();
        results.add(
            "pass",
            "nginx",
            1,
            &serde_json::json!({ "requests_per_second": 1 }),
        );
        assert!(!Ratios::of(&results).is_pass());
    }
}
