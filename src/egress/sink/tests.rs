use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ::h2::{Reason, RecvStream, client, server};
use futures_util::FutureExt as _;
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    clock::Millis,
    config::testing::limits,
    egress::{
        h2::{H2Io, budget::Budget},
        testing::Flag,
    },
};

/// A socket that notes what is asked of it.
#[derive(Default)]
struct Noted(AtomicBool);

impl ClientSocket for Noted {
    fn reset_on_close(&self, reset: bool) {
        self.0.store(reset, Ordering::Relaxed);
    }
}

impl Noted {
    fn resets(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn push(sink: &mut Sink, bytes: Bytes) {
    let mut bytes = bytes;
    poll_fn(|cx| sink.poll_push(cx, &mut bytes)).await.unwrap();
}

/// Polls once.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

// --- HTTP/2 ------------------------------------------------------------------------------------

type Answered = tokio::task::JoinHandle<Result<Response<RecvStream>, ::h2::Error>>;

/// The server's side of a connection. It moves only when it is polled.
struct Server {
    driver: server::Connection<H2Io, Bytes>,
    shared: Arc<Connection>,
}

impl Server {
    /// Of a client that is at the other end of `near`.
    async fn of(near: DuplexStream) -> Self {
        let budget = Budget::new(&limits(), Millis(0));
        let (shared, io) = Connection::new(Box::new(near), &[], budget);
        let mut handshake = std::pin::pin!(server::Builder::new().handshake(io));
        let driver = poll_fn(|cx| {
            let polled = handshake.as_mut().poll(cx);
            shared.flush(cx);
            polled
        });
        let driver = driver.await.unwrap();
        let shared = Arc::new(shared);
        Self { driver, shared }
    }

    /// A turn of the connection's task in which requests come.
    async fn turn(&mut self) -> Vec<server::SendResponse<Bytes>> {
        poll_fn(|cx| {
            let mut taken = Vec::new();
            while let Poll::Ready(Some(accepted)) = self.driver.poll_accept(cx) {
                taken.push(accepted.unwrap().1);
            }
            self.shared.flush(cx);
            if taken.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(taken)
            }
        })
        .await
    }

    /// One step of the driver, as the connection's task makes it.
    async fn accept(&mut self) -> Option<server::SendResponse<Bytes>> {
        poll_fn(|cx| {
            let polled = self.driver.poll_accept(cx);
            self.shared.flush(cx);
            polled
        })
        .await
        .map(|accepted| accepted.unwrap().1)
    }
}

/// One request over a pipe of so many bytes: the server's side, its stream with the head queued, and
/// the answer as the client will see it.
async fn h2_pair(window: u32) -> (Server, Sink, Answered) {
    let (near, far) = duplex(1 << 20);
    let answered = tokio::spawn(async move {
        let mut builder = client::Builder::new();
        builder.initial_window_size(window);
        let (send, connection) = builder.handshake::<_, Bytes>(far).await?;
        tokio::spawn(connection);
        let mut send = send.ready().await?;
        let (answer, _) = send.send_request(Request::new(()), true)?;
        answer.await
    });
    let mut server = Server::of(near).await;
    let mut respond = server.accept().await.unwrap();
    let half = respond.send_response(Response::new(()), true).unwrap();
    let sink = Sink::H2(H2Sink::new(half, server.shared.clone(), false));
    (server, sink, answered)
}

/// However many requests come at once, so many are taken before others have their turn: the shard has
/// seen them before the next come.
#[tokio::test]
async fn requests_that_come_at_once_are_taken_by_turns() {
    let (near, far) = duplex(1 << 20);
    let asked = tokio::spawn(async move {
        let (mut send, connection) = client::handshake(far).await.unwrap();
        let requests: Vec<_> = (0..40)
            .map(|_| send.send_request(Request::new(()), true).unwrap())
            .collect();
        let _ended = connection.await;
        requests.len()
    });
    let mut server = Server::of(near).await;
    let underway = [(); 2].map(|()| Underway::new(server.shared.clone()));
    // What the handshake has read is a turn more, once.
    let mut taken = server.turn().await;
    assert_eq!(taken.len(), 32);
    for request in underway {
        assert!(server.turn().now_or_never().is_none(), "some are underway");
        drop(request);
    }
    taken.extend(server.turn().await);
    assert_eq!(taken.len(), 40);
    drop(server);
    assert_eq!(asked.await.unwrap(), 40);
}

/// The body that the client gets, and why it was reset, if it was.
async fn rest(answered: Answered) -> (Vec<u8>, Option<Reason>) {
    let mut body = answered.await.unwrap().unwrap().into_body();
    let mut read = Vec::new();
    loop {
        match body.data().await {
            Some(Ok(data)) => read.extend_from_slice(&data),
            Some(Err(error)) => return (read, error.reason()),
            None => return (read, None),
        }
    }
}

#[tokio::test]
async fn everything_before_the_end_reaches_an_h2_client() {
    for kind in [EndKind::Cut, EndKind::Complete] {
        let (mut server, mut sink, answered) = h2_pair(65_535).await;
        // The connection is not polled meanwhile: the head waits in the crate, and all else for it.
        push(&mut sink, Bytes::from_static(b"one")).await;
        let mut two = Bytes::from_static(b"two");
        assert!(
            now(|cx| sink.poll_push(cx, &mut two)).is_none(),
            "one part may wait"
        );
        let driver = tokio::spawn(async move { while server.accept().await.is_some() {} });
        push(&mut sink, two).await;
        poll_fn(|cx| sink.poll_end(cx, kind)).await;
        drop(sink);
        let (read, end) = rest(answered).await;
        assert_eq!(read, b"onetwo", "{kind:?}");
        let expected = (kind == EndKind::Cut).then_some(Reason::CANCEL);
        assert_eq!(end, expected, "{kind:?}");
        driver.abort();
    }
}

#[tokio::test]
async fn what_is_whole_is_not_cut_for_having_been_taken_slowly() {
    let (mut server, mut sink, answered) = h2_pair(65_535).await;
    push(&mut sink, Bytes::from_static(b"one")).await;
    // The head leaves, and then nothing moves.
    assert!(server.accept().now_or_never().is_none());
    assert!(now(|cx| sink.poll_end(cx, EndKind::Complete)).is_some());
    drop(sink);
    let driver = tokio::spawn(async move { while server.accept().await.is_some() {} });
    assert_eq!(rest(answered).await, (b"one".to_vec(), None));
    driver.abort();
}

#[tokio::test]
async fn an_end_waits_for_the_head_and_for_the_window() {
    for kind in [EndKind::Cut, EndKind::Complete] {
        let (mut server, mut sink, answered) = h2_pair(0).await;
        push(&mut sink, Bytes::from_static(b"one")).await;
        assert!(now(|cx| sink.poll_end(cx, kind)).is_none(), "no head");
        let driver = tokio::spawn(async move { while server.accept().await.is_some() {} });
        let mut body = answered.await.unwrap().unwrap().into_body();
        assert!(now(|cx| sink.poll_end(cx, kind)).is_none(), "no window");
        // The client makes room, byte by byte, as far as it is asked to: it has read nothing yet.
        drop(sink);
        let reason = body.data().await.unwrap().unwrap_err().reason();
        assert_eq!(reason, Some(Reason::CANCEL), "{kind:?}: given up");
        driver.abort();
    }
}

#[tokio::test]
async fn an_h2_client_that_leaves_wakes_whoever_has_pushed() {
    let (mut server, mut sink, answered) = h2_pair(65_535).await;
    let woken = Flag::woken();
    let waker = woken.take();
    let mut bytes = Bytes::from_static(b"one");
    let pushed = sink.poll_push(&mut Context::from_waker(&waker), &mut bytes);
    assert!(pushed.is_ready());
    let driver = tokio::spawn(async move { while server.accept().await.is_some() {} });
    let body = answered.await.unwrap().unwrap().into_body();
    assert!(!woken.is_woken(), "it is there");
    drop(body);
    let seen = async {
        while !woken.is_woken() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), seen).await.unwrap();
    assert!(now(|cx| sink.poll_gone(cx)).is_some());
    driver.abort();
}

