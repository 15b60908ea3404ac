//! An exchange of a client's own: what an app answers instead of a stream and what is too long to
//! share runs as pass-through, once for each client that waited.
//!
//! pingora's session is gone by then (it was taken over before the app was asked), so the head and
//! the body are handed on here.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, DATE, SET_COOKIE, TRANSFER_ENCODING},
};
use pingora::{
    http::ResponseHeader,
    protocols::{
        Stream,
        http::{date::get_cached_date, v2::server::HttpSession as H2Session},
    },
};
use tokio::{io::AsyncWriteExt, sync::Semaphore, time::timeout};

use crate::{
    admission::{Admission, turn_away},
    answer::Answer,
    channel::shared::Channel,
    clock,
    config::model::Config,
    decide::{FanOut, Reader},
    egress::{
        handle::{Joiner, Relay},
        opening::h1_head,
        sink::Downstream,
    },
    metrics::{Metrics, labels::PanicPlace},
    sse::encode::Frame,
    upstream::{
        exchange::{Body, Dialer, Opened, Part, ResponseHead},
        reader::{contained, request},
        refusal::client_headers,
        verdict::{Verdict, judge},
    },
};

/// Requests that wait for their head at the same time, over all channels: a crowd that is told to
/// ask for itself must not bring down an ailing app.
const ASKING_MAX: usize = 32;

/// Relays on the runtime of the worker that the client is connected to.
pub struct Relayer {
    dialer: Arc<Dialer>,
    admission: Arc<Admission>,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    asking: Arc<Semaphore>,
}

