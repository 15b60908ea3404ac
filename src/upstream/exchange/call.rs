//! One exchange on a shared HTTP/2 connection: a stream of it. Dropping it cancels the stream
//! (RST_STREAM) and leaves the others alone.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{
    HeaderName, Request, Uri, Version,
    header::{self, CONTENT_LENGTH, HOST},
    response,
    uri::{PathAndQuery, Scheme},
};
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Cut, CutKind, OpenError, Part, RequestBody, trunk::Trunk};

/// Fields that HTTP/2 has no place for (RFC 9113, section 8.2.2). `Host` goes as `:authority`, and
/// we take no trailers, so that `TE` has nothing to say.
const NOT_IN_HTTP2: [HeaderName; 8] = [
    HOST,
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request that goes out on whatever connection has room for it.
#[derive(Debug)]
pub(super) struct Order {
    request: Request<()>,
    body: RequestBody,
}

impl Order {
    /// The same request as HTTP/2 writes it (RFC 9113, section 8.3.1).
    ///
    /// # Errors
    /// When a part of it cannot stand there; the text names the part, and shows no value.
    pub(super) fn new(
        head: &RequestHeader,
        scheme: Scheme,
        body: RequestBody,
    ) -> Result<Self, String> {
        let host = head
            .headers
            .get(HOST)
            .map_or(&b""[..], |host| host.as_bytes());
        if host.contains(&b'@') {
            return Err("the host names a user".to_owned());
        }
        let target = PathAndQuery::try_from(head.raw_path())
            .ok()
            .filter(|target| target.as_str().as_bytes() == head.raw_path())
            .ok_or("the target cannot go by HTTP/2")?;
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(host)
            .path_and_query(target)
            .build()
            .map_err(|_| "the host is no authority")?;
        let mut request = Request::new(());
        *request.method_mut() = head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers.clone();
        for name in &NOT_IN_HTTP2 {
            request.headers_mut().remove(name);
        }
        Ok(Self { request, body })
    }

    /// Sends it on `trunk`.
    ///
    /// # Errors
    /// The connection takes no request any more.
    pub(super) fn put_on(
        &self,
        trunk: Arc<Trunk>,
        mut requests: SendRequest<Bytes>,
    ) -> Result<(Box<Call>, Option<SendStream<Bytes>>), h2::Error> {
        let is_whole = self.body == RequestBody::None;
        let (answer, upload) = requests.send_request(self.request.clone(), is_whole)?;
        let call = Call {
            answer: Answer::Awaited(answer),
            piece: Bytes::new(),
            trunk,
        };
        Ok((Box::new(call), (!is_whole).then_some(upload)))
    }
}

/// A request that is with the app, and its answer.
pub(super) struct Call {
    answer: Answer,
    /// What the last read gave.
    piece: Bytes,
    /// Behind the stream, so that the last of a connection is cancelled before that closes.
    trunk: Arc<Trunk>,
}

enum Answer {
    Awaited(ResponseFuture),
    Comes(RecvStream),
}

impl Call {
    /// The next head. Cancel safe.
    pub(super) async fn heard(&mut self) -> Result<Box<ResponseHeader>, OpenError> {
        poll_fn(|cx| self.poll_heard(cx)).await
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<ResponseHeader>, OpenError>> {
        let Answer::Awaited(answer) = &mut self.answer else {
            let text = "there is one final head".to_owned();
            return Poll::Ready(Err(OpenError::NoHead(text)));
        };
        let no_head = |error: h2::Error| self.trunk.no_head(&error);
        if let Poll::Ready(Some(head)) = answer.poll_informational(cx) {
            let (head, ()) = head.map_err(no_head)?.into_parts();
            return Poll::Ready(Ok(received(head)));
        }
        let (head, body) = ready!(Pin::new(answer).poll(cx))
            .map_err(no_head)?
            .into_parts();
        // The h2 crate holds a body to the first of them alone.
        if head.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
            let text = "it gave its length more than once".to_owned();
            return Poll::Ready(Err(OpenError::NoHead(text)));
        }
        self.answer = Answer::Comes(body);
        Poll::Ready(Ok(received(head)))
    }

    /// The next part of the body. Cancel safe.
    pub(super) async fn read(&mut self) -> Result<Part<'_>, Cut> {
        let Answer::Comes(body) = &mut self.answer else {
            return Err(Cut {
                kind: CutKind::Framing,
                text: "a body comes behind its head".to_owned(),
            });
        };
        match body.data().await {
            // Trailers may follow; they say nothing of an event stream.
            None => Ok(Part::End),
            Some(Ok(data)) => {
                // Room for as much again: whoever does not read on makes this stream wait, and as
                // the connection's window is larger than all of them, no other one.
                let released = body.flow_control().release_capacity(data.len());
                debug_assert!(released.is_ok(), "it was received");
                self.piece = data;
                Ok(Part::Data(&self.piece))
            }
            Some(Err(error)) => Err(self.trunk.cut(&error)),
        }
    }
}

/// A head as HTTP/1.1 would have brought it: a client may get it as it is.
fn received(head: response::Parts) -> Box<ResponseHeader> {
    let mut head = ResponseHeader::from(head);
    head.set_version(Version::HTTP_11);
    Box::new(head)
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, fields: &[(&str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in fields {
            head.append_header((*name).to_owned(), (*value).to_owned())
                .unwrap();
        }
        head
    }

    #[test]
    fn a_request_is_written_as_http2_wants_it() {
        let fields = [
            ("Host", "app.example:8080"),
            ("Connection", "close, X-Hop"),
            ("Keep-Alive", "5"),
            ("Proxy-Connection", "close"),
            ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("TE", "gzip, trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("Cookie", "a=1; b=2"),
            ("Authorization", "Bearer x"),
        ];
        let target = "/a%2f%c3?b=[1]&c={}|^`'&&";
        let order = Order::new(&head(target, &fields), Scheme::HTTPS, RequestBody::None).unwrap();
        let uri = order.request.uri();
        assert_eq!(uri.scheme_str(), Some("https"));
        assert_eq!(uri.authority().unwrap(), "app.example:8080");
        assert_eq!(uri.path_and_query().unwrap(), target, "byte for byte");
        let mut names: Vec<&str> = order
            .request
            .headers()
            .keys()
            .map(HeaderName::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "cookie"]);
    }

    #[test]
    fn what_http2_cannot_say_is_no_request() {
        for (target, host) in [("/a", ""), ("/a", "u:p@app"), ("/a", "a b")] {
            let head = head(target, &[("Host", host)]);
            let order = Order::new(&head, Scheme::HTTP, RequestBody::None);
            assert!(order.is_err(), "{target} {host}");
        }
    }
}
