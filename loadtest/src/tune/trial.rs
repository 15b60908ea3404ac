//! One point of a curve: so many subscribers at such a rate, several times.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::Budget;
use crate::{
    failure::{Doing, Result},
    scenario::{
        conductor::{self, Options},
        figures::Figures,
        file::Scenario,
        record::Spread,
        units::Time,
    },
};

/// What to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Subscribers, all of one channel.
    pub subscribers: u32,
    /// Events per second.
    pub rate: f64,
    /// Heartbeat in seconds, if not the default.
    pub heartbeat_seconds: Option<f64>,
    /// Batching delay in milliseconds, if not the default.
    pub batch_delay_ms: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// What was tried.
    pub point: Point,
    /// The figures of each repetition.
    pub runs: Vec<Figures>,
}

/// How trials are run.
#[derive(Debug, Clone)]
pub struct Bench<'a> {
    /// Against what, and by whom.
    pub options: &'a Options,
    /// How long each one measures.
    pub hold: Time,
    /// How often each one is repeated.
    pub repeats: u32,
    /// Subscribers that connect in a second.
    pub ramp: u32,
    /// For configuration and logs.
    pub folder: &'a Path,
}

/// What stopped the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Something was lost, or somebody could not stay.
    Correctness,
    /// The latency objective.
    Latency,
    /// The CPU budget.
    Cpu,
    /// The memory budget.
    Memory,
}

impl Bench<'_> {
    /// Runs a point as often as asked. A point that breaks correctness is not repeated.
    ///
    /// # Errors
    /// What kept it from being run.
    pub async fn run(&self, point: Point) -> Result<Trial> {
        let scenario = self.scenario(&point)?;
        let mut runs = Vec::new();
        for _ in 0..self.repeats {
            let run = conductor::run(&scenario, self.options, self.folder, |_| {}).await?;
            let pass = run.is_pass();
            runs.push(run.figures);
            if !pass {
                break;
            }
        }
        Ok(Trial { point, runs })
    }

    fn scenario(&self, point: &Point) -> Result<Scenario> {
        let Point {
            subscribers, rate, ..
        } = point;
        let mut defaults = Vec::new();
        if let Some(seconds) = point.heartbeat_seconds {
            defaults.push(format!("heartbeat: {}ms", seconds * 1_000.0));
        }
        if let Some(millis) = point.batch_delay_ms {
            defaults.push(format!("batch_delay: {millis}ms"));
        }
        let server = format!("defaults: {{{}}}", defaults.join(", "));
        let text = format!(
            "{{name: tune, about: a trial, publisher: {{rate: {rate}}}, ramp: {}, hold: {},
            subscribers: [{{protocol: h1, count: {subscribers}}}],
            thresholds: [lost <= 0, doubled <= 0, reordered <= 0, torn <= 0, ended <= 0, not_connected <= 0]}}",
            self.ramp, self.hold
        );
        let mut scenario = Scenario::parse(&text)?;
        scenario.server = serde_yaml::from_str::<Value>(&server).doing("write a trial")?;
        Ok(scenario)
    }
}

impl Trial {
    /// The median of a figure; zero where no repetition has it.
    #[must_use]
    pub fn median(&self, figure: &str) -> f64 {
        let found = self.runs.iter().filter_map(|run| run.get(figure).copied());
        Spread::of(found.collect()).map_or(0.0, |spread| spread.median)
    }

    /// What it broke, if anything.
    #[must_use]
    pub fn broke(&self, budget: &Budget) -> Option<Broken> {
        let any = |figure: &str| {
            self.runs
                .iter()
                .any(|run| run.get(figure).is_some_and(|n| *n > 0.0))
        };
        let faults = [
            "lost",
            "doubled",
            "reordered",
            "torn",
            "ended",
            "not_connected",
        ];
        #[expect(
            clippy::cast_precision_loss,
            reason = "memory to a fraction of a percent"
        )]
        let memory_mib = budget.memory_bytes as f64 / 1_048_576.0;
        if self.runs.is_empty() || faults.into_iter().any(any) {
            Some(Broken::Correctness)
        } else if self.median("latency_p99_ms") > budget.objective_ms {
            Some(Broken::Latency)
        } else if self.median("server_cpu_cores") > budget.cpus * budget.headroom {
            Some(Broken::Cpu)
        } else if self.median("server_memory_mib") > memory_mib * budget.headroom {
            Some(Broken::Memory)
        } else {
            None
        }
    }
}

impl Broken {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Correctness => "something was lost, or somebody could not stay",
            Self::Latency => "the latency objective",
            Self::Cpu => "the CPU budget",
            Self::Memory => "the memory budget",
        }
    }
}
