//! An HTTP/2 client on the h2 crate.

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::soon;

#[derive(Clone)]
pub(crate) struct H2 {
    send: SendRequest<Bytes>,
}

impl H2 {
    pub(crate) async fn connect<S>(io: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::over(io, h2::client::Builder::new()).await
    }

    /// As [`H2::connect`], with settings.
    pub(crate) async fn over<S>(io: S, builder: h2::client::Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = builder.handshake::<_, Bytes>(io);
        let (send, connection) = soon("h2 handshake", handshake).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send }
    }

    /// Sends a request with a body in pieces; the response with its body still to come.
    pub(crate) async fn send(
        &mut self,
        request: Request<()>,
        body: &[Bytes],
    ) -> Result<Response<RecvStream>, h2::Error> {
        let mut ready = soon("h2 ready", self.send.clone().ready()).await?;
        let (response, mut stream) = ready.send_request(request, body.is_empty())?;
        let rest = body.iter().map(Bytes::len).sum::<usize>();
        let mut rest = bytes::BytesMut::with_capacity(rest);
        for piece in body {
            rest.extend_from_slice(piece);
        }
        let mut rest = rest.freeze();
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx));
            let room = soon("h2 window", capacity).await.expect("still wanted");
            let now = rest.split_to(room?.min(rest.len()));
            stream.send_data(now, rest.is_empty())?;
        }
        soon("h2 response", response).await
    }

    /// Sends a request and reads all of the response.
    pub(crate) async fn request(
        &mut self,
        request: Request<()>,
        body: &[Bytes],
    ) -> Result<(http::response::Parts, Vec<u8>, Option<HeaderMap>), h2::Error> {
        let (head, mut stream) = self.send(request, body).await?.into_parts();
        let mut whole = Vec::new();
        while let Some(data) = soon("h2 data", stream.data()).await {
            let data = data?;
            let _ = stream.flow_control().release_capacity(data.len());
            whole.extend_from_slice(&data);
        }
        let trailers = soon("h2 trailers", stream.trailers()).await?;
        Ok((head, whole, trailers))
    }
}

/// A GET of `target` on host `localhost`.
pub(crate) fn get(target: &str) -> Request<()> {
    request("GET", target)
}

pub(crate) fn request(method: &str, target: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://localhost{target}"))
        .body(())
        .unwrap()
}
