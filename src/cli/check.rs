//! `sidestream check`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{complain, failure::Failure, file, say};
use crate::config::{Config, Report};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Configuration files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to tell.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// A JSON array with one object for each file.
    Json,
}

/// Checks all files, whatever is wrong with the first ones.
pub(super) fn check(args: &Check) -> Result<(), Failure> {
    let results: Vec<(&Path, Result<Config, Report>)> = args
        .files
        .iter()
        .map(|path| (path.as_path(), file::read(path)))
        .collect();
    match args.output {
        Output::Text => results.iter().for_each(|(path, result)| tell(path, result)),
        Output::Json => {
            let all: Vec<Value> = results
                .iter()
                .map(|(path, result)| to_json(path, result))
                .collect();
            say(&format!("{:#}", Value::from(all)));
        }
    }
    if results.iter().all(|(_, result)| result.is_ok()) {
        Ok(())
    } else {
        Err(Failure::usage(String::new()))
    }
}

fn tell(path: &Path, result: &Result<Config, Report>) {
    match result {
        Ok(config) => say(&format!(
            "{}: well, with {}, {} and {}",
            path.display(),
            counted(config.listeners.len(), "listener"),
            counted(config.upstreams.len(), "upstream"),
            counted(config.routes.len(), "route"),
        )),
        Err(report) => complain(&report.to_string()),
    }
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn to_json(path: &Path, result: &Result<Config, Report>) -> Value {
    match result {
        Ok(_) => json!({ "file": path.display().to_string(), "valid": true, "problems": [] }),
        Err(report) => {
            let mut value = serde_json::to_value(report).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.insert("valid".to_owned(), false.into());
            }
            value
        }
    }
}
