//! Lean SSE load client; see the library for how it is built.

use std::{path::Path, process::ExitCode};

use clap::Parser;
use loadtest::{
    app::App,
    bench,
    cli::{Cli, Command},
    crew,
    failure::{Doing, Result},
    fanout,
    floor::Floor,
    memory,
    ratios::Ratios,
    scenario::process::unless_stopped,
};

/// Exit code for a test that could not be run; 1 is a test that ran and failed.
const NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime
        .doing("start a runtime")
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            note(&format!("loadtest: {failure}"));
            ExitCode::from(NOT_RUN)
        }
    }
}

/// Runs a command; false when what it tests is not as it should be.
async fn run(command: Command) -> Result<bool> {
    match command {
        Command::Fanout(args) => {
            let quiet = args.quiet;
            let progress = |line: &str| {
                if !quiet {
                    note(line)
                }
            };
            let report = fanout::run(&args.options()?, progress).await?;
            print(&report.to_string());
            save(args.json.as_deref(), &report.to_json())?;
            Ok(report.is_pass())
        }
        Command::Memory(args) => {
            let slope = memory::run(&args.options()?).await?;
            print(&slope.to_string());
            save(args.json.as_deref(), &slope.to_json())?;
            Ok(args
                .bytes_max
                .is_none_or(|max| slope.bytes_per_subscriber() <= max))
        }
        Command::Bench(args) => {
            let outcome = bench::run(&args.options()?)?;
            print(&outcome.to_string());
            save(args.json.as_deref(), &outcome.to_json())?;
            Ok(outcome.faults().is_empty())
        }
        Command::Ratios(args) => {
            let ratios = Ratios::read(&args.results, &args.shapes)?;
            print(&ratios.to_string());
            save(args.json.as_deref(), &serde_json::to_value(&ratios)?)?;
            if let Some(path) = &args.markdown {
                let what = format!("write {}", path.display());
                std::fs::write(path, ratios.to_string()).doing(what)?;
            }
            Ok(ratios.is_pass())
        }
        Command::Floor(options) => {
            let floor = Floor::new(options)?;
            print(&format!("listening on http://{}", floor.address));
            floor.serve().map(|()| true)
        }
        Command::Scenario(args) => unless_stopped(Box::pin(args.run(note, print))).await,
        Command::Compare(args) => args.run(print),
        Command::Tune(args) => unless_stopped(Box::pin(args.run(note, print))).await,
        Command::App(args) => {
            let app = App::start(args.options()?).await?;
            app.go_on(args.after);
            print(&format!("listening on http://{}", app.address));
            tokio::select! {
                served = app.serve() => served?,
                _ = tokio::signal::ctrl_c() => {}
            }
            Ok(true)
        }
        Command::Worker => crew::work().await.map(|()| true),
    }
}

fn save(path: Option<&Path>, json: &serde_json::Value) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(json)? + "\n";
    std::fs::write(path, text).doing(format_args!("write {}", path.display()))
}

#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
fn print(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "progress and errors of a command-line program"
)]
fn note(text: &str) {
    eprintln!("{text}");
}
