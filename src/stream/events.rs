//! An event stream on its way to the client: each byte as it comes, a comment when none does.
//!
//! One task reads from the app and writes to the client, so a client that is slow makes the app
//! wait; nothing is queued.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pingora::{Error, ErrorType, http::ResponseHeader, protocols::http::ServerSession};
use tokio::time::sleep;

use super::{
    boundary::{Boundary, HEARTBEAT},
    end,
    leave::Leave,
    upload::Upload,
};
use crate::{
    clock::{self, Millis},
    config::model::Stream,
    decide::Reader,
    egress::opening::{parting_line, within},
    error::EndReason,
    metrics::{
        Metrics, RouteMetrics,
        cell::Held,
        labels::{CutReason, Label as _, Protocol},
    },
    upstream::exchange::{Body, Cut, CutKind, Part},
};

/// Bytes written at once. The client's time to take something counts anew for each piece.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// One event stream.
pub(super) struct Events {
    settings: Stream,
    reader: Reader,
    boundary: Boundary,
    leave: Leave,
    /// When to write a heartbeat, unless something else is written before.
    beat: Millis,
    /// The app's last byte.
    heard: Millis,
    metrics: Arc<Metrics>,
    counted: Counted,
}

/// Why the client does not get more.
struct Over {
    reason: EndReason,
    /// `None`: it has the answer whole.
    error: Option<Box<Error>>,
}

/// What came next.
enum Step {
    Data(Bytes),
    End,
    Cut(Cut),
    Beat,
    Silent,
    Leave,
    Left(Box<Error>),
}

impl Events {
    /// A stream whose head is about to be written.
    pub(super) fn new(
        settings: Stream,
        reader: Reader,
        leave: Leave,
        metrics: Arc<Metrics>,
        counted: Counted,
    ) -> Self {
        let now = clock::now();
        Self {
            beat: now.after(spread(settings.heartbeat, rand::random())),
            settings,
            reader,
            boundary: Boundary::new(),
            leave,
            heard: now,
            metrics,
            counted,
        }
    }

    /// Writes the head, and passes the body on until it ends.
    ///
    /// # Errors
    /// The client did not get all of it: either it is gone, or it must see that the answer broke off.
    pub(super) async fn run(
        mut self,
        session: &mut ServerSession,
        head: Box<ResponseHeader>,
        upload: &mut Upload,
        body: &mut Body,
    ) -> pingora::Result<()> {
        session.set_write_timeout(Some(self.settings.stall_max));
        let over = match session.write_response_header(head).await {
            Ok(()) => self.relay(session, upload, body).await,
            Err(error) => not_taken(error),
        };
        self.counted.reason = over.reason;
        over.error.map_or(Ok(()), Err)
    }

    async fn relay(
        &mut self,
        session: &mut ServerSession,
        upload: &mut Upload,
        body: &mut Body,
    ) -> Over {
        loop {
            let step = self.next(session, upload, body).await;
            if let Err(over) = self.take(step, session).await {
                return over;
            }
        }
    }

    async fn next(
        &mut self,
        session: &mut ServerSession,
        upload: &mut Upload,
        body: &mut Body,
    ) -> Step {
        let now = clock::now();
        let silence_max = self.settings.silence_max;
        let silent = silence_max.map(|max| self.heard.after(max).since(now));
        tokio::select! {
            // What the app has said while the client took its time comes before its silence; a
            // moment to leave comes before more of an app that never pauses.
            biased;
            left = upload.run(session) => Step::Left(left),
            () = self.leave.wait(), if self.leave.due().is_none() => Step::Leave,
            part = body.read() => match part {
                Ok(Part::Data(data)) => Step::Data(Bytes::copy_from_slice(data)),
                Ok(Part::End) => Step::End,
                Err(cut) => Step::Cut(cut),
            },
            () = sleep(self.beat.since(now)), if self.boundary.is_line_start() => Step::Beat,
            () = sleep(silent.unwrap_or_default()), if silent.is_some() => Step::Silent,
        }
    }

