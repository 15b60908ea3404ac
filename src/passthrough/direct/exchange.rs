//! One request by the direct way: the app is asked, and its answer passed on.

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Buf as _, BytesMut};
use http::{Method, StatusCode};
use pingora::{
    BError, Error, ErrorSource, ErrorType, OrErr, Result,
    protocols::{Stream, http::date::get_cached_date},
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{error::Elapsed, timeout},
};

use super::{
    Direct,
    answer::{self, Begun, Ends, Then, Unusable},
    asked::Asked,
};
use crate::{
    clock,
    config::model::Upstream,
    passthrough::{
        ATTEMPTS_MAX,
        framing::{BadFraming, Meter},
        turnstile::Turnstile,
    },
    upstream::peer::Purpose,
};

/// Read from an app at once: heads with small bodies, and bodies.
const HEAD_READ_BYTES: usize = 4 * 1024;
const BODY_READ_BYTES: usize = 32 * 1024;

/// Heads of status 1xx that may come before the real one.
const INFORMATIONAL_HEADS_MAX: usize = 16;

/// A request, between its client and the app.
pub(super) struct Exchange<'a> {
    direct: &'a Direct,
    client: &'a mut Turnstile,
    upstream: &'a Upstream,
    method: Method,
    /// It is the client's last one.
    is_last: bool,
    /// How long a client may take to accept what is written.
    patience: Duration,
    /// Something was written to the client.
    is_said: bool,
    /// The status that the client was told.
    pub(super) begun: Option<StatusCode>,
}

