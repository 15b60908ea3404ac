//! The command line of `loadtest scenario`.

use std::path::PathBuf;

use clap::Args;

use super::{
    conductor::Options,
    file::Scenario,
    runner, setup,
    stage::{Foreign, Site},
    units::Time,
};
use crate::{
    failure::{Doing, Failure, Result},
    target::{Header, Target},
};

/// `scenario`.
#[derive(Debug, Args)]
pub struct Command {
    /// The scenario, a YAML file.
    pub file: PathBuf,
    /// So many times the subscribers, channels and connects per second of the file.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Measure for this long instead of what the file says.
    #[arg(long)]
    pub hold: Option<Time>,
    /// Run it so often.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Folder for report, configuration and logs.
    #[arg(long, default_value = "target/loadtest")]
    pub results: PathBuf,
    /// Random times follow from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Client threads of each group of subscribers [default: the CPUs].
    #[arg(long)]
    pub threads: Option<u32>,
    /// What it is run against.
    #[command(flatten)]
    pub server: Server,
    /// No progress lines.
    #[arg(long, short)]
    pub quiet: bool,
}

/// What a scenario is run against: a Sidestream that it starts, or any URL.
#[derive(Debug, Args)]
pub struct Server {
    /// The sidestream to start.
    #[arg(long, conflicts_with = "url")]
    pub sidestream: Option<PathBuf>,
    /// CPUs to keep it on, as `taskset -c` takes them; keep the load on others by `taskset` too.
    #[arg(long, conflicts_with = "url")]
    pub server_cpus: Option<String>,
    /// Instead: a server that is there already.
    #[arg(long)]
    pub url: Option<Target>,
    /// Its URL for subscribers over TLS.
    #[arg(long, requires = "url")]
    pub tls_url: Option<Target>,
    /// Request header, `name: value`; may be given several times.
    #[arg(long = "header", requires = "url")]
    pub headers: Vec<Header>,
    /// `/stats` of the `loadtest app` behind it; without it nothing is known of the first and last
    /// events.
    #[arg(long, requires = "url")]
    pub stats: Option<Target>,
    /// Its process, if it runs on this machine.
    #[arg(long, requires = "url")]
    pub server_pid: Option<u32>,
    /// Its metrics.
    #[arg(long, requires = "url")]
    pub metrics: Option<Target>,
}

impl Server {
    /// What to run against.
    ///
    /// # Errors
    /// When nothing is named.
    pub fn site(&self) -> Result<Site> {
        if let Some(url) = &self.url {
            return Ok(Site::Foreign(Box::new(Foreign {
                url: url.clone(),
                tls_url: self.tls_url.clone(),
                headers: self.headers.clone(),
                stats: self.stats.clone(),
                pid: self.server_pid,
                metrics: self.metrics.clone(),
            })));
        }
        let program = self.sidestream.as_ref().ok_or_else(|| {
            Failure::new(
                "against what? Give --sidestream PATH (loadtest/run.sh builds one) or --url",
            )
        })?;
        let program = program
            .canonicalize()
            .doing(format_args!("find {}", program.display()))?;
        Ok(Site::Own {
            program,
            cpus: self.server_cpus.clone(),
        })
    }
}

impl Command {
    /// Runs it; true when every threshold holds.
    ///
    /// # Errors
    /// What kept it from being run.
    pub async fn run(&self, note: impl Fn(&str), print: impl Fn(&str)) -> Result<bool> {
        let mut scenario = Scenario::load(&self.file)?;
        if !(0.0001..=1_000.0).contains(&self.scale) {
            return Err(Failure::new("--scale must be between 0.0001 and 1000"));
        }
        if let Some(hold) = self.hold {
            scenario = scenario.held(hold)?;
        }
        let scenario = scenario.scaled(self.scale);
        let threads = u32::try_from(setup::cores()).unwrap_or(1);
        let options = Options {
            site: self.server.site()?,
            seed: self.seed,
            threads: self.threads.unwrap_or(threads),
            scale: self.scale,
        };
        let what = format_args!("make {}", self.results.display());
        std::fs::create_dir_all(&self.results).doing(what)?;
        let results = self
            .results
            .canonicalize()
            .doing(format_args!("find {}", self.results.display()))?;
        let progress = |line: &str| {
            if !self.quiet {
                note(line);
            }
        };
        let record = runner::run(&scenario, &options, self.runs, &results, progress).await?;
        print(&runner::summary(&record));
        let page = results.join(format!("{}.html", scenario.name));
        print(&format!("report: {}", page.display()));
        Ok(record.pass)
    }
}