    async fn take(&mut self, step: Step, session: &mut ServerSession) -> Result<(), Over> {
        match step {
            Step::Data(data) => {
                self.heard = clock::now();
                let data = self.boundary.pass(data);
                self.write(session, data).await?;
            }
            Step::Beat => {
                self.boundary.interject();
                self.write(session, Bytes::from_static(HEARTBEAT)).await?;
                self.metrics.heartbeats.inc();
            }
            Step::End => return Err(self.end(session, EndReason::UpstreamEnded).await),
            Step::Cut(cut) => return Err(self.cut(cut_reason(&cut), cut.to_string())),
            Step::Silent => {
                let text = "silent for longer than its watchdog allows";
                return Err(self.cut(CutReason::Silence, text.to_owned()));
            }
            Step::Left(error) => {
                return Err(Over {
                    reason: EndReason::ClientLeft,
                    error: Some(error),
                });
            }
            Step::Leave => {}
        }
        match self.leave.due() {
            Some(reason) if self.boundary.is_event_end() => Err(self.part(session, reason).await),
            Some(_) | None => Ok(()),
        }
    }

    /// Writes, for as long as the client takes something now and then.
    async fn write(&mut self, session: &mut ServerSession, mut bytes: Bytes) -> Result<(), Over> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
            let length = piece.len() as u64;
            session
                .write_response_body(piece, false)
                .await
                .map_err(not_taken)?;
            self.metrics.bytes_delivered.add(length);
        }
        let interval = spread(self.settings.heartbeat, rand::random());
        self.beat = clock::now().after(interval);
        Ok(())
    }

    /// The app broke off: the client must not take what it has for the whole answer.
    fn cut(&self, reason: CutReason, text: String) -> Over {
        self.counted.route.upstream_cuts.inc(reason);
        let kind = match reason {
            CutReason::Silence => ErrorType::ReadTimedout,
            CutReason::Reset | CutReason::Truncated | CutReason::Closed | CutReason::Internal => {
                ErrorType::ConnectionClosed
            }
        };
        Over {
            reason: EndReason::UpstreamCut,
            error: Some(Error::explain(kind, text).into_up()),
        }
    }

    /// We leave. A native EventSource comes back after a whole answer as after a cut one, and is
    /// told when; others would take a whole one for the end of what they asked for.
    async fn part(&mut self, session: &mut ServerSession, reason: EndReason) -> Over {
        if self.reader == Reader::EventSource && !self.leave.is_answer() {
            let retry = within(self.settings.retry, rand::random());
            let last = Bytes::from(parting_line(retry));
            return match self.write(session, last).await {
                Ok(()) => self.end(session, reason).await,
                Err(over) => over,
            };
        }
        Over {
            reason,
            error: Some(Error::explain(ErrorType::InternalError, reason.as_label())),
        }
    }

    /// Ends the answer: it is whole.
    async fn end(&self, session: &mut ServerSession, reason: EndReason) -> Over {
        match end::complete(session, self.settings.stall_max).await {
            Ok(()) => Over {
                reason,
                error: None,
            },
            Err(error) => not_taken(error),
        }
    }
}

fn not_taken(error: Box<Error>) -> Over {
    let reason = if *error.etype() == ErrorType::WriteTimedout {
        EndReason::Slow
    } else {
        EndReason::WriteError
    };
    Over {
        reason,
        error: Some(error.into_down()),
    }
}

const fn cut_reason(cut: &Cut) -> CutReason {
    match cut.kind {
        CutKind::Connection => CutReason::Reset,
        CutKind::Truncated | CutKind::Framing => CutReason::Truncated,
    }
}

/// `interval` +-10 %, so that streams which began together do not beat together. `random` is uniform
/// in 0..1.
fn spread(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

/// Counts one stream: begun when made, ended when dropped, for the reason that it then holds.
pub(super) struct Counted {
    route: Arc<RouteMetrics>,
    reason: EndReason,
    _level: Held,
}

impl Counted {
    pub(super) fn new(route: Arc<RouteMetrics>, protocol: Protocol) -> Self {
        route.subscribers_started.inc(protocol);
        Self {
            _level: route.subscribers.hold(protocol),
            route,
            // Nobody changes it when the process cuts what is left.
            reason: EndReason::Drained,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            EndReason::Internal
        } else {
            self.reason
        };
        self.route.subscribers_ended.inc(reason);
    }
}
