//! Log lines: JSON for machines, text for people, one filter for both.
//!
//! What a client sent stands in fields, never in the message, and goes through [`Clip`]; what a
//! client can cause over and over goes through [`Seldom`].

mod clip;
mod seldom;

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter, format::FmtSpan},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use self::{clip::Clip, seldom::Seldom};
use crate::config::model::{Log, LogFormat};

/// Environment variable that takes the place of `log.filter`.
pub const FILTER_VARIABLE: &str = "SIDESTREAM_LOG";

/// Directives for the crates below us; the operator's own come after them and win.
///
/// | directive | why |
/// |---|---|
/// | `pingora_core=error` | warns of each client that breaks off or sends a wrong header, value included; we count those |
/// | `pingora_proxy=off` | one error line for each request that the app does not answer; we count those by status |
/// | `h2=error`, `rustls=error` | at `debug` a line for each frame and record, which drowns ours |
/// | `tokio=warn`, `mio=warn` | the same at `trace` |
const BELOW_US: &str =
    "pingora_core=error,pingora_proxy=off,h2=error,rustls=error,tokio=warn,mio=warn";

/// Sends log lines of this process, and those of crates that use the `log` crate, to standard error.
///
/// # Errors
/// A filter in the environment that cannot be understood, or a second call.
pub fn init(log: &Log) -> Result<(), String> {
    let filter = std::env::var(FILTER_VARIABLE)
        .ok()
        .filter(|filter| !filter.is_empty());
    let directives = match &filter {
        Some(filter) => {
            check_filter(filter).map_err(|problem| format!("{FILTER_VARIABLE}: {problem}"))?;
            filter
        }
        None => &log.filter,
    };
    let terminal = stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let form = match (json, terminal) {
        (true, _) => Form::Json,
        (false, true) => Form::Colours,
        (false, false) => Form::Plain,
    };
    // Sets the bridge for the `log` crate as well.
    subscriber(directives, form, stderr)?
        .try_init()
        .map_err(|error| format!("logging cannot start: {error}"))
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether a filter means what its writer probably meant.
///
/// # Errors
/// What is wrong, and after `; ` what to do.
pub fn check_filter(directives: &str) -> Result<(), String> {
    // A single word that is no level names a module, and would silence all others.
    let is_level = LEVELS
        .iter()
        .any(|level| directives.eq_ignore_ascii_case(level));
    let is_word = !directives.contains(['=', ',', ':', '[']);
    let why = match EnvFilter::builder().parse(directives) {
        Err(error) => error.to_string(),
        Ok(_) if is_word && !is_level => "it is not a level".to_owned(),
        Ok(_) => return Ok(()),
    };
    Err(format!(
        "`{}` is not a log filter: {why}; write a level ({}), or directives as in \
         `info,sidestream=debug`",
        directives.escape_debug(),
        LEVELS.join(", ")
    ))
}

/// How lines look.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Plain,
    Colours,
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(format!("{BELOW_US},{directives}"))
        .map_err(|error| error.to_string())
}

fn subscriber<W>(
    directives: &str,
    form: Form,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer::<Registry>()
        .with_writer(writer)
        .with_span_events(FmtSpan::NONE);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match form {
        Form::Json => Box::new(lines.json().flatten_event(true)),
        Form::Plain => Box::new(lines.with_ansi(false)),
        Form::Colours => Box::new(lines.with_ansi(true)),
    };
    Ok(Registry::default().with(lines.with_filter(filter(directives)?)))
}

#[cfg(test)]
mod tests;
