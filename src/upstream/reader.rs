//! The task that runs a channel's upstream: it opens the stream, publishes what it brings, and opens
//! it again, for as long as the channel's state machine says so.
//!
//! There is one reader per channel at most, and a reader has one connection at most: it lets go of
//! one before it reports its end, because that report may start the next reader.

mod prover;

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, StatusCode};

use self::prover::Prover;
use super::{
    exchange::{Body, Dialer, OpenError, Opened},
    intake::{Ending, Intake},
    refusal,
    request::UpstreamRequest,
    retry::Retry,
    verdict::{Verdict, judge},
};
use crate::{
    answer::Answer,
    channel::{
        registry::Opener,
        shared::Channel,
        state::{Next, Outcome},
        view::Refusal,
    },
    clock::{self, Millis},
    config::model::{Upstream, UpstreamHost, Watchdog},
    decide::LAST_EVENT_ID,
    error::ConnectOutcome,
    logging::Seldom,
    metrics::{
        Metrics,
        labels::{CutReason, PanicPlace},
    },
    route::key::ChannelKey,
};

/// How long the body of a refusal may take.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// The last attempt of a cold channel begins when `open_wait` is over, and has this long to connect.
const LAST_CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Failures are counted; a line about them is written at most this often, in seconds.
static FAILED: Seldom = Seldom::new(10);
static BROKEN: Seldom = Seldom::new(10);

/// Starts readers. One per process.
#[derive(Debug)]
pub struct Readers {
    dialer: Arc<Dialer>,
    metrics: Arc<Metrics>,
}

impl Readers {
    /// Readers that connect by `dialer`.
    #[must_use]
    pub fn new(dialer: Arc<Dialer>, metrics: Arc<Metrics>) -> Self {
        Self { dialer, metrics }
    }
}

impl Opener for Readers {
    /// Spawns the reader on the current runtime.
    fn open(&self, channel: Arc<Channel>) {
        let retry = Retry::new(channel.settings().backoff);
        let reader = Reader {
            channel,
            dialer: self.dialer.clone(),
            retry,
            turn_at: None,
            reading: false,
        };
        tokio::spawn(reader.run(self.metrics.clone()));
    }

    /// Spawns the prover on the current runtime.
    fn prove(&self, channel: Arc<Channel>) {
        let prover = Prover::new(channel, self.dialer.clone());
        tokio::spawn(prover.run(self.metrics.clone()));
    }
}

/// One channel's reader.
struct Reader {
    channel: Arc<Channel>,
    dialer: Arc<Dialer>,
    retry: Retry,
    /// When the last attempt had its turn.
    turn_at: Option<Millis>,
    /// A stream is open.
    reading: bool,
}

/// How a reader ended.
enum End {
    /// By its own decision.
    Done,
    /// The channel is over.
    Stopped,
    /// By a panic.
    Panicked,
}

impl Reader {
    /// Works until the channel is over or needs no stream. A panic ends the channel and nothing
    /// else: its members are told to come back.
    async fn run(mut self, metrics: Arc<Metrics>) {
        let channel = self.channel.clone();
        let working = async {
            let _turn = channel.turn().await;
            self.work().await;
        };
        let end = tokio::select! {
            biased;
            () = channel.stopped() => End::Stopped,
            done = contained(Box::pin(working)) => done.map_or(End::Panicked, |()| End::Done),
        };
        let cuts = &channel.route_metrics.upstream_cuts;
        match end {
            End::Stopped if self.reading => cuts.inc(CutReason::Closed),
            End::Stopped | End::Done => {}
            End::Panicked => {
                metrics.panics.inc(PanicPlace::Upstream);
                if self.reading {
                    cuts.inc(CutReason::Internal);
                }
                channel.finish(Outcome::Broken);
            }
        }
    }

    async fn work(&mut self) {
        loop {
            let next = match self.attempt().await {
                Ok(body) => self.read(body).await,
                Err(next) => next,
            };
            // Without the wait in line: it says nothing about the app.
            if let Some(turn_at) = self.turn_at.take() {
                self.retry.lasted(clock::now().since(turn_at));
            }
            if next == Next::Stop || self.pause().await == Next::Stop {
                return;
            }
        }
    }