impl Relayer {
    /// Asks apps by `dialer`, within the limits in force.
    #[must_use]
    pub fn new(
        dialer: Arc<Dialer>,
        admission: Arc<Admission>,
        config: Arc<ArcSwap<Config>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let asking = Arc::new(Semaphore::new(ASKING_MAX));
        Self {
            dialer,
            admission,
            config,
            metrics,
            asking,
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
            asking: self.asking.clone(),
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
    asking: Arc<Semaphore>,
    /// How long the client may take to accept one piece.
    write_timeout: Duration,
    /// The one that the client waited for; it is over.
    channel: Arc<Channel>,
}

impl Exchange {
    async fn serve(self, joiner: Box<Joiner>) {
        let Joiner {
            request,
            downstream,
            membership,
            permit: _held,
            ..
        } = *joiner;
        drop(membership);
        let mut client = Client::new(downstream, self.write_timeout);
        let asked = tokio::select! {
            biased;
            // Nobody is left to ask for.
            () = client.gone() => return,
            asked = self.ask() => asked,
        };
        // A client that left or stalls is nobody's loss but its own.
        let _over = match asked {
            // The app streams by now: by way of the channel, not beside it.
            Ok(opened) if is_stream(&opened.head) => {
                drop(opened);
                self.answer(&mut client, &self.come_back(&request)).await
            }
            Ok(opened) => self.hand_on(opened, &mut client).await,
            Err(answer) => self.answer(&mut client, &answer).await,
        };
    }

    /// Waits for its turn, asks, and waits for the head.
    async fn ask(&self) -> Result<Opened, Answer> {
        // The semaphore is never closed.
        let _turn = self.asking.acquire().await;
        let route = self.channel.route();
        let answer_max = route.upstream.read_timeout;
        let request = request(&self.channel.key, self.channel.client, &route.upstream);
        let exchange = async {
            let asked = self.dialer.ask(&route.upstream, &request, answer_max);
            asked.await?.answer().await
        };
        match timeout(answer_max, exchange).await {
            Ok(Ok(opened)) => Ok(opened),
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

    async fn answer(&self, client: &mut Client, answer: &Answer) -> io::Result<()> {
        self.count(answer.status);
        client.answer(answer).await
    }

    async fn hand_on(&self, opened: Opened, client: &mut Client) -> io::Result<()> {
        let Opened { head, mut body } = opened;
        self.count(head.status);
        client.head(&head).await?;
        let silence_max = self.channel.route().upstream.read_timeout;
        loop {
            let part = tokio::select! {
                biased;
                () = client.gone() => return Err(io::ErrorKind::ConnectionAborted.into()),
                part = next(&mut body, silence_max) => part,
            };
            match part {
                Ok(Some(data)) => client.data(data).await?,
                Ok(None) => return client.end().await,
                Err(error) => {
                    client.cut();
                    return Err(error);
                }
            }
        }
    }

    /// It is a pass-through request by now.
    fn count(&self, status: StatusCode) {
        let answered = &self.channel.route_metrics.passthrough_requests;
        answered.inc(status.into());
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

/// How a client sees where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is none (RFC 9110, sections 15.3.5 and 15.4.5).
    NoBody,
    /// By the app's own length, by the stream's end over HTTP/2, or by the close over HTTP/1.0.
    Plain,
    /// By the last chunk.
    Chunked,
}

/// The client's side.
struct Client {
    downstream: Downstream,
    framing: Framing,
    write_timeout: Duration,
}

impl Client {
    const fn new(downstream: Downstream, write_timeout: Duration) -> Self {
        Self {
            downstream,
            framing: Framing::Plain,
            write_timeout,
        }
    }

    /// Resolves when the client is gone.
    async fn gone(&mut self) {
        std::future::poll_fn(|context| self.downstream.poll_gone(context)).await;
    }

    /// The app's head, this client's own `Set-Cookie` included.
    async fn head(&mut self, head: &ResponseHead) -> io::Result<()> {
        let mut headers = client_headers(&head.headers);
        let cookies = head.headers.get_all(SET_COOKIE);
        headers.extend(cookies.iter().map(|value| (SET_COOKIE, value.clone())));
        headers.retain(|(name, _)| name != DATE);
        let has_body = !matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        // With both, the length says nothing (RFC 9112, section 6.3).
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .filter(|_| has_body && !head.headers.contains_key(TRANSFER_ENCODING));
        headers.extend(length.map(|length| (CONTENT_LENGTH, length.clone())));
        self.framing = match &self.downstream {
            _ if !has_body => Framing::NoBody,
            Downstream::H1 { http10: false, .. } if length.is_none() => Framing::Chunked,
            Downstream::H1 { .. } | Downstream::H2(_) => Framing::Plain,
        };
        match &mut self.downstream {
            Downstream::H1 { stream, .. } => {
                let mut out = h1_head(&status_line(head.status), &headers, &get_cached_date());
                if self.framing == Framing::Chunked {
                    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                }
                out.extend_from_slice(b"\r\n");
                written(stream, &out, self.write_timeout).await
            }
            Downstream::H2(session) => h2_head(session, head.status, &headers, !has_body),
        }
    }

    async fn data(&mut self, data: Bytes) -> io::Result<()> {
        if data.is_empty() || self.framing == Framing::NoBody {
            return Ok(());
        }
        match &mut self.downstream {
            Downstream::H1 { stream, .. } if self.framing == Framing::Chunked => {
                written(stream, Frame::raw(&data).chunked(), self.write_timeout).await
            }
            Downstream::H1 { stream, .. } => written(stream, &data, self.write_timeout).await,
            Downstream::H2(session) => timeout(self.write_timeout, session.write_body(data, false))
                .await?
                .map_err(io::Error::other),
        }
    }

    /// The whole answer is written.
    async fn end(&mut self) -> io::Result<()> {
        match &mut self.downstream {
            Downstream::H1 { stream, .. } => {
                if self.framing == Framing::Chunked {
                    written(stream, b"0\r\n\r\n", self.write_timeout).await?;
                }
                timeout(self.write_timeout, AsyncWriteExt::shutdown(stream)).await?
            }
            Downstream::H2(session) => session.finish().map_err(io::Error::other),
        }
    }

    /// The answer broke off: short of its length or its last chunk, and a reset over HTTP/2.
    fn cut(&mut self) {
        if let Downstream::H2(session) = &mut self.downstream {
            session.shutdown_with_reason(h2::Reason::CANCEL);
        }
    }

    async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        match &mut self.downstream {
            Downstream::H1 { stream, .. } => {
                written(stream, &answer.to_http1_close(), self.write_timeout).await?;
            }
            Downstream::H2(session) => {
                h2_head(session, answer.status, &answer.headers, false)?;
                self.data(answer.body.clone()).await?;
            }
        }
        self.end().await
    }
}

async fn written(stream: &mut Stream, bytes: &[u8], wait: Duration) -> io::Result<()> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(wait, write).await?
}

fn status_line(status: StatusCode) -> String {
    format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    )
}

fn h2_head(
    session: &mut H2Session,
    status: StatusCode,
    headers: &[(HeaderName, HeaderValue)],
    is_all: bool,
) -> io::Result<()> {
    let mut response =
        ResponseHeader::build(status, Some(headers.len())).map_err(io::Error::other)?;
    for (name, value) in headers {
        response
            .append_header(name, value)
            .map_err(io::Error::other)?;
    }
    session
        .write_response_header(Box::new(response), is_all)
        .map_err(io::Error::other)
}
