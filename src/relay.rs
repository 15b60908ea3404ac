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
    header::{DATE, SET_COOKIE},
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
    sse::encode::Frame,
    upstream::{
        exchange::{Body, Dialer, Opened, Part, ResponseHead},
        reader::request,
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
    asking: Arc<Semaphore>,
}

impl Relayer {
    /// Asks apps by `dialer`, within the limits in force.
    #[must_use]
    pub fn new(
        dialer: Arc<Dialer>,
        admission: Arc<Admission>,
        config: Arc<ArcSwap<Config>>,
    ) -> Self {
        let asking = Arc::new(Semaphore::new(ASKING_MAX));
        Self {
            dialer,
            admission,
            config,
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
        let write_timeout = self.config.load().limits.write_timeout;
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
            let mut client = Client {
                wire: Wire::new(downstream),
                write_timeout,
            };
            // The semaphore is never closed.
            let turn = asking.acquire().await;
            let opened = ask(&dialer, &channel).await;
            drop(turn);
            // A client that left or stalls is nobody's loss but its own.
            let _over = match opened {
                // The app streams by now: by way of the channel, not beside it.
                Some(opened) if is_stream(&opened.head) => {
                    drop(opened);
                    client.answer(&come_back(&request, &admission)).await
                }
                Some(opened) => hand_on(opened, &channel, &mut client).await,
                None => client.answer(&unreachable()).await,
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

async fn hand_on(opened: Opened, channel: &Channel, client: &mut Client) -> io::Result<()> {
    let Opened { head, mut body } = opened;
    client.head(&head).await?;
    let silence_max = channel.route().upstream.read_timeout;
    loop {
        match next(&mut body, silence_max).await {
            Ok(Some(data)) => client.data(data).await?,
            Ok(None) => return client.end().await,
            Err(error) => {
                client.wire.cut();
                return Err(error);
            }
        }
    }
}

async fn ask(dialer: &Dialer, channel: &Channel) -> Option<Opened> {
    let route = channel.route();
    let request = request(&channel.key, channel.client, &route.upstream);
    let exchange = async {
        let asked = dialer
            .ask(&route.upstream, &request, route.upstream.read_timeout)
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

/// The client's side: whoever does not take a piece in time is gone.
struct Client {
    wire: Wire,
    write_timeout: Duration,
}

impl Client {
    async fn head(&mut self, head: &ResponseHead) -> io::Result<()> {
        timeout(self.write_timeout, self.wire.head(head)).await?
    }

    async fn data(&mut self, data: Bytes) -> io::Result<()> {
        timeout(self.write_timeout, self.wire.data(data)).await?
    }

    async fn end(&mut self) -> io::Result<()> {
        timeout(self.write_timeout, self.wire.end()).await?
    }

    async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        timeout(self.write_timeout, self.wire.answer(answer)).await?
    }
}

/// How the client is connected.
enum Wire {
    H1 { stream: Stream, http10: bool },
    H2(Box<H2Session>),
}

impl Wire {
    fn new(downstream: Downstream) -> Self {
        match downstream {
            Downstream::H1 { stream, http10 } => Self::H1 { stream, http10 },
            Downstream::H2(session) => Self::H2(session),
        }
    }

    /// The app's head, this client's own `Set-Cookie` included.
    async fn head(&mut self, head: &ResponseHead) -> io::Result<()> {
        let mut headers = client_headers(&head.headers);
        let cookies = head.headers.get_all(SET_COOKIE);
        headers.extend(cookies.iter().map(|value| (SET_COOKIE, value.clone())));
        headers.retain(|(name, _)| name != DATE);
        match self {
            Self::H1 { stream, http10 } => {
                let mut out = h1_head(&status_line(head.status), &headers, &get_cached_date());
                if !*http10 {
                    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                }
                out.extend_from_slice(b"\r\n");
                written(stream, &out).await
            }
            Self::H2(session) => {
                let response = h2_head(head.status, &headers).ok_or(io::ErrorKind::InvalidData)?;
                session
                    .write_response_header(Box::new(response), false)
                    .map_err(io::Error::other)
            }
        }
    }

    async fn data(&mut self, data: Bytes) -> io::Result<()> {
        match self {
            _ if data.is_empty() => Ok(()),
            Self::H1 {
                stream,
                http10: true,
            } => written(stream, &data).await,
            Self::H1 {
                stream,
                http10: false,
            } => written(stream, Frame::raw(&data).chunked()).await,
            Self::H2(session) => session
                .write_body(data, false)
                .await
                .map_err(io::Error::other),
        }
    }

    /// The whole answer is written.
    async fn end(&mut self) -> io::Result<()> {
        match self {
            Self::H1 { stream, http10 } => {
                if !*http10 {
                    written(stream, b"0\r\n\r\n").await?;
                }
                AsyncWriteExt::shutdown(stream).await
            }
            Self::H2(session) => session.finish().map_err(io::Error::other),
        }
    }

    /// The answer broke off: no last chunk, and a reset over HTTP/2.
    fn cut(&mut self) {
        if let Self::H2(session) = self {
            session.shutdown_with_reason(h2::Reason::CANCEL);
        }
    }

    async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        match self {
            Self::H1 { stream, .. } => {
                written(stream, &answer.to_http1_close()).await?;
                AsyncWriteExt::shutdown(stream).await
            }
            Self::H2(session) => {
                let response =
                    h2_head(answer.status, &answer.headers).ok_or(io::ErrorKind::InvalidData)?;
                session
                    .write_response_header(Box::new(response), false)
                    .map_err(io::Error::other)?;
                self.data(answer.body.clone()).await?;
                Box::pin(self.end()).await
            }
        }
    }
}

async fn written(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn status_line(status: StatusCode) -> String {
    format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    )
}

fn h2_head(status: StatusCode, headers: &[(HeaderName, HeaderValue)]) -> Option<ResponseHeader> {
    let mut response = ResponseHeader::build(status, Some(headers.len())).ok()?;
    for (name, value) in headers {
        response.append_header(name, value).ok()?;
    }
    Some(response)
}
