//! `sidestream drain`: has a running Sidestream move its clients away, for a preStop hook.

use std::{thread, time::Duration};

use clap::Args;

use super::{
    admin::{Said, Service, Which},
    failure::Failure,
};
use crate::lifecycle::Phase;

/// Between two questions whether it is done.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Return when the clients are gone, and not at once. What is left after drain.window and
    /// drain.margin is cut, so this does not take longer.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    which: Which,
}

/// Begins to drain; says how far it is.
pub(super) fn drain(args: &Drain) -> Result<String, Failure> {
    let service = Service::find(&args.which)?;
    let said = service.command("drain")?;
    if said.status != 202 {
        return Err(service.unexpected("/drain", &said));
    }
    if args.wait {
        wait(&service)
    } else {
        Ok(said.body)
    }
}

fn wait(service: &Service) -> Result<String, Failure> {
    loop {
        let said = match service.get("/readyz") {
            Ok(said) => said,
            // On a signal, or otherwise: nobody is left to be moved.
            Err(_) if service.is_gone() => return Ok("{\"phase\":\"ended\"}".to_owned()),
            Err(failure) => return Err(failure),
        };
        match reason(&said).as_deref() {
            Some(phase) if phase == Phase::Draining.as_str() => pause(),
            Some(phase) => return Ok(format!("{{\"phase\":\"{phase}\"}}")),
            None => return Err(service.unexpected("/readyz", &said)),
        }
    }
}

/// Why it is not ready.
fn reason(said: &Said) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&said.body).ok()?;
    body.get("reasons")?.get(0)?.as_str().map(str::to_owned)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a process of its own, which has nothing else to do"
)]
fn pause() {
    thread::sleep(LOOK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_read_from_the_page() {
        for (body, expected) in [
            (
                r#"{"ready":false,"reasons":["draining"]}"#,
                Some("draining"),
            ),
            (r#"{"ready":true,"reasons":[]}"#, None),
            ("rubbish", None),
        ] {
            let (status, body) = (503, body.to_owned());
            assert_eq!(reason(&Said { status, body }).as_deref(), expected);
        }
    }
}
