//! The request's body on its way to the app, and the watch for the client's leaving.

use std::future::{pending, poll_fn};

use bytes::Bytes;
use pingora::{Error, ErrorType, Result, protocols::http::ServerSession};

use crate::{config::model::Limits, passthrough::pace::Wait, upstream::exchange::Uplink};

/// A body that goes up piece by piece: the next one is read from the client when the app has taken
/// the one before.
#[derive(Debug)]
pub(super) struct Upload {
    uplink: Uplink,
    stage: Stage,
    /// Some of it was read from the client.
    is_begun: bool,
    /// How slowly the client may send. Over HTTP/1 the turnstile sees to that, where the bytes pass.
    wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More may come from the client.
    Reading,
    /// All of it was read.
    Whole,
    /// The app takes no more. It may answer all the same.
    Refused,
}

/// On whom an upload waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// The app is to take a piece.
    Room,
    /// The client is to send more.
    Client,
    /// Nobody: what is missing is the answer.
    Answer,
}

impl Upload {
    pub(super) fn new(uplink: Uplink, session: &mut ServerSession, limits: &Limits) -> Self {
        let stage = if session.is_body_done() {
            Stage::Whole
        } else {
            Stage::Reading
        };
        Self {
            uplink,
            stage,
            is_begun: false,
            wait: session.is_http2().then(|| Wait::new(limits)),
        }
    }

    /// Some of the body, or its end, was read from the client, so that it cannot be sent once more.
    pub(super) const fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// On whom it waits now.
    pub(super) const fn waits_for(&self) -> WaitsFor {
        match self.stage {
            Stage::Refused => WaitsFor::Answer,
            Stage::Reading | Stage::Whole if !self.uplink.is_idle() => WaitsFor::Room,
            Stage::Reading => WaitsFor::Client,
            Stage::Whole => WaitsFor::Answer,
        }
    }

    /// Moves the body until the client is gone, and says how it went. Cancel safe.
    pub(super) async fn run(&mut self, session: &mut ServerSession) -> Box<Error> {
        loop {
            if let Err(gone) = self.step(session).await {
                return gone;
            }
        }
    }

    /// Moves the body a little. Cancel safe.
    ///
    /// # Errors
    /// The client is gone, or what it sends is no body.
    pub(super) async fn step(&mut self, session: &mut ServerSession) -> Result<()> {
        match self.waits_for() {
            WaitsFor::Room => tokio::select! {
                sent = self.uplink.sent() => {
                    if sent.is_err() {
                        self.stage = Stage::Refused;
                    }
                    Ok(())
                }
                gone = left(session, Body::UnderWay) => Err(gone),
            },
            WaitsFor::Client => {
                let data = self.read(session).await.map_err(Error::into_down)?;
                self.is_begun = true;
                let is_last = data.is_none() || session.is_body_done();
                if is_last {
                    self.stage = Stage::Whole;
                }
                self.uplink.put(data.unwrap_or_default(), is_last);
                Ok(())
            }
            WaitsFor::Answer => {
                let body = match self.stage {
                    Stage::Whole => Body::Whole,
                    Stage::Reading | Stage::Refused => Body::UnderWay,
                };
                Err(left(session, body).await)
            }
        }
    }

    /// The next piece from the client; `None`: there is none.
    async fn read(&mut self, session: &mut ServerSession) -> Result<Option<Bytes>> {
        let Some(wait) = &mut self.wait else {
            return session.read_body_or_idle(false).await;
        };
        let data = tokio::select! {
            biased;
            data = session.read_body_or_idle(false) => data?,
            () = poll_fn(|cx| wait.poll_too_slow(cx)) => return Error::err(ErrorType::ReadTimedout),
        };
        wait.received(data.as_ref().map_or(0, Bytes::len));
        Ok(data)
    }
}

/// How much of a request's body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Not all of it, and what follows is not to be read now.
    UnderWay,
    /// All of it.
    Whole,
}

/// Waits until the client is gone. While a body is under way over HTTP/1, its end is not to be seen
/// before the rest of the body.
pub(super) async fn left(session: &mut ServerSession, body: Body) -> Box<Error> {
    let gone = match (body, session.watch_h2_stream_close()) {
        (_, Some(closed)) => closed.await.err(),
        (Body::Whole, None) => session.read_body_or_idle(true).await.err(),
        (Body::UnderWay, None) => pending().await,
    };
    gone.unwrap_or_else(|| Error::new(ErrorType::ConnectionClosed))
        .into_down()
}