    /// One try to get a stream.
    async fn attempt(&mut self) -> Result<Body, Next> {
        let channel = self.channel.clone();
        let route = channel.route();
        let mut request = request(&channel.key, channel.client, &route.upstream);
        if let Some(id) = channel.attempt() {
            request.headers.push((LAST_EVENT_ID, id));
        }
        let Opened { head, mut body } = match self.put(&request, &route.upstream).await {
            Ok(opened) => opened,
            Err(error) => return Err(self.not_opened(&error)),
        };
        let connects = &channel.route_metrics.upstream_connects;
        match judge(head.status, &head.headers, clock::wall()) {
            Verdict::Stream => {
                connects.inc(ConnectOutcome::Opened);
                let wanted = channel.opened(&head.headers, clock::now());
                return if wanted { Ok(body) } else { Err(Next::Stop) };
            }
            Verdict::Retryable { retry_after } => {
                connects.inc(ConnectOutcome::Retryable);
                if channel.view().joiners_head.is_some() {
                    drop(body);
                    self.retry.hold(retry_after.unwrap_or_default());
                    self.log_failure(&format_args!("it answered {}", head.status));
                    return Err(channel.failed(Outcome::Unreachable, clock::now()));
                }
            }
            Verdict::Refused => connects.inc(ConnectOutcome::Refused),
        }
        let kept = body.read_refusal(REFUSAL_WAIT).await;
        drop(body);
        channel.refused(refusal::refusal(&head, kept));
        Err(Next::Stop)
    }

    /// Puts the request to the app, and once more if it has not looked at it.
    async fn put(
        &mut self,
        request: &UpstreamRequest,
        upstream: &Upstream,
    ) -> Result<Opened, OpenError> {
        match self.put_once(request, upstream).await {
            Err(OpenError::Untouched(_)) => self.put_once(request, upstream).await,
            opened => opened,
        }
    }

    /// Puts the request to the app, and says so: those who wait count from there.
    async fn put_once(
        &mut self,
        request: &UpstreamRequest,
        upstream: &Upstream,
    ) -> Result<Opened, OpenError> {
        let patience = self
            .time_left()
            .map(|time_left| time_left.max(LAST_CONNECT_WAIT));
        // Otherwise its clients have a stream already: they miss nothing but events meanwhile.
        let wait = patience.unwrap_or(Duration::MAX);
        let deadline = clock::now().after(wait);
        let turn = self.dialer.turn(upstream, wait).await?;
        let turn_at = clock::now();
        self.turn_at = Some(turn_at);
        let asking = self.dialer.ask_in_turn(turn, upstream, request);
        let asked = tokio::time::timeout(deadline.since(turn_at), asking)
            .await
            .map_err(|_| {
                OpenError::Unreachable("no connection in time (open_wait)".to_owned())
            })??;
        let channel = &self.channel;
        channel.asked(clock::now());
        let watchdog = channel.settings().watchdog;
        match head_max(patience.is_some(), upstream, watchdog) {
            None => asked.answer().await,
            Some(head_max) => tokio::time::timeout(head_max, asked.answer())
                .await
                .map_err(|_| OpenError::NoHead(format!("silent for {head_max:?}")))?,
        }
    }

    /// What is left of `open_wait` for a cold channel: who waits for it is answered in time. `None`
    /// when it is not cold.
    fn time_left(&self) -> Option<Duration> {
        let view = self.channel.view();
        let give_up = view.opening_since.after(self.channel.settings().open_wait);
        view.joiners_head
            .is_none()
            .then(|| give_up.since(clock::now()))
    }

    fn not_opened(&self, error: &OpenError) -> Next {
        let channel = &self.channel;
        channel.route_metrics.upstream_connects.inc(error.outcome());
        self.log_failure(error);
        if matches!(error, OpenError::Request(_)) {
            // It would be as wrong the next time.
            let answer = Answer::text(
                StatusCode::BAD_REQUEST,
                "this request cannot be put to the app",
            );
            channel.refused(Refusal::Whole(Arc::new(answer)));
            return Next::Stop;
        }
        let outcome = match error {
            OpenError::Busy(_) => Outcome::Busy,
            OpenError::Request(_)
            | OpenError::Peer(_)
            | OpenError::Unreachable(_)
            | OpenError::NoHead(_)
            | OpenError::Untouched(_) => Outcome::Unreachable,
        };
        channel.failed(outcome, clock::now())
    }

