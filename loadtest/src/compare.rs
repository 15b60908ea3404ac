//! `loadtest compare`: two records of a scenario, figure by figure, with a judgement of the noise.

use std::{
    fmt::{self, Write},
    path::PathBuf,
};

use clap::Args;

use crate::{
    failure::{Failure, Result},
    html::plot::short,
    scenario::{
        figures::{self, Better, Figure},
        record::{Record, Spread},
    },
};

/// Differences of figures below this are nothing that anybody feels: a millisecond of latency, a
/// percent of a share.
const TRIFLES: [(&str, f64); 9] = [
    ("latency_p50_ms", 1.0),
    ("latency_p90_ms", 1.0),
    ("latency_p99_ms", 2.0),
    ("latency_p999_ms", 5.0),
    ("latency_max_ms", 10.0),
    ("app_late_ms", 5.0),
    ("server_cpu_cores", 0.01),
    ("recovery_seconds", 1.0),
    ("load_cpu_share", 0.02),
];

/// `compare`.
#[derive(Debug, Args)]
pub struct Command {
    /// The JSON of the run to compare with.
    pub before: PathBuf,
    /// The JSON of the run to judge.
    pub after: PathBuf,
    /// From how many percent on a figure that got worse beyond the noise fails.
    #[arg(long, default_value_t = 10.0)]
    pub threshold: f64,
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Worse by more than noise and threshold.
    Worse,
    /// Better by as much.
    Better,
    /// Different, and not beyond the noise, or not by the threshold.
    Alike,
    /// It has no better side.
    Plain,
    /// One of the two does not have it.
    Missing,
}

/// One figure of both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The figure.
    pub figure: &'static Figure,
    /// Before.
    pub before: Option<Spread>,
    /// After.
    pub after: Option<Spread>,
    /// What became of it.
    pub verdict: Verdict,
}

/// The comparison.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// All figures that one of the two has.
    pub rows: Vec<Row>,
    /// Why the two may not be comparable.
    pub warnings: Vec<String>,
}

impl Command {
    /// Compares; true when nothing got worse.
    ///
    /// # Errors
    /// When one of the files is no record, or they are of different scenarios.
    pub fn run(&self, print: impl Fn(&str)) -> Result<bool> {
        let (before, after) = (Record::load(&self.before)?, Record::load(&self.after)?);
        let comparison = Comparison::of(&before, &after, self.threshold)?;
        print(&comparison.to_string());
        Ok(comparison.is_pass())
    }
}

impl Comparison {
    /// Compares two records of the same scenario; `threshold` in percent.
    ///
    /// # Errors
    /// When they are of different scenarios.
    pub fn of(before: &Record, after: &Record, threshold: f64) -> Result<Self> {
        let names = (&before.scenario.name, &after.scenario.name);
        if names.0 != names.1 {
            let (one, other) = names;
            return Err(Failure::new(format!(
                "the first is of the scenario `{one}`, the second of `{other}`"
            )));
        }
        let row = |figure: &'static Figure| {
            let (one, other) = (before.spread(figure.name), after.spread(figure.name));
            let verdict = match (one, other) {
                (None, None) => return None,
                (Some(one), Some(other)) => judge(figure, one, other, threshold),
                _ => Verdict::Missing,
            };
            Some(Row {
                figure,
                before: one,
                after: other,
                verdict,
            })
        };
        Ok(Self {
            rows: figures::ALL.iter().filter_map(row).collect(),
            warnings: warnings(before, after),
        })
    }

    /// True when nothing got worse.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.rows.iter().all(|row| row.verdict != Verdict::Worse)
    }
}

/// A change counts when it is beyond the threshold, no trifle, and beyond the noise: the ranges of
/// both sides' runs do not touch.
fn judge(figure: &Figure, before: Spread, after: Spread, threshold: f64) -> Verdict {
    let rise = after.median - before.median;
    let apart = after.low > before.high || after.high < before.low;
    let enough = rise.abs() > before.median.abs() * threshold / 100.0;
    let trifle = TRIFLES.iter().find(|(name, _)| *name == figure.name);
    let felt = trifle.is_none_or(|(_, least)| rise.abs() >= *least);
    let counts = apart && enough && felt;
    match (figure.better, counts) {
        (Better::Neither, _) => Verdict::Plain,
        (_, false) => Verdict::Alike,
        (Better::Lower, true) if rise < 0.0 => Verdict::Better,
        (Better::Higher, true) if rise > 0.0 => Verdict::Better,
        (Better::Lower | Better::Higher, true) => Verdict::Worse,
    }
}

