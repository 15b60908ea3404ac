//! Runs a scenario as often as asked, and leaves a report.

use std::{fmt::Write, fs, path::Path, process::Command};

use super::{
    conductor::{self, Options},
    file::Scenario,
    record::{FORMAT, Record, Run},
    server,
    setup::Setup,
    stage::Site,
};
use crate::{
    failure::{Doing, Result},
    html,
};

/// Runs it `runs` times; the report goes into `folder`, under the scenario's name.
///
/// # Errors
/// What kept it from being run, or the report from being written.
pub async fn run(
    scenario: &Scenario,
    options: &Options,
    runs: u32,
    folder: &Path,
    mut progress: impl FnMut(&str),
) -> Result<Record> {
    let yaml = serde_yaml::to_string(scenario).doing("write the scenario")?;
    let mut record = Record {
        format: FORMAT,
        pass: false,
        scenario: scenario.clone(),
        setup: Setup {
            server: version(&options.site),
            ..Setup::of_machine(options.seed, &(yaml + server::BASE))
        },
        runs: Vec::new(),
    };
    let work = folder.join(format!("{}-files", scenario.name));
    for number in 1..=runs {
        if runs > 1 {
            progress(&format!("run {number} of {runs}"));
        }
        let run = conductor::run(scenario, options, &work, &mut progress).await?;
        record.runs.push(run);
    }
    record.pass = record.runs.iter().all(Run::is_pass);
    let write = |extension: &str, text: String| {
        let path = folder.join(format!("{}.{extension}", scenario.name));
        fs::write(&path, text).doing(format_args!("write {}", path.display()))
    };
    write("json", serde_json::to_string(&record)? + "\n")?;
    write("html", html::page(&record))?;
    Ok(record)
}

/// What the server under test says of itself.
fn version(site: &Site) -> Option<String> {
    let Site::Own { program, .. } = site else {
        return None;
    };
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// The verdict for a terminal: every threshold, then what warns.
#[must_use]
pub fn summary(record: &Record) -> String {
    let mut out = String::new();
    for (number, run) in (1..).zip(&record.runs) {
        if record.runs.len() > 1 {
            let _ = writeln!(out, "run {number}");
        }
        for check in &run.checks {
            let verdict = if check.pass { "PASS" } else { "FAIL" };
            let found = check.found.map_or("none".to_owned(), html::plot::short);
            let _ = writeln!(out, "{verdict}  {:<44} {found}", check.threshold);
        }
        for warning in &run.warnings {
            let _ = writeln!(out, "WARNING: {warning}");
        }
    }
    out
}
