//! Ordinary requests beside the streams, at times that do not depend on the answers.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
};

use super::file;
use crate::{
    clock,
    h1::{
        body::{Body, End},
        head::{self, Parsed},
    },
    samples::Samples,
    target::Target,
};

const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What became of the requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answers {
    /// Requests that were due.
    pub requests: u64,
    /// Those without a 200, by reason.
    pub failures: BTreeMap<String, u64>,
    /// From when a request was due to the end of its answer.
    pub latency: Samples,
}

/// Clients at work; dropping them ends them.
pub struct Clients {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    answers: Arc<Mutex<Answers>>,
}

/// Where one client is to ask, and when.
struct Client {
    address: SocketAddr,
    request: Vec<u8>,
    first_ns: u64,
    interval_ns: u64,
}

impl Clients {
    /// Starts them: together they ask `target` as often as `what` says.
    ///
    /// # Errors
    /// When the host of the target is not to be found.
    pub fn start(what: file::Requests, target: &Target) -> crate::failure::Result<Self> {
        let address = target.resolve()?;
        let (path, authority) = (&target.path, target.authority());
        let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes();
        let each = Duration::from_secs_f64(1.0 / what.per_second);
        let now_ns = clock::now_ns();
        let answers = Arc::new(Mutex::new(Answers::default()));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for number in 0..what.connections {
            let client = Client {
                address,
                request: request.clone(),
                first_ns: now_ns + clock::nanos(each) * u64::from(number),
                interval_ns: clock::nanos(each) * u64::from(what.connections),
            };
            tasks.spawn(ask(client, stopped.clone(), Arc::clone(&answers)));
        }
        Ok(Self {
            tasks,
            stop,
            answers,
        })
    }

    /// Ends them, each with the answer that it waits for: one that never comes is a failure.
    pub async fn stop(self) -> Answers {
        self.stop.send_replace(true);
        self.tasks.join_all().await;
        std::mem::take(&mut *self.answers.lock())
    }
}

/// One client: a request at each of its times, on a connection that is kept while it can be.
async fn ask(client: Client, mut stopped: watch::Receiver<bool>, answers: Arc<Mutex<Answers>>) {
    let mut kept = None;
    let mut due_ns = client.first_ns;
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(clock::until(due_ns)) => {}
        }
        let asked = tokio::time::timeout(ANSWER_MAX, exchange(&client, &mut kept)).await;
        let failure = match asked {
            Ok(Ok(200)) => None,
            Ok(Ok(status)) => Some(format!("status {status}")),
            Ok(Err(error)) => Some(error.kind().to_string()),
            Err(_) => Some("timeout".to_owned()),
        };
        let mut answers = answers.lock();
        answers.requests += 1;
        match failure {
            None => answers
                .latency
                .record_ns(clock::now_ns().saturating_sub(due_ns)),
            Some(reason) => {
                kept = None;
                *answers.failures.entry(reason).or_default() += 1;
            }
        }
        due_ns += client.interval_ns;
    }
}

/// One request and its whole answer; the connection stays in `kept` if it can be used again.
async fn exchange(client: &Client, kept: &mut Option<TcpStream>) -> std::io::Result<u16> {
    let (mut stream, reused) = match kept.take() {
        Some(stream) => (stream, true),
        None => (connect(client).await?, false),
    };
    match answer(client, &mut stream).await {
        Ok((status, again)) => {
            *kept = again.then_some(stream);
            Ok(status)
        }
        // A server may close an idle connection at any time: that is no failure of the request.
        Err(_) if reused => {
            let mut stream = connect(client).await?;
            let (status, again) = answer(client, &mut stream).await?;
            *kept = again.then_some(stream);
            Ok(status)
        }
        Err(error) => Err(error),
    }
}

async fn connect(client: &Client) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(client.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Status of the answer, and whether its end was known without the end of the connection.
async fn answer(client: &Client, stream: &mut TcpStream) -> std::io::Result<(u16, bool)> {
    stream.write_all(&client.request).await?;
    let mut bytes = Vec::with_capacity(2_048);
    let head = loop {
        match head::parse(&bytes) {
            Parsed::Head(head) if head.status >= 200 => break head,
            Parsed::Head(head) => drop(bytes.drain(..head.len)),
            Parsed::Incomplete => {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            Parsed::Bad => return Err(std::io::ErrorKind::InvalidData.into()),
        }
    };
    bytes.drain(..head.len);
    let mut body = Body::new(head.framing);
    loop {
        match body.feed(&bytes, |_| {}) {
            Some(End::Complete) => return Ok((head.status, true)),
            Some(End::Malformed) => return Err(std::io::ErrorKind::InvalidData.into()),
            None => {}
        }
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return if body.ends_by_close() {
                Ok((head.status, false))
            } else {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}
