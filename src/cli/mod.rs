//! The command line. Exit codes: 0 well, 1 failed at run time, 2 wrong configuration or usage.

mod admin;
mod check;
mod drain;
mod failure;
mod file;
mod healthcheck;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

pub use self::failure::Failure;
use crate::config::{self, Config};

const EXAMPLES: &str = "\
Examples:
  sidestream demo                            see it work, nothing needed
  sidestream demo --upstream http://127.0.0.1:3005
  sidestream check sidestream.yaml           all problems at once, with line and column
  sidestream run --config sidestream.yaml
  sidestream healthcheck ready               for a probe: exit 0 when ready
  sidestream drain                           for a preStop hook: moves all clients away
  sidestream schema > sidestream.schema.json for your editor

Without --config the file is $SIDESTREAM_CONFIG, else /etc/sidestream/sidestream.yaml, else
./sidestream.yaml. SIDESTREAM_LOG takes the place of its log.filter.

Exit codes: 0 well, 1 failed at run time, 2 wrong configuration or usage.";

/// For what is said before the end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// SSE fan-out sidecar: one upstream Server-Sent-Events connection per channel, multiplexed to as
/// many clients as the pod can carry.
#[derive(Debug, Parser)]
#[command(name = "sidestream", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; a second one ends at once.
    Run(ConfigFile),
    /// Serve a page that shows the point, in front of a small app or your own.
    Demo(Demo),
    /// Check configuration files and say everything that is wrong with them.
    Check(check::Check),
    /// Print the configuration in force, with every default filled in.
    PrintConfig(ConfigFile),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Ask a running Sidestream on this machine how it is.
    Healthcheck(healthcheck::Healthcheck),
    /// Have a running Sidestream on this machine move its clients away.
    ///
    /// For a preStop hook. It is not ready from then on, its clients leave along drain.window, and it
    /// goes on passing requests through. The process does not end: the first SIGTERM ends it, within
    /// drain.margin once the window is over. To say it twice does no harm.
    Drain(drain::Drain),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Flags of `sidestream demo`. A port that is taken moves to the next free one.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Demo {
    /// Your own app, instead of the built-in one.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// A path of your app that streams events, such as `/feed/{name}`; may be repeated. Without it
    /// the usual ones are taken: `/{name}/stream`, `/stream`, `/events`, `/sse`.
    #[arg(long = "stream-path", value_name = "PATH", requires = "upstream")]
    pub stream_paths: Vec<String>,
    /// Port of the page over HTTP/1.1.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub http_port: u16,
    /// Port of the page over HTTPS and HTTP/2.
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub https_port: u16,
    /// Port of the page's own counters and buttons.
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    pub control_port: u16,
}

/// What the two long-running commands do; the rest is done here.
pub struct Work {
    /// Serves `config`, which was read from the given file, until told to end.
    pub run: fn(Config, &Path) -> Result<(), Failure>,
    /// Serves the demo.
    pub demo: fn(&Demo) -> Result<(), Failure>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main(work: &Work) -> ExitCode {
    match dispatch(CommandLine::parse().command, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            last_words(failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Complains before the end. Whoever should read it may be what hangs: the end does not wait for long.
fn last_words(text: String) {
    let (speaking, said) = mpsc::sync_channel::<()>(0);
    let speak = move || {
        complain(&text);
        drop(speaking);
    };
    // Without a thread there are no last words; the exit code tells.
    if thread::Builder::new().spawn(speak).is_ok() {
        let _ = said.recv_timeout(LAST_WORDS_MAX);
    }
}

fn dispatch(command: Command, work: &Work) -> Result<(), Failure> {
    match command {
        Command::Run(args) => {
            let (path, config) = file::load(args.config)?;
            (work.run)(config, &path)
        }
        Command::Demo(demo) => (work.demo)(&demo),
        Command::Check(args) => check::check(&args),
        Command::PrintConfig(args) => {
            let (_, config) = file::load(args.config)?;
            say(&config::print(&config));
            Ok(())
        }
        Command::Schema => {
            say(&config::schema());
            Ok(())
        }
        Command::Healthcheck(args) => {
            let text = healthcheck::ask(&args)?;
            say(&text);
            Ok(())
        }
        Command::Drain(args) => {
            let text = drain::drain(&args)?;
            say(&text);
            Ok(())
        }
    }
}

/// To standard output. A reader that left (`| head`) is no failure.
fn say(text: &str) {
    let _ = write_line(io::stdout().lock(), text);
}

/// To standard error.
fn complain(text: &str) {
    let _ = write_line(io::stderr().lock(), text);
}

fn write_line(mut to: impl io::Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    to.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        to.write_all(b"\n")?;
    }
    to.flush()
}

#[cfg(test)]
mod tests;
