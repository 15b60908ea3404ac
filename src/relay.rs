//! An exchange of a client's own: what an app answers instead of a stream and what is too long to
//! share runs as pass-through, once for each client that waited.
//!
//! pingora's session is gone by then (it was taken over before the app was asked), so the head and
//! the body are handed on here.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{
    StatusCode,
    header::{CONTENT_LENGTH, DATE, SET_COOKIE, TRANSFER_ENCODING},
};
use tokio::time::timeout;

use crate::{
    admission::{Admission, turn_away},
    answer::Answer,
    channel::shared::Channel,
    clock,
    config::model::Config,
    decide::{FanOut, Reader},
    egress::{
        handle::{Joiner, Relay},
        opening::framed,
        sink::{Downstream, EndKind, Sink},
    },
    metrics::{Metrics, labels::PanicPlace},
    upstream::{
        exchange::{Body, Dialer, OpenError, Opened, Part, ResponseHead, once_more_if_untouched},
        reader::{contained, request},
        refusal::client_headers,
        verdict::{Verdict, judge},
    },
};

/// Relays on the runtime of the worker that the client is connected to.
pub struct Relayer {
    dialer: Arc<Dialer>,
    admission: Arc<Admission>,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
}

impl Relayer {
    /// Asks apps by `dialer`, and so by turns; within the limits in force.
    #[must_use]
    pub fn new(
        dialer: Arc<Dialer>,
        admission: Arc<Admission>,
        config: Arc<ArcSwap<Config>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            dialer,
            admission,
            config,
            metrics,
        }
    }
}

impl Relay for Relayer {
    fn relay(&self, joiner: Box<Joiner>) {
        let metrics = self.metrics.clone();
        let exchange = Exchange {
            dialer: self.dialer.clone(),
            admission: self.admission.clone(),
            metrics: metrics.clone(),
            write_timeout: self.config.load().limits.client_timeout,
            channel: joiner.membership.channel().clone(),
        };
        tokio::spawn(async move {
            if contained(Box::pin(exchange.serve(joiner))).await.is_none() {
                metrics.panics.inc(PanicPlace::Connection);
            }
        });
    }
}

/// One client's exchange.
struct Exchange {
    dialer: Arc<Dialer>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    /// How long the client may take to accept one piece.
    write_timeout: Duration,
    /// The one that the client waited for; it is over.
    channel: Arc<Channel>,
}

impl Exchange {
    async fn serve(self, joiner: Box<Joiner>) {
        let Joiner {
            request,
            mut downstream,
            membership,
            seat: _held,
            ..
        } = *joiner;
        drop(membership);
        let asked = tokio::select! {
            biased;
            // Nobody is left to ask for.
            () = poll_fn(|cx| downstream.poll_gone(cx)) => return,
            asked = self.ask(&request) => asked,
        };
        // A client that left or stalls is nobody's loss but its own.
        let _over = match asked {
            // The app streams by now: by way of the channel, not beside it.
            Ok(opened) if is_stream(&opened.head) => {
                drop(opened);
                self.answer(downstream, self.come_back(&request), &request)
                    .await
            }
            Ok(opened) => self.hand_on(opened, downstream, &request).await,
            Err(answer) => self.answer(downstream, answer, &request).await,
        };
    }

