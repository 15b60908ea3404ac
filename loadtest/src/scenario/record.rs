//! What a run leaves behind: the JSON beside the report.

use serde::{Deserialize, Serialize};

use super::{
    figures::Figures, file::Scenario, requests::Answers, sampler::Sample, setup::Setup,
    units::Threshold,
};
use crate::{
    failure::{Doing, Failure, Result},
    tally::Counts,
    timeline::Second,
};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// All runs of a scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format.
    pub format: u32,
    /// True when every threshold holds in every run.
    pub pass: bool,
    /// What was run.
    pub scenario: Scenario,
    /// On what.
    pub setup: Setup,
    /// The runs, in order.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// The thresholds.
    pub checks: Vec<Check>,
    /// Why its figures may not mean what they say.
    pub warnings: Vec<String>,
    /// The figures.
    pub figures: Figures,
    /// What the groups saw.
    pub groups: Vec<GroupResult>,
    /// What happened meanwhile.
    pub moments: Vec<Moment>,
    /// When the hold began, in seconds of the run.
    pub hold_from: f64,
    /// When it ended.
    pub hold_to: f64,
    /// What subscribers saw, second by second.
    pub seconds: Vec<Second>,
    /// What processes used, second by second.
    pub samples: Vec<Sample>,
    /// Ordinary requests.
    pub answers: Option<Answers>,
    /// The server's metrics at the end that are not zero, if it has any.
    pub metrics: Vec<(String, f64)>,
}

/// A threshold and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What must hold.
    pub threshold: String,
    /// What was found; nothing when this run has no such figure.
    pub found: Option<f64>,
    /// Whether it holds.
    pub pass: bool,
}

/// One group of subscribers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupResult {
    /// Its name.
    pub name: String,
    /// What its subscribers saw.
    pub counts: Counts,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since the run began.
    pub at: f64,
    /// What.
    pub what: String,
}

impl Run {
    /// Holds the figures against the thresholds. A figure that a run does not have passes none.
    pub fn judge(&mut self, thresholds: &[Threshold]) {
        let check = |threshold: &Threshold| {
            let found = self.figures.get(threshold.figure.name).copied();
            Check {
                threshold: threshold.to_string(),
                found,
                pass: found.is_some_and(|found| threshold.holds(found)),
            }
        };
        self.checks = thresholds.iter().map(check).collect();
    }

    /// True when every threshold holds.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.checks.iter().all(|check| check.pass)
    }
}

impl Record {
    /// The median of a figure over the runs that have it, and its lowest and highest.
    #[must_use]
    pub fn spread(&self, figure: &str) -> Option<Spread> {
        let found = self.runs.iter().filter_map(|run| run.figures.get(figure));
        Spread::of(found.copied().collect())
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the file is none.
    pub fn load(path: &std::path::Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).doing(format_args!("read {shown}"))?;
        let record: Self = serde_json::from_str(&text).doing(format_args!(
            "{shown} is not the JSON that `loadtest scenario` leaves"
        ))?;
        if record.format == FORMAT {
            return Ok(record);
        }
        let format = record.format;
        Err(Failure::new(format!(
            "{shown}: format {format}, this program reads {FORMAT}"
        )))
    }
}

/// A figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Lowest.
    pub low: f64,
    /// Highest.
    pub high: f64,
}

impl Spread {
    /// Of these values; none of nothing.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper)
        } else {
            upper
        };
        Some(Self { median, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_lowest_and_highest() {
        type Case = (&'static [f64], Option<(f64, f64, f64)>);
        let cases: [Case; 4] = [
            (&[], None),
            (&[3.0], Some((3.0, 3.0, 3.0))),
            (&[3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0))),
            (&[4.0, 1.0, 2.0, 9.0], Some((3.0, 1.0, 9.0))),
        ];
        for (values, expected) in cases {
            let spread = Spread::of(values.to_vec());
            let parts = spread.map(|spread| (spread.median, spread.low, spread.high));
            assert_eq!(parts, expected, "{values:?}");
        }
    }

    #[test]
    fn a_missing_figure_fails_its_threshold() {
        let thresholds = ["lost <= 0", "gaps <= 3"].map(|text| text.parse().unwrap());
        let mut run = Run::default();
        run.figures.insert("lost".into(), 0.0);
        run.judge(&thresholds);
        assert!(!run.is_pass());
        let found: Vec<(Option<f64>, bool)> = run
            .checks
            .iter()
            .map(|check| (check.found, check.pass))
            .collect();
        assert_eq!(found, [(Some(0.0), true), (None, false)]);
        run.figures.insert("gaps".into(), 3.0);
        run.judge(&thresholds);
        assert!(run.is_pass());
    }
}
