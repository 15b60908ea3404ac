//! Reads the file, within bounds, and loads it.

use std::{fs::File, io::Read as _, path::Path};

use super::{Env, FILE_BYTES_MAX, load, model::Config, report::Report, too_large};

/// What reading a file gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Its bytes; one more than are allowed when there are too many.
    Bytes(Vec<u8>),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load_file(path: &Path, env: &Env<'_>) -> Result<Config, Report> {
    load_content(path, &read(path), env)
}

/// Checks what was read from `path`.
pub(super) fn load_content(
    path: &Path,
    content: &Content,
    env: &Env<'_>,
) -> Result<Config, Report> {
    let name = path.display().to_string();
    let bytes = match content {
        Content::Bytes(bytes) => bytes,
        Content::Unreadable(why) => {
            let message = format!("the file cannot be read: {why}");
            let hint = "check its path and permissions";
            return Err(Report::whole_file(&name, &message, hint));
        }
    };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large(&name));
    }
    let source = std::str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to() + 1;
        let message = format!("the file is not UTF-8: see byte {place}");
        Report::whole_file(&name, &message, "save it as UTF-8")
    })?;
    load(source, &name, env)
}

/// Reads a file, whatever kind it is.
pub(super) fn read(path: &Path) -> Content {
    let bound = u64::try_from(FILE_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let bounded = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(bound).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    bounded().map_or_else(
        |error| Content::Unreadable(error.to_string()),
        Content::Bytes,
    )
}
