//! Finds and loads the configuration file.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::config::{self, Config, Report};

/// Environment variable that names the file.
const VARIABLE: &str = "SIDESTREAM_CONFIG";

/// Looked for in this order when nothing names a file.
const PLACES: [&str; 2] = ["/etc/sidestream/sidestream.yaml", "sidestream.yaml"];

/// Loads the file that is named or found.
pub(super) fn load(named: Option<PathBuf>) -> Result<(PathBuf, Config), Failure> {
    let path = find(named)?;
    let config = read(&path).map_err(|report| Failure::usage(report.to_string()))?;
    Ok((path, config))
}

/// The file to use.
pub(super) fn find(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    choose(named, from_environment(), |path| path.exists())
}

/// Where the file of a process may be, or may have been when it started.
pub(super) fn candidates(named: Option<PathBuf>) -> Vec<PathBuf> {
    match named.or_else(from_environment) {
        Some(path) => vec![path],
        None => PLACES.map(PathBuf::from).to_vec(),
    }
}

fn from_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

pub(super) fn choose(
    named: Option<PathBuf>,
    from_environment: Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Failure> {
    let found = || {
        PLACES
            .into_iter()
            .map(PathBuf::from)
            .find(|path| exists(path))
    };
    named.or(from_environment).or_else(found).ok_or_else(|| {
        Failure::usage(format!(
            "no configuration: there is neither {}. Name one with --config FILE or {VARIABLE}",
            PLACES.join(" nor ")
        ))
    })
}

/// Reads and checks one file, with the variables of this process.
pub(super) fn read(path: &Path) -> Result<Config, Report> {
    config::load_file(path, &|variable| std::env::var(variable).ok())
}
