//! An exchange of a client's own: what an app answers instead of a stream and what is too long to
//! share runs as pass-through, once for each client that waited.
//!
//! pingora's session is gone by then (it was taken over before the app was asked), so the head and
//! the body are handed on here.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    StatusCode,
    header::{DATE, SET_COOKIE},
};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    admission::{Admission, turn_away},
    answer::Answer,
    channel::shared::Channel,
    clock,
    decide::{FanOut, Reader},
    egress::{
        handle::{Joiner, Relay},
        opening::framed,
        sink::{Downstream, EndKind, Sink},
    },
    upstream::{
        exchange::{Body, Dialer, Opened, Part, ResponseHead},
        reader::request,
        refusal::client_headers,
        verdict::{Verdict, judge},
    },
};

/// How long a client may take to accept one piece.
const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that wait for their head at the same time, over all channels: a crowd that is told to
/// ask for itself must not bring down an ailing app.
const ASKING_MAX: usize = 32;

/// Relays on the runtime of the worker that the client is connected to.
pub struct Relayer {
    dialer: Arc<Dialer>,
    admission: Arc<Admission>,
    asking: Arc<Semaphore>,
}

impl Relayer {
    /// Asks apps by `dialer`.
    #[must_use]
    pub fn new(dialer: Arc<Dialer>, admission: Arc<Admission>) -> Self {
        let asking = Arc::new(Semaphore::new(ASKING_MAX));
        Self {
            dialer,
            admission,
            asking,
        }
    }
}

impl Relay for Relayer {
    fn relay(&self, joiner: Box<Joiner>) {
        let (dialer, admission, asking) = (
            self.dialer.clone(),
            self.admission.clone(),
            self.asking.clone(),
        );
        tokio::spawn(async move {
            let Joiner {
                request,
                downstream,
                membership,
                permit,
                ..
            } = *joiner;
            let channel = membership.channel().clone();
            drop(membership);
            // The semaphore is never closed.
            let turn = asking.acquire().await;
            let opened = ask(&dialer, &channel).await;
            drop(turn);
            // A client that left or stalls is nobody's loss but its own.
            let _over = match opened {
                // The app streams by now: by way of the channel, not beside it.
                Some(opened) if is_stream(&opened.head) => {
                    drop(opened);
                    answer(downstream, &come_back(&request, &admission)).await
                }
                Some(opened) => hand_on(opened, &channel, downstream).await,
                None => answer(downstream, &unreachable()).await,
            };
            drop(permit);
        });
    }
}

fn is_stream(head: &ResponseHead) -> bool {
    matches!(
        judge(head.status, &head.headers, clock::wall()),
        Verdict::Stream
    )
}

fn come_back(request: &FanOut, admission: &Admission) -> Answer {
    let event_source = request.reader == Reader::EventSource;
    let origin = request.origin.as_deref();
    turn_away(
        admission,
        event_source,
        origin,
        rand::random(),
        clock::now(),
    )
}

fn unreachable() -> Answer {
    let text = "the app behind this proxy cannot be reached";
    Answer::text(StatusCode::BAD_GATEWAY, text)
}

/// Hands on the app's answer, this client's own `Set-Cookie` included.
async fn hand_on(opened: Opened, channel: &Channel, downstream: Downstream) -> io::Result<()> {
    let Opened { head, mut body } = opened;
    let mut headers = client_headers(&head.headers);
    let cookies = head.headers.get_all(SET_COOKIE);
    headers.extend(cookies.iter().map(|value| (SET_COOKIE, value.clone())));
    headers.retain(|(name, _)| name != DATE);
    let fields = headers.iter().map(|(name, value)| (name, value));
    let (mut sink, begin) = downstream
        .stream(head.status, fields)
        .ok_or(io::ErrorKind::BrokenPipe)?;
    push(&mut sink, begin.freeze()).await?;
    let silence_max = channel.route().upstream.read_timeout;
    loop {
        match next(&mut body, silence_max).await {
            Ok(Some(data)) => {
                let framed = framed(&data, sink.framing());
                push(&mut sink, framed).await?;
            }
            Ok(None) => {
                let last = sink.last_bytes();
                push(&mut sink, last).await?;
                sink.end(EndKind::Complete, CLIENT_WRITE_TIMEOUT).await;
                return Ok(());
            }
            Err(error) => {
                sink.end(EndKind::Cut, CLIENT_WRITE_TIMEOUT).await;
                return Err(error);
            }
        }
    }
}

async fn answer(downstream: Downstream, answer: &Answer) -> io::Result<()> {
    let (mut sink, head) = downstream.answer(answer).ok_or(io::ErrorKind::BrokenPipe)?;
    push(&mut sink, head).await?;
    push(&mut sink, answer.body.clone()).await?;
    sink.end(EndKind::Complete, CLIENT_WRITE_TIMEOUT).await;
    Ok(())
}

async fn push(sink: &mut Sink, mut bytes: Bytes) -> io::Result<()> {
    let push = poll_fn(|cx| sink.poll_push(cx, &mut bytes));
    timeout(CLIENT_WRITE_TIMEOUT, push).await?
}

async fn ask(dialer: &Dialer, channel: &Channel) -> Option<Opened> {
    let route = channel.route();
    let request = request(&channel.key, channel.client, &route.upstream);
    let exchange = async {
        let asked = dialer
            .ask(&route.upstream, &request, clock::now())
            .await
            .ok()?;
        asked.answer().await.ok()
    };
    timeout(route.upstream.read_timeout, exchange)
        .await
        .ok()
        .flatten()
}

async fn next(body: &mut Body, silence_max: Duration) -> io::Result<Option<Bytes>> {
    match timeout(silence_max, body.read()).await? {
        Ok(Part::Data(data)) => Ok(Some(Bytes::copy_from_slice(data))),
        Ok(Part::End) => Ok(None),
        Err(cut) => Err(io::Error::other(cut.to_string())),
    }
}