/// Buffers that are still in use.
#[derive(Clone, Default)]
struct Held(Arc<AtomicUsize>);

struct Buffer(Vec<u8>, Held);

impl Held {
    fn bytes(&self, len: usize) -> Bytes {
        self.0.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Buffer(vec![b'x'; len], self.clone()))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.1.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_h2_stream_keeps_no_buffer_that_it_took_a_part_of() {
    for (window, len) in [(65_535, 256 * 1024), (100, 101), (0, 10)] {
        let (_server, mut sink, _answered) = h2_pair(window).await;
        let held = Held::default();
        let mut batch = held.bytes(len);
        let _taken = now(|cx| sink.poll_push(cx, &mut batch));
        drop(batch);
        assert_eq!(held.count(), 0, "{len} bytes, a window of {window}");
    }
}

// --- HTTP/1 ------------------------------------------------------------------------------------

/// A client's socket and our side of it.
async fn h1_pair(http10: bool) -> (TcpStream, Downstream, Arc<Noted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let stream: pingora::protocols::l4::stream::Stream = accepted.unwrap().0.into();
    let socket = Arc::new(Noted::default());
    let downstream = Downstream::h1(Box::new(stream), http10, socket.clone());
    (client.unwrap(), downstream, socket)
}

#[tokio::test]
async fn what_a_client_still_sends_does_not_cost_it_our_answer() {
    let (mut client, downstream, _) = h1_pair(false).await;
    client.write_all(&[b'x'; 10_000]).await.unwrap();
    let answer = Answer::text(StatusCode::SERVICE_UNAVAILABLE, "later");
    let (mut sink, head) = downstream.answer(&answer).unwrap();
    push(&mut sink, head).await;
    push(&mut sink, answer.body.clone()).await;
    let ended = tokio::spawn(sink.end(EndKind::Complete, LINGER));
    // It sends on after our FIN, and only then reads. A closed socket would have reset it.
    let mut text = String::new();
    assert_ne!(client.peek(&mut [0; 1]).await.unwrap(), 0);
    client.write_all(&[b'x'; 10_000]).await.unwrap();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("\r\n\r\nlater\n"), "{text}");
    assert!(!ended.is_finished(), "the client has not closed");
    drop(client);
    ended.await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_not_humoured() {
    let (mut client, mut downstream, _) = h1_pair(false).await;
    let sent = tokio::spawn(async move {
        let mut sent = 0;
        while let Ok(n) = client.write(&[b'x'; 4_096]).await {
            sent += n;
        }
        sent
    });
    // Bit by bit, with a poll for each bit: what it may send is counted over all of them.
    let gone = poll_fn(|cx| downstream.poll_gone(cx));
    timeout(Duration::from_secs(30), gone).await.unwrap();
    drop(downstream);
    assert!(sent.await.unwrap() > 64 * 1024);
}

#[tokio::test]
async fn only_the_whole_end_of_an_http10_stream_closes_without_reset() {
    let begun = async |kind| {
        let (mut client, downstream, socket) = h1_pair(true).await;
        let (mut sink, head) = downstream.stream(StatusCode::OK, []).unwrap();
        assert!(socket.resets(), "from the start: we may fall over");
        push(&mut sink, head.freeze()).await;
        push(&mut sink, Bytes::from_static(b"data: a\n\n")).await;
        let ended = sink.end(kind, LINGER);
        let read = async {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            drop(client);
            text
        };
        let ((), text) = tokio::join!(ended, read);
        (text, socket.resets())
    };
    for (kind, resets) in [(EndKind::Complete, false), (EndKind::Cut, true)] {
        let (text, reset) = begun(kind).await;
        assert!(text.ends_with("\r\n\r\ndata: a\n\n"), "{text}");
        assert_eq!(reset, resets, "{kind:?}");
    }
}

#[tokio::test]
async fn an_http11_stream_is_cut_by_its_missing_last_chunk() {
    let (mut client, downstream, socket) = h1_pair(false).await;
    let (mut sink, head) = downstream.stream(StatusCode::OK, []).unwrap();
    push(&mut sink, head.freeze()).await;
    let framed = opening::framed(b"data: a\n\n", sink.framing());
    push(&mut sink, framed).await;
    let mut text = String::new();
    let ended = sink.end(EndKind::Cut, LINGER);
    let read = async {
        client.read_to_string(&mut text).await.unwrap();
        drop(client);
    };
    tokio::join!(ended, read);
    assert!(text.ends_with("\r\n9\r\ndata: a\n\n\r\n"), "{text}");
    assert!(
        !socket.resets(),
        "a reset could destroy what the client has not read"
    );
}
