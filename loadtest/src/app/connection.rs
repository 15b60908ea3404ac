//! One connection of the publisher: raw HTTP/1.1, one request each.
//!
//! | request | answer |
//! |---|---|
//! | `GET /stats` | counters as JSON |
//! | `POST /kill` | cuts every stream with a reset |
//! | `POST /burst?n=100` | publishes so many events at once |
//! | `GET` of any other path | that path's events |

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::broadcast::error::{RecvError, TryRecvError},
};

use super::{
    IdStyle, Options,
    feed::{Feeds, Reader},
    pacer::Waker,
};
use crate::payload::{self, Stamp};

/// Longest request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Events waiting are written together up to this size.
const WRITE_BYTES: usize = 64 * 1024;
/// Largest burst.
const BURST_MAX: u64 = 10_000_000;

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Serves one connection to its end.
pub async fn serve(mut stream: TcpStream, feeds: Arc<Feeds>, options: Options, pacer: Waker) {
    // An error here means that the client is gone; there is nobody to tell.
    let _ = stream.set_nodelay(true);
    let Some((method, target)) = request(&mut stream).await else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let answer = match (method.as_str(), path) {
        ("GET", "/stats") => {
            let stats = serde_json::to_string(&feeds.stats()).unwrap_or_default();
            answer("200 OK", &stats)
        }
        ("POST", "/kill") => {
            feeds.kill();
            answer("204 No Content", "")
        }
        ("POST", "/burst") => match query.strip_prefix("n=").map(str::parse::<u64>) {
            Some(Ok(count)) if count <= BURST_MAX => {
                pacer.burst(count);
                answer("204 No Content", "")
            }
            _ => answer("400 Bad Request", "write POST /burst?n=100"),
        },
        ("GET", _) => match feeds.join(&target) {
            Some(reader) => return publish(stream, reader, &feeds, options).await,
            None => answer("503 Service Unavailable", "too many paths"),
        },
        _ => answer("405 Method Not Allowed", ""),
    };
    let _ = stream.write_all(&answer).await;
}

/// Method and target of the request; `None` when it is not one.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::with_capacity(1_024);
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Streams events until the client leaves, falls too far behind, or is cut.
async fn publish(mut stream: TcpStream, mut reader: Reader, feeds: &Feeds, options: Options) {
    let mut kills = reader.kills.clone();
    let (mut from_client, mut to_client) = stream.split();
    let cut = tokio::select! {
        _ = kills.changed() => true,
        () = drain(&mut from_client) => false,
        overrun = pump(&mut to_client, &mut reader, options) => {
            if overrun {
                feeds.count_overrun();
            }
            overrun
        }
    };
    if cut {
        // A reset, and no last chunk: the client must see that this is no end.
        let _ = stream.set_zero_linger();
    }
}

/// Reads what the client sends, which means nothing, to learn when it leaves.
async fn drain(from_client: &mut (impl AsyncRead + Unpin)) {
    let mut ignored = [0; 512];
    while matches!(from_client.read(&mut ignored).await, Ok(1..)) {}
}

/// Writes events; true when the reader was overrun.
async fn pump(
    to_client: &mut (impl AsyncWrite + Unpin),
    reader: &mut Reader,
    options: Options,
) -> bool {
    let mut out = STREAM_HEAD.to_vec();
    let mut event = Vec::new();
    let mut number = 0;
    loop {
        if to_client.write_all(&out).await.is_err() {
            return false;
        }
        out.clear();
        let mut next = match reader.events.recv().await {
            Ok(stamp) => Some(stamp),
            Err(RecvError::Closed) => return false,
            Err(RecvError::Lagged(_)) => return true,
        };
        while let Some(stamp) = next {
            number += 1;
            encode(&mut event, stamp, number, options);
            chunk(&mut out, &event);
            if out.len() >= WRITE_BYTES {
                break;
            }
            next = match reader.events.try_recv() {
                Ok(stamp) => Some(stamp),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
                Err(TryRecvError::Lagged(_)) => return true,
            };
        }
    }
}

fn encode(event: &mut Vec<u8>, stamp: Stamp, number: u64, options: Options) {
    event.clear();
    let id = match options.ids {
        IdStyle::PerConnection => Some(number),
        IdStyle::Unique => Some(stamp.seq),
        IdStyle::None => None,
    };
    if let Some(id) = id {
        event.extend_from_slice(b"id: ");
        payload::push_decimal(event, id);
        event.push(b'\n');
    }
    event.extend_from_slice(b"data: ");
    payload::encode(event, stamp, options.size);
    event.extend_from_slice(b"\n\n");
}

fn chunk(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}