    /// Publishes a stream until it ends.
    async fn read(&mut self, mut body: Body) -> Next {
        let channel = self.channel.clone();
        let connection = channel.route_metrics.upstream_connections.hold();
        self.reading = true;
        let mut intake = Intake::new(channel.settings().event);
        let ending = loop {
            // Asked for before the settings are read, so that no change is missed.
            let reconfigured = channel.reconfigured();
            let settings = channel.settings();
            intake.set_limits(settings.event);
            let silence_max = intake.silence_max(settings.watchdog);
            let ending = tokio::select! {
                biased;
                ending = intake.fill(&mut body, silence_max) => ending,
                () = reconfigured => continue,
            };
            intake.publish(&channel).await;
            if let Some(ending) = ending {
                break ending;
            }
        };
        drop((body, connection));
        self.reading = false;
        let now = clock::now();
        match ending {
            Ending::Done => channel.ended(now),
            Ending::Cut(reason, text) => {
                channel.route_metrics.upstream_cuts.inc(reason);
                warn(&self.channel, &BROKEN, &text, "the app's stream broke");
                channel.cut(now)
            }
        }
    }

    /// Waits before the next attempt. [`Next::Stop`]: nobody waits for it any more.
    async fn pause(&mut self) -> Next {
        let channel = self.channel.clone();
        let settings = channel.settings();
        self.retry.set_bounds(settings.backoff);
        let mut delay = self.retry.next_delay(rand::random());
        if let Some(time_left) = self.time_left() {
            // The last attempt falls due when time is up.
            delay = delay.min(time_left);
        }
        tokio::time::sleep(delay).await;
        if channel.row().subscribers == 0 {
            return channel.failed(Outcome::Unreachable, clock::now());
        }
        Next::Retry
    }

    fn log_failure(&self, problem: &dyn std::fmt::Display) {
        warn(&self.channel, &FAILED, problem, "no stream from the app");
    }
}

/// Writes a line about an app, unless one was written a moment ago.
fn warn(channel: &Channel, seldom: &Seldom, problem: &dyn std::fmt::Display, what: &'static str) {
    if let Some(held_back) = seldom.pass(clock::now()) {
        let route = channel.route();
        let upstream = &route.upstream.name;
        tracing::warn!(route = route.name, upstream, held_back, %problem, "{what}");
    }
}

/// How long the app may take for its head. On a first connect, for as long as it likes unless its
/// silence is bounded: clients have a head of ours by then (`head_wait`), and some apps send theirs
/// with the first event. Later on, the app has shown that it answers and clients wait behind a gap;
/// then a hung connection must not pass for a quiet app for ever. The bound is what the app may take
/// to answer any other request.
fn head_max(is_cold: bool, upstream: &Upstream, watchdog: Watchdog) -> Option<Duration> {
    let silence_max = match watchdog {
        Watchdog::After(silence_max) => Some(silence_max),
        // Nothing is known of an app's rhythm before it has answered.
        Watchdog::Auto | Watchdog::Off => None,
    };
    if is_cold {
        return silence_max;
    }
    Some(silence_max.map_or(upstream.read_timeout, |max| max.min(upstream.read_timeout)))
}

/// What to ask the app for: what stands in the key (invariant 6), and the client's address on a
/// channel of one identity.
#[must_use]
pub fn request(key: &ChannelKey, client: Option<IpAddr>, upstream: &Upstream) -> UpstreamRequest {
    let mut headers = key.headers.clone();
    let scheme = Bytes::from_static(key.scheme.as_str().as_bytes());
    headers.push((HeaderName::from_static("x-forwarded-proto"), scheme));
    let forwarded_host = HeaderName::from_static("x-forwarded-host");
    let is_keyed = headers.iter().any(|(name, _)| *name == forwarded_host);
    if !is_keyed && !key.host.is_empty() {
        headers.push((forwarded_host, Bytes::copy_from_slice(key.host.as_bytes())));
    }
    if let Some(client) = client {
        let client = Bytes::from(client.to_string());
        headers.push((HeaderName::from_static("x-forwarded-for"), client));
    }
    let host = match &upstream.host {
        UpstreamHost::Fixed(host) => host.clone(),
        UpstreamHost::Preserve if !key.host.is_empty() => key.host.clone(),
        // An HTTP/1.0 client may have named none.
        UpstreamHost::Preserve => upstream.address.authority(),
    };
    UpstreamRequest {
        target: key.target.clone(),
        host,
        headers,
    }
}

/// The future's value, or `None` if it panics.
pub async fn contained<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        let poll = || Pin::new(&mut future).poll(context);
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests;