fn warnings(before: &Record, after: &Record) -> Vec<String> {
    let (one, other) = (&before.setup, &after.setup);
    let differs = [
        (
            "configuration or scenario",
            one.config_hash != other.config_hash,
        ),
        ("processors", one.cpu != other.cpu),
        ("number of cores", one.cores != other.cores),
        ("kernels", one.kernel != other.kernel),
        ("seeds", one.seed != other.seed),
    ];
    let mut warnings: Vec<String> = differs
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(what, _)| format!("the two have different {what}"))
        .collect();
    for (record, which) in [(before, "first"), (after, "second")] {
        let runs = record.runs.len();
        if runs < 3 {
            warnings.push(format!(
                "the {which} has {}: with three or more (--runs) noise shows",
                counted(runs, "run")
            ));
        }
        if record.runs.iter().any(|run| !run.warnings.is_empty()) {
            warnings.push(format!(
                "the {which} has warnings of its own; see its report"
            ));
        }
    }
    warnings
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32}{:>12}{:>12}{:>10}  {:<10}(lowest to highest)",
            "", "before", "after", "change", ""
        )?;
        for row in &self.rows {
            let verdict = match row.verdict {
                Verdict::Worse => "WORSE",
                Verdict::Better => "better",
                Verdict::Alike | Verdict::Plain => "",
                Verdict::Missing => "missing",
            };
            let median = |spread: Option<Spread>| {
                spread.map_or("-".to_owned(), |spread| short(spread.median))
            };
            let mut ranges = String::new();
            for spread in [row.before, row.after].into_iter().flatten() {
                write!(ranges, " {} to {};", short(spread.low), short(spread.high))?;
            }
            writeln!(
                f,
                "{:<32}{:>12}{:>12}{:>10}  {verdict:<10}{}",
                row.figure.name,
                median(row.before),
                median(row.after),
                change(row),
                ranges.trim_end_matches(';')
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "WARNING: {warning}")?;
        }
        let worse = self.rows.iter().filter(|row| row.verdict == Verdict::Worse);
        match worse.count() {
            0 => write!(f, "PASS: nothing got worse"),
            count => write!(f, "FAIL: {} got worse", counted(count, "figure")),
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn change(row: &Row) -> String {
    match (row.before, row.after) {
        (Some(before), Some(after)) if before.median.abs() > 0.0 => {
            let percent = (after.median / before.median - 1.0) * 100.0;
            format!("{percent:+.1} %")
        }
        (Some(_), Some(after)) if after.median.abs() > 0.0 => "new".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{
        file::Scenario,
        record::{FORMAT, Run},
        setup::Setup,
    };

    fn record(figure: &str, values: &[f64]) -> Record {
        let text = "{name: a, about: b, subscribers: [{protocol: h1, count: 1}], hold: 1s, thresholds: []}";
        let run = |value: &f64| Run {
            figures: [(figure.to_owned(), *value)].into(),
            ..Run::default()
        };
        Record {
            format: FORMAT,
            pass: true,
            scenario: Scenario::parse(text).unwrap(),
            setup: Setup::default(),
            runs: values.iter().map(run).collect(),
        }
    }

    #[test]
    fn a_change_counts_beyond_noise_and_threshold() {
        use Verdict::{Alike, Better, Missing, Plain, Worse};
        let cases: [(&str, &[f64], &[f64], Verdict); 11] = [
            (
                "latency_p99_ms",
                &[10.0, 11.0, 12.0],
                &[20.0, 21.0, 22.0],
                Worse,
            ),
            (
                "latency_p99_ms",
                &[20.0, 21.0, 22.0],
                &[10.0, 11.0, 12.0],
                Better,
            ),
            // The ranges touch.
            (
                "latency_p99_ms",
                &[10.0, 11.0, 30.0],
                &[20.0, 21.0, 22.0],
                Alike,
            ),
            // Below the threshold.
            (
                "latency_p99_ms",
                &[100.0, 100.0, 100.0],
                &[109.0, 109.0, 109.0],
                Alike,
            ),
            // A trifle.
            ("latency_p99_ms", &[1.0, 1.0, 1.0], &[2.0, 2.0, 2.0], Alike),
            ("deliveries_per_second", &[100.0], &[80.0], Worse),
            ("deliveries_per_second", &[80.0], &[100.0], Better),
            // One loss is one too many.
            ("lost", &[0.0, 0.0, 0.0], &[1.0, 1.0, 2.0], Worse),
            ("lost", &[0.0, 0.0, 0.0], &[0.0, 0.0, 0.0], Alike),
            ("amplification", &[1.0], &[9.0], Plain),
            ("drain_seconds", &[1.0], &[], Missing),
        ];
        for (figure, before, after, expected) in cases {
            let (one, other) = (record(figure, before), record(figure, after));
            let comparison = Comparison::of(&one, &other, 10.0).unwrap();
            let found: Vec<Verdict> = comparison.rows.iter().map(|row| row.verdict).collect();
            assert_eq!(found, [expected], "{figure} {before:?} {after:?}");
            assert_eq!(comparison.is_pass(), expected != Worse);
            assert!(comparison.to_string().contains(figure));
        }
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let one = record("lost", &[0.0]);
        let mut other = record("lost", &[0.0, 0.0, 0.0]);
        other.setup.cores = 64;
        let warnings = Comparison::of(&one, &other, 10.0).unwrap().warnings;
        let expected = ["different number of cores", "the first has 1 run:"];
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(part), "{warning}");
        }
        other.scenario.name = "b".into();
        assert!(Comparison::of(&one, &other, 10.0).is_err());
    }
}
