//! `sidestream healthcheck`: asks the admin service of a running Sidestream, for probes.

use clap::{Args, ValueEnum};

use super::{
    admin::{Service, Which},
    failure::Failure,
};

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// What to ask.
    #[arg(value_enum, default_value_t = Question::Ready)]
    question: Question,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// Is it alive, or should it be restarted?
    Live,
    /// Should it get traffic?
    Ready,
}

/// The answer when it is well; otherwise what is not, with exit code 1.
pub(super) fn ask(args: &Healthcheck) -> Result<String, Failure> {
    let page = match args.question {
        Question::Live => "/livez",
        Question::Ready => "/readyz",
    };
    let service = Service::find(&args.which)?;
    let said = service.get(page)?;
    if said.status == 200 {
        Ok(said.body)
    } else {
        Err(service.unexpected(page, &said))
    }
}
