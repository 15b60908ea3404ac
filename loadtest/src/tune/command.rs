//! The command line of `loadtest tune`.

use std::{fs, path::PathBuf, process};

use clap::Args;

use super::{
    Budget, Measurements, caps, charts, search,
    trial::{Bench, Point},
};
use crate::{
    failure::{Doing, Failure, Result},
    proc,
    scenario::{
        conductor::Options,
        setup::{self, Setup},
        stage::Site,
        units::Time,
    },
};

/// Descriptors that the server needs beside its clients.
const SERVER_DESCRIPTORS: u64 = 1_000;
/// Heartbeats that are tried, in seconds.
const HEARTBEATS: [f64; 5] = [1.0, 2.0, 5.0, 15.0, 25.0];
/// Batching delays that are tried, in milliseconds.
const DELAYS: [f64; 5] = [0.0, 5.0, 10.0, 20.0, 50.0];
/// The busy channel that they are tried on.
const BUSY: (u32, f64) = (1_000, 200.0);

/// `tune`.
#[derive(Debug, Args)]
pub struct Command {
    /// The sidestream to start.
    #[arg(long)]
    pub sidestream: PathBuf,
    /// CPUs to keep it on, as `taskset -c` takes them; keep the load on others by `taskset` too.
    #[arg(long)]
    pub server_cpus: Option<String>,
    /// Cores that it may use [default: what the cgroup allows, or 1].
    #[arg(long)]
    pub cpus: Option<f64>,
    /// Memory that it may use, in MiB [default: what the cgroup allows].
    #[arg(long)]
    pub memory_mib: Option<u64>,
    /// Latency at p99 that must hold, in milliseconds.
    #[arg(long, default_value_t = 200.0)]
    pub objective_ms: f64,
    /// Events per second that a channel is expected to carry.
    #[arg(long, default_value_t = 10.0)]
    pub rate: f64,
    /// Further rates for the curves.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 50.0])]
    pub rates: Vec<f64>,
    /// Share of each budget that a trial may use.
    #[arg(long, default_value_t = 0.8)]
    pub headroom: f64,
    /// How long a trial measures.
    #[arg(long, default_value = "5s")]
    pub hold: Time,
    /// How often a trial is repeated; medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Subscribers at most [default: what the descriptors allow].
    #[arg(long)]
    pub subscribers_max: Option<u32>,
    /// Folder for `tune.yaml`, `tune.json`, charts and logs.
    #[arg(long, default_value = "target/loadtest")]
    pub results: PathBuf,
    /// Folder for the charts, if it is another one.
    #[arg(long)]
    pub charts: Option<PathBuf>,
}

impl Command {
    /// Measures, and writes what follows.
    ///
    /// # Errors
    /// What kept it from being measured, or when not even a few subscribers hold.
    pub async fn run(&self, note: impl Fn(&str), print: impl Fn(&str)) -> Result<bool> {
        let budget = self.budget()?;
        let make = |folder: &PathBuf| {
            fs::create_dir_all(folder).doing(format_args!("make {}", folder.display()))
        };
        make(&self.results)?;
        let results = self.results.canonicalize().doing("find the results")?;
        let measured = self.measure(budget, &results, note).await?;
        let json = serde_json::to_string(&measured)? + "\n";
        write(&results.join("tune.json"), &json)?;
        let folder = self.charts.as_ref().unwrap_or(&results);
        make(folder)?;
        for (name, chart) in charts::of(&measured) {
            write(&folder.join(format!("{name}.svg")), &chart.file())?;
        }
        let caps = caps::of(&measured).ok_or_else(|| {
            Failure::new("nothing held, not even a few subscribers; see tune.json")
        })?;
        let yaml = caps::yaml(&measured, &caps);
        write(&results.join("tune.yaml"), &yaml)?;
        print(&yaml);
        Ok(true)
    }

    fn budget(&self) -> Result<Budget> {
        let cgroup = || setup::cgroup_memory();
        let memory = self.memory_mib.map(|mib| mib << 20).or_else(cgroup);
        let budget = Budget {
            cpus: self.cpus.or_else(setup::cgroup_cores).unwrap_or(1.0),
            memory_bytes: memory.ok_or_else(|| {
                Failure::new("the cgroup does not bound memory: give --memory-mib")
            })?,
            objective_ms: self.objective_ms,
            rate: self.rate,
            headroom: self.headroom,
        };
        let positive = [budget.cpus, budget.objective_ms, budget.rate];
        if !positive.iter().all(|value| *value > 0.0) || !(0.1..=1.0).contains(&budget.headroom) {
            return Err(Failure::new(
                "--cpus, --objective-ms and --rate must be above 0, --headroom between 0.1 and 1",
            ));
        }
        Ok(budget)
    }

    async fn measure(
        &self,
        budget: Budget,
        results: &std::path::Path,
        note: impl Fn(&str),
    ) -> Result<Measurements> {
        let program = self
            .sidestream
            .canonicalize()
            .doing(format_args!("find {}", self.sidestream.display()))?;
        let batches = batches(&program);
        let options = Options {
            site: Site::Own {
                program,
                cpus: self.server_cpus.clone(),
            },
            seed: 1,
            threads: u32::try_from(setup::cores()).unwrap_or(1),
            scale: 1.0,
        };
        let folder = results.join("tune-files");
        let bench = Bench {
            options: &options,
            hold: self.hold,
            repeats: self.repeats,
            ramp: 20_000,
            folder: &folder,
        };
        let descriptors = proc::connections_max().saturating_sub(SERVER_DESCRIPTORS);
        let most = u32::try_from(descriptors).unwrap_or(u32::MAX);
        let most = self.subscribers_max.unwrap_or(most).min(most);

        let mut rates = self.rates.clone();
        rates.push(budget.rate);
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        let mut load = Vec::new();
        for rate in rates {
            load.extend(search::at_rate(&bench, &budget, rate, most, &note).await?);
        }
        let point = |subscribers, rate| Point {
            subscribers,
            rate,
            heartbeat_seconds: None,
            batch_delay_ms: None,
        };
        let mut heartbeat = Vec::new();
        for seconds in HEARTBEATS {
            note(&format!("a heartbeat each {seconds} s"));
            // One round at least: subscribers that came together are due together.
            let round = Time(std::time::Duration::from_secs_f64(seconds));
            let patient = Bench {
                hold: self.hold.max(round),
                ..bench.clone()
            };
            let trial = patient.run(Point {
                heartbeat_seconds: Some(seconds),
                ..point(most.min(10_000), 0.0)
            });
            heartbeat.push(trial.await?);
        }
        let mut batching = Vec::new();
        for delay in DELAYS.into_iter().filter(|_| batches) {
            note(&format!("a batching delay of {delay} ms"));
            let (subscribers, rate) = BUSY;
            let trial = bench.run(Point {
                batch_delay_ms: Some(delay),
                ..point(subscribers.min(most), rate)
            });
            batching.push(trial.await?);
        }
        let version = process::Command::new(&self.sidestream)
            .arg("--version")
            .output();
        let version = version
            .ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Ok(Measurements {
            setup: Setup {
                server: version,
                ..Setup::of_machine(options.seed, "")
            },
            budget,
            load,
            heartbeat,
            batching,
        })
    }
}

/// Whether the server knows a batching delay.
fn batches(program: &std::path::Path) -> bool {
    let schema = process::Command::new(program).arg("schema").output();
    schema.is_ok_and(|output| memchr::memmem::find(&output.stdout, b"\"batch_delay\"").is_some())
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).doing(format_args!("write {}", path.display()))
}
