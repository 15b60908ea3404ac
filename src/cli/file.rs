//! Finds, reads and loads the configuration file.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::config::{self, Config, Report};

/// Environment variable that names the file.
const VARIABLE: &str = "SIDESTREAM_CONFIG";

/// Looked for in this order when nothing names a file.
const PLACES: [&str; 2] = ["/etc/sidestream/sidestream.yaml", "sidestream.yaml"];

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Exit code.
    pub(super) code: u8,
    /// For the user; empty when all is said.
    pub(super) text: String,
}

impl Failure {
    pub(super) const fn runtime(text: String) -> Self {
        Self { code: 1, text }
    }

    pub(super) const fn config(text: String) -> Self {
        Self { code: 2, text }
    }
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It cannot be read at all.
    Unreadable(String),
    /// Its content.
    Content(Report),
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Unreadable(text) => Self::config(text),
            Wrong::Content(report) => Self::config(report.to_string()),
        }
    }
}

/// Loads the file that is named or found.
pub(super) fn load(named: Option<PathBuf>) -> Result<(PathBuf, Config), Failure> {
    let path = find(named)?;
    let config = read(&path)?;
    Ok((path, config))
}

/// The file to use.
pub(super) fn find(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let from_environment = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    choose(named, from_environment().map(PathBuf::from), |path| {
        path.exists()
    })
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
        Failure::config(format!(
            "no configuration: there is neither {}. Name one with --config FILE or {VARIABLE}",
            PLACES.join(" nor ")
        ))
    })
}

/// Reads and loads one file.
pub(super) fn read(path: &Path) -> Result<Config, Wrong> {
    let name = path.display().to_string();
    let source = text(path).map_err(|error| Wrong::Unreadable(format!("{name}: {error}")))?;
    config::load(&source, &name, &|variable| std::env::var(variable).ok()).map_err(Wrong::Content)
}

/// One byte more than is allowed, so that `load` sees and says that it is too much.
fn text(path: &Path) -> std::io::Result<String> {
    let bytes_max = u64::try_from(config::FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("the file is not UTF-8"))
}