/// An attempt that failed.
struct Failed {
    error: BError,
    /// On a connection that was kept for long it may have been over before the app saw the request.
    may_be_stale: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        direct: &'a Direct,
        client: &'a mut Turnstile,
        upstream: &'a Upstream,
        asked: &Asked,
    ) -> Self {
        Self {
            patience: direct.hub.config.load().limits.client_timeout,
            direct,
            client,
            upstream,
            method: asked.head.method.clone(),
            is_last: asked.is_last,
            is_said: false,
            begun: None,
        }
    }

    /// What the client's connection does after the answer.
    pub(super) fn then(&self) -> Then {
        if self.is_last || *self.direct.shutdown.borrow() {
            Then::Close
        } else {
            Then::Keep
        }
    }

    /// Asks until it is answered, and passes the answer on.
    ///
    /// # Errors
    /// Who failed whom. When the answer has begun, the client must see that it broke off.
    pub(super) async fn run(&mut self, request: &[u8]) -> Result<()> {
        let mut peers = self.peers().await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let Some(peer) = peers.front() else {
                let error = Error::explain(ErrorType::ConnectError, "no address");
                return Err(error.into_up());
            };
            let key = peer.reuse_hash();
            let kept = self.direct.kept.take(key);
            let is_reused = kept.is_some();
            let app = match kept {
                Some(app) => app,
                None => match self.connect(peer).await {
                    Ok(app) => app,
                    // The next address of the name, if there is one, may do.
                    Err(error) if peers.len() > 1 && is_apps(&error) => {
                        peers.pop_front();
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            match self.attempt(app, key, request).await {
                Ok(()) => return Ok(()),
                Err(failed) => {
                    let again = is_reused && failed.may_be_stale && !self.is_said;
                    if !again || attempts >= ATTEMPTS_MAX {
                        return Err(failed.error);
                    }
                }
            }
        }
    }

    async fn peers(&self) -> Result<VecDeque<HttpPeer>> {
        let (peers, purpose) = (&self.direct.peers, Purpose::PassThrough);
        let found = peers.resolve(self.upstream, purpose, clock::now()).await;
        let found = found.or_err(ErrorType::ConnectError, "resolving the app's address");
        found.map(VecDeque::from).map_err(Error::into_up)
    }

    async fn connect(&mut self, peer: &HttpPeer) -> Result<Stream> {
        tokio::select! {
            app = self.direct.dialer.stream(peer) => app,
            left = gone(self.client) => Err(left),
        }
    }

    async fn attempt(&mut self, mut app: Stream, key: u64, request: &[u8]) -> Result<(), Failed> {
        self.ask(&mut app, request).await?;
        let mut received = BytesMut::with_capacity(HEAD_READ_BYTES);
        let begun = self.head(&mut app, &mut received).await?;
        let is_over = self.body(&mut app, received, begun.ends).await?;
        if is_over && begun.is_kept {
            let patience = self.upstream.idle_timeout.min(begun.idle_max);
            self.direct.kept.put(key, app, patience);
        }
        Ok(self.flush().await?)
    }

    async fn ask(&self, app: &mut Stream, request: &[u8]) -> Result<(), Failed> {
        let asking = async {
            app.write_all(request).await?;
            app.flush().await
        };
        match timeout(self.upstream.write_timeout, asking).await {
            Ok(Ok(())) => Ok(()),
            // The app has not seen all of the head, and so no request.
            Ok(Err(cause)) => Err(Failed {
                error: Error::because(ErrorType::WriteError, "asking the app", cause).into_up(),
                may_be_stale: true,
            }),
            Err(_) => Err(Error::new(ErrorType::WriteTimedout).into_up().into()),
        }
    }

    /// Passes heads on until one is final; what was received behind it stays.
    async fn head(&mut self, app: &mut Stream, received: &mut BytesMut) -> Result<Begun, Failed> {
        let mut out = Vec::new();
        let mut informational = 0;
        loop {
            if !received.is_empty()
                && let Some(begun) = answer::begin(
                    received,
                    &self.method,
                    self.then(),
                    get_cached_date,
                    &mut out,
                )?
            {
                received.advance(begun.len);
                let is_final = !begun.status.is_informational();
                self.is_said = true;
                if is_final {
                    self.begun = Some(begun.status);
                }
                self.write(&out).await?;
                if is_final {
                    return Ok(begun);
                }
                self.flush().await?;
                out.clear();
                informational += 1;
                if informational > INFORMATIONAL_HEADS_MAX {
                    return Err(Unusable("informational heads without end").into());
                }
                continue;
            }
            received.reserve(HEAD_READ_BYTES);
            match self.read(app, received).await {
                Ok(1..) => {}
                Ok(0) => {
                    let text = "before the answer's head was whole";
                    return Err(Failed {
                        error: Error::explain(ErrorType::ConnectionClosed, text).into_up(),
                        may_be_stale: self.method.is_idempotent(),
                    });
                }
                Err(error) => {
                    let may_be_stale = is_apps(&error)
                        && *error.etype() == ErrorType::ReadError
                        && self.method.is_idempotent();
                    return Err(Failed {
                        error,
                        may_be_stale,
                    });
                }
            }
        }
    }

    /// Passes the body on, all of it. Whether the app's connection has nothing behind it.
    async fn body(&mut self, app: &mut Stream, received: BytesMut, ends: Ends) -> Result<bool> {
        let is_over = match ends {
            Ends::Framed(framing) => self.framed(app, received, Meter::of_answer(framing)).await,
            Ends::WithConnection => self.unframed(app, received).await.map(|()| false),
        };
        if let Err(error) = &is_over
            && is_apps(error)
        {
            // What came goes out, and nothing that would make it look whole.
            self.flush().await?;
        }
        is_over
    }

    /// Trailers stay behind: whoever wants them says so, and goes the other way.
    async fn framed(
        &mut self,
        app: &mut Stream,
        mut received: BytesMut,
        mut meter: Meter,
    ) -> Result<bool> {
        loop {
            let taken = meter.take_content(&received).map_err(bad_framing)?;
            let (content, rest) = received.split_at(taken);
            if !content.is_empty() {
                self.write(content).await?;
            }
            if meter.is_in_trailers() {
                let taken = meter.take(rest).map_err(bad_framing)?;
                if meter.is_done() {
                    self.write(b"\r\n").await?;
                    return Ok(taken == rest.len());
                }
            } else if meter.is_done() {
                return Ok(rest.is_empty());
            }
            received.clear();
            received.reserve(BODY_READ_BYTES);
            if self.read(app, &mut received).await? == 0 {
                let text = "in the middle of the answer";
                return Err(Error::explain(ErrorType::ConnectionClosed, text).into_up());
            }
        }
    }

    /// A body that ends with the app's connection, in chunks.
    async fn unframed(&mut self, app: &mut Stream, mut received: BytesMut) -> Result<()> {
        loop {
            if !received.is_empty() {
                self.write(format!("{:x}\r\n", received.len()).as_bytes())
                    .await?;
                self.write(&received).await?;
                self.write(b"\r\n").await?;
            }
            received.clear();
            received.reserve(BODY_READ_BYTES);
            if self.read(app, &mut received).await? == 0 {
                return self.write(b"0\r\n\r\n").await;
            }
        }
    }

    /// Reads once from the app; what the client was given leaves meanwhile. 0 at the end.
    async fn read(&mut self, app: &mut Stream, into: &mut BytesMut) -> Result<usize> {
        let reading = timeout(self.upstream.read_timeout, app.read_buf(into));
        tokio::select! {
            biased;
            read = reading => match read {
                Ok(read) => read
                    .or_err(ErrorType::ReadError, "reading the app's answer")
                    .map_err(Error::into_up),
                Err(_) => Err(Error::new(ErrorType::ReadTimedout).into_up()),
            },
            left = gone(self.client) => Err(left),
        }
    }

    async fn write(&mut self, part: &[u8]) -> Result<()> {
        taken(timeout(self.patience, self.client.write_all(part)).await)
    }

    async fn flush(&mut self) -> Result<()> {
        taken(timeout(self.patience, self.client.flush()).await)
    }
}

/// Whether the client took it.
fn taken(written: Result<io::Result<()>, Elapsed>) -> Result<()> {
    match written {
        Ok(written) => written
            .or_err(ErrorType::WriteError, "answering the client")
            .map_err(Error::into_down),
        Err(_) => Err(Error::new(ErrorType::WriteTimedout).into_down()),
    }
}

/// Waits until the client has left. What it sends meanwhile waits in the turnstile.
async fn gone(client: &mut Turnstile) -> BError {
    let mut nothing = [0; 1];
    // It makes no difference how it left.
    let _ended = client.read(&mut nothing).await;
    Error::new(ErrorType::ConnectionClosed).into_down()
}

/// The app has failed, and not its client.
fn is_apps(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
}

fn bad_framing(BadFraming(text): BadFraming) -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, text).into_up()
}

impl From<BError> for Failed {
    fn from(error: BError) -> Self {
        Self {
            error,
            may_be_stale: false,
        }
    }
}

impl From<Unusable> for Failed {
    fn from(Unusable(text): Unusable) -> Self {
        Error::explain(ErrorType::InvalidHTTPHeader, text)
            .into_up()
            .into()
    }
}
