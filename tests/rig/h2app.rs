//! An app that speaks HTTP/2 and asks the test: each request waits until the test says what is
//! answered, and when.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server};
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::soon;

/// Requests, and orders to a connection, that may wait.
const WAITING_MAX: usize = 1024;

/// What a test says to a whole connection.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// GOAWAY without error: open streams go on, and no more are taken.
    Leave,
    /// GOAWAY with this error, and the end.
    Abort(Reason),
    /// The connection closes without a word.
    Vanish,
}

/// The app. It ends with the test.
pub(crate) struct H2App {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Mutex<mpsc::Receiver<Exchange>>,
    task: JoinHandle<()>,
}

impl Drop for H2App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request that the app has got.
pub(crate) struct Exchange {
    pub(crate) head: Parts,
    pub(crate) body: RecvStream,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    respond: server::SendResponse<Bytes>,
    orders: mpsc::Sender<Order>,
}

/// An answer that has begun.
pub(crate) struct Answer {
    stream: SendStream<Bytes>,
    /// The request's, so that dropping it says nothing.
    _body: RecvStream,
    orders: mpsc::Sender<Order>,
}

impl H2App {
    /// By prior knowledge, on a port of the kernel's choice.
    pub(crate) async fn start() -> Self {
        Self::with(server::Builder::new(), None).await
    }

    /// As [`H2App::start`], with settings of the app's own.
    pub(crate) async fn with_settings(settings: server::Builder) -> Self {
        Self::with(settings, None).await
    }

    /// Over TLS with the certificate and key in `folder`, picking from `alpn`.
    pub(crate) async fn over_tls(folder: &Path, alpn: &[&str]) -> Self {
        let acceptor = acceptor(folder, alpn);
        Self::with(server::Builder::new(), Some(acceptor)).await
    }

    async fn with(settings: server::Builder, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel(WAITING_MAX);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let index = counter.fetch_add(1, Ordering::SeqCst);
                let (settings, sender, tls) = (settings.clone(), sender.clone(), tls.clone());
                serving.spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, settings, index, sender).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, settings, index, sender).await;
                    }
                });
            }
        });
        Self {
            address,
            connections,
            asked: Mutex::new(asked),
            task,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The next request.
    pub(crate) async fn asked(&self) -> Exchange {
        let mut asked = self.asked.lock().await;
        soon("a request to the app", asked.recv()).await.unwrap()
    }

    /// The next request, answered with the head of an event stream.
    pub(crate) async fn opens(&self) -> Answer {
        self.asked().await.open()
    }

    /// Nobody asks.
    pub(crate) async fn is_unasked(&self) -> bool {
        self.asked.lock().await.is_empty()
    }
}

async fn serve<S>(
    stream: S,
    settings: server::Builder,
    index: usize,
    sender: mpsc::Sender<Exchange>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(mut connection) = settings.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let (orders, mut ordered) = mpsc::channel(WAITING_MAX);
    loop {
        tokio::select! {
            request = connection.accept() => match request {
                Some(Ok((request, respond))) => {
                    let (head, body) = request.into_parts();
                    let orders = orders.clone();
                    let exchange = Exchange { head, body, connection: index, respond, orders };
                    let _gone = sender.send(exchange).await;
                }
                Some(Err(_)) | None => return,
            },
            Some(order) = ordered.recv() => match order {
                Order::Leave => connection.graceful_shutdown(),
                Order::Abort(reason) => connection.abrupt_shutdown(reason),
                Order::Vanish => return,
            },
        }
    }
}

/// For connections over TLS.
pub(crate) fn acceptor(folder: &Path, alpn: &[&str]) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl Exchange {
    /// A field of the request.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap())
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    /// Answers with the head of an event stream.
    pub(crate) fn open(self) -> Answer {
        self.begin(StatusCode::OK, &[("content-type", "text/event-stream")])
    }

    /// Answers with a head, behind which a body comes.
    pub(crate) fn begin(mut self, status: StatusCode, fields: &[(&'static str, &str)]) -> Answer {
        let stream = self.respond.send_response(head(status, fields), false);
        Answer {
            stream: stream.unwrap(),
            _body: self.body,
            orders: self.orders,
        }
    }

    /// Answers with a head and nothing else.
    pub(crate) fn end(mut self, status: StatusCode, fields: &[(&'static str, &str)]) {
        let _whole = self
            .respond
            .send_response(head(status, fields), true)
            .unwrap();
    }

    /// Sends a head of status 1xx.
    pub(crate) fn inform(&mut self, status: StatusCode) {
        self.respond.send_informational(head(status, &[])).unwrap();
    }

    /// RST_STREAM instead of a head.
    pub(crate) fn refuse(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// All of the request's body.
    pub(crate) async fn whole_body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(data) = soon("body", self.body.data()).await {
            let data = data.unwrap();
            self.body
                .flow_control()
                .release_capacity(data.len())
                .unwrap();
            whole.extend_from_slice(&data);
        }
        whole
    }

    /// Waits until the request was given up.
    pub(crate) async fn cancelled(&mut self) -> Reason {
        let reset = std::future::poll_fn(|cx| self.respond.poll_reset(cx));
        soon("the request is cancelled", reset).await.unwrap()
    }
}

fn head(status: StatusCode, fields: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    for (name, value) in fields {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

impl Answer {
    /// Sends all of it, as the windows allow.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let room = soon("a window", self.room(bytes.len())).await.unwrap();
            let piece = bytes.split_to(room.min(bytes.len()));
            self.stream.send_data(piece, false).unwrap();
        }
    }

    async fn room(&mut self, wanted: usize) -> Option<usize> {
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() == 0 {
            std::future::poll_fn(|cx| self.stream.poll_capacity(cx))
                .await?
                .ok()?;
        }
        Some(self.stream.capacity())
    }

    /// Sends for as long as the other side takes something within a moment; how much that was.
    pub(crate) async fn fill(&mut self) -> usize {
        let piece = Bytes::from(vec![b'x'; 16 * 1024]);
        let mut sent = 0;
        let moment = std::time::Duration::from_millis(500);
        while let Ok(Some(room)) = tokio::time::timeout(moment, self.room(piece.len())).await {
            let now = piece.slice(..room.min(piece.len()));
            sent += now.len();
            self.stream.send_data(now, false).unwrap();
        }
        sent
    }

    /// An event with this data.
    pub(crate) async fn event(&mut self, data: &str) {
        self.send(format!("data: {data}\n\n")).await;
    }

    /// END_STREAM: the app's own end.
    pub(crate) fn finish(mut self) {
        self.stream.send_data(Bytes::new(), true).unwrap();
    }

    /// Trailers, and the end with them.
    pub(crate) fn finish_with(mut self, name: &'static str, value: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        self.stream.send_trailers(trailers).unwrap();
    }

    /// RST_STREAM.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// GOAWAY on its connection, whose streams may end.
    pub(crate) async fn leave(&self) {
        self.orders.send(Order::Leave).await.unwrap();
    }

    /// GOAWAY with an error, and the end of its connection.
    pub(crate) async fn abort(&self) {
        self.orders
            .send(Order::Abort(Reason::INTERNAL_ERROR))
            .await
            .unwrap();
    }

    /// Closes its connection without a word.
    pub(crate) async fn vanish(&self) {
        self.orders.send(Order::Vanish).await.unwrap();
    }

    /// Waits until Sidestream gave the stream up; how it said so.
    pub(crate) async fn cancelled(&mut self) -> Reason {
        let reset = std::future::poll_fn(|cx| self.stream.poll_reset(cx));
        soon("the stream is cancelled", reset).await.unwrap()
    }
}
