//! YAML to a checked [`Config`](model::Config). [`load`] is pure; reading is the business of `file`.
//!
//! text -> `tree` (variables filled in) -> `raw` (form) -> `check` (sense) -> `model`. A `document`
//! gathers what is wrong on the way, and a `report` shows all of it at once.

mod check;
mod decode;
mod decode_error;
mod defaults;
mod document;
mod env;
pub mod event_cost;
mod file;
mod locate;
pub mod model;
pub mod mount;
mod print;
pub mod raw;
mod redact;
pub mod reload;
pub mod report;
mod schema;
mod suggest;
#[cfg(test)]
pub mod testing;
mod tree;
pub mod units;
pub mod watch;

use serde::Deserialize as _;

pub use self::{
    defaults::ADMIN_ADDRESS, env::Env, file::load_file, model::Config, print::print,
    report::Report, schema::schema,
};
use self::{document::Document, tree::Node};

/// Largest file that is read.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Parses and checks a configuration. `file_name` is for the report only; `env` looks up variables.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(source: &str, file_name: &str, env: &Env<'_>) -> Result<Config, Report> {
    if source.len() > FILE_BYTES_MAX {
        return Err(too_large(file_name));
    }
    if brackets_are_too_deep(source) {
        return Err(Report::whole_file(
            file_name,
            "brackets are nested too deeply, or not closed",
            "close every `[` and `{`",
        ));
    }
    let root = Node::deserialize(serde_yaml::Deserializer::from_str(source))
        .map_err(|error| Report::syntax(file_name, source, &error))?;
    if root == Node::Null {
        return Err(Report::whole_file(
            file_name,
            "the file is empty",
            "start with `version: 1`, `listeners`, `upstreams` and `routes`",
        ));
    }
    let document = Document::new(root, env);
    let config =
        decode::decode::<raw::File>(&document).and_then(|file| check::check(&file, &document));
    let (root, findings, truncated) = document.into_findings();
    match config {
        Some(config) if findings.is_empty() => Ok(config),
        _ => Err(Report::new(file_name, source, &root, findings, truncated)),
    }
}

fn too_large(file_name: &str) -> Report {
    Report::whole_file(
        file_name,
        "the file is larger than 1 MiB",
        "remove what is not configuration, or split the routes over several sidecars",
    )
}

/// The YAML scanner takes time that grows with the square of the open brackets, quoted ones aside.
/// No configuration comes near this bound.
fn brackets_are_too_deep(source: &str) -> bool {
    const DEPTH_MAX: usize = 1_000;
    let mut depth: usize = 0;
    source.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

#[cfg(test)]
mod report_tests;
#[cfg(test)]
mod tests;