    /// Waits for its turn, asks, and waits for the head.
    async fn ask(&self, client: &FanOut) -> Result<Opened, Answer> {
        let route = self.channel.route();
        let (turn_max, answer_max) = (
            self.channel.settings().open_wait,
            route.upstream.read_timeout,
        );
        let request = request(&self.channel.key, self.channel.client, &route.upstream);
        let ask = || async {
            let asked = self.dialer.ask(&route.upstream, &request, turn_max);
            asked.await?.answer().await
        };
        match timeout(answer_max, once_more_if_untouched(ask)).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(OpenError::Busy(_))) => Err(self.come_back(client)),
            Ok(Err(_)) => Err(Answer::text(
                StatusCode::BAD_GATEWAY,
                "the app behind this proxy cannot be reached",
            )),
            Err(_) => Err(Answer::text(
                StatusCode::GATEWAY_TIMEOUT,
                "the app behind this proxy did not answer in time",
            )),
        }
    }

    fn come_back(&self, request: &FanOut) -> Answer {
        self.metrics.shed.inc();
        turn_away(
            &self.admission,
            request.reader == Reader::EventSource,
            request.origin.as_deref(),
            rand::random(),
            clock::now(),
        )
    }

    async fn answer(
        &self,
        downstream: Downstream,
        mut answer: Answer,
        request: &FanOut,
    ) -> io::Result<()> {
        self.count(answer.status);
        request.allow(&mut answer.headers);
        let (mut sink, head) = downstream
            .answer(&answer)
            .ok_or(io::ErrorKind::BrokenPipe)?;
        self.push(&mut sink, head).await?;
        self.push(&mut sink, answer.body.clone()).await?;
        sink.end(EndKind::Complete, self.write_timeout).await;
        Ok(())
    }

    async fn hand_on(
        &self,
        opened: Opened,
        downstream: Downstream,
        request: &FanOut,
    ) -> io::Result<()> {
        let Opened { head, mut body } = opened;
        self.count(head.status);
        let (mut sink, begin) =
            begun(&head, downstream, request).ok_or(io::ErrorKind::BrokenPipe)?;
        self.push(&mut sink, begin.freeze()).await?;
        let silence_max = self.channel.route().upstream.read_timeout;
        loop {
            let part = tokio::select! {
                biased;
                () = poll_fn(|cx| sink.poll_gone(cx)) => return Err(io::ErrorKind::ConnectionAborted.into()),
                part = next(&mut body, silence_max) => part,
            };
            match part {
                Ok(Some(_)) if !has_body(&head) => {}
                Ok(Some(data)) => {
                    let framed = framed(&data, sink.framing());
                    self.push(&mut sink, framed).await?;
                }
                Ok(None) => {
                    let last = sink.last_bytes();
                    self.push(&mut sink, last).await?;
                    sink.end(EndKind::Complete, self.write_timeout).await;
                    return Ok(());
                }
                Err(error) => {
                    sink.end(EndKind::Cut, self.write_timeout).await;
                    return Err(error);
                }
            }
        }
    }

    async fn push(&self, sink: &mut Sink, mut bytes: Bytes) -> io::Result<()> {
        let push = poll_fn(|cx| sink.poll_push(cx, &mut bytes));
        timeout(self.write_timeout, push).await?
    }

    /// It is a pass-through request by now.
    fn count(&self, status: StatusCode) {
        let answered = &self.channel.route_metrics.passthrough_requests;
        answered.inc(status.into());
    }
}

/// Whether a body follows, by the status (RFC 9110, sections 15.3.5 and 15.4.5).
fn has_body(head: &ResponseHead) -> bool {
    !matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    )
}

/// Begins the client's response with the app's head, this client's own `Set-Cookie` included.
fn begun(
    head: &ResponseHead,
    downstream: Downstream,
    request: &FanOut,
) -> Option<(Sink, BytesMut)> {
    let mut headers = client_headers(&head.headers);
    let cookies = head.headers.get_all(SET_COOKIE);
    headers.extend(cookies.iter().map(|value| (SET_COOKIE, value.clone())));
    headers.retain(|(name, _)| name != DATE);
    request.allow(&mut headers);
    // With both, the length says nothing (RFC 9112, section 6.3).
    let length = head
        .headers
        .get(CONTENT_LENGTH)
        .filter(|_| has_body(head) && !head.headers.contains_key(TRANSFER_ENCODING));
    headers.extend(length.map(|length| (CONTENT_LENGTH, length.clone())));
    let fields = headers.iter().map(|(name, value)| (name, value));
    if length.is_some() || !has_body(head) {
        downstream.sized(head.status, fields)
    } else {
        downstream.stream(head.status, fields)
    }
}

fn is_stream(head: &ResponseHead) -> bool {
    matches!(
        judge(head.status, &head.headers, clock::wall()),
        Verdict::Stream
    )
}

async fn next(body: &mut Body, silence_max: Duration) -> io::Result<Option<Bytes>> {
    match timeout(silence_max, body.read()).await? {
        Ok(Part::Data(data)) => Ok(Some(Bytes::copy_from_slice(data))),
        Ok(Part::End) => Ok(None),
        Err(cut) => Err(io::Error::other(cut.to_string())),
    }
}
