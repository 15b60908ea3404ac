//! Reads a publisher's `/stats`.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    app::feed::Stats,
    failure::{Doing, Failure, Result},
    target::Target,
};

/// Longest answer taken.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches the counters from `target` (plain HTTP).
///
/// # Errors
/// When the publisher does not answer with its counters.
pub async fn fetch(target: &Target) -> Result<Stats> {
    serde_json::from_slice(&body(target).await?).doing(what(target))
}

/// Fetches what `target` answers (plain HTTP).
///
/// # Errors
/// When there is no answer, or its status is not 200.
pub async fn body(target: &Target) -> Result<Vec<u8>> {
    tokio::time::timeout(TIMEOUT, get(target))
        .await
        .doing(what(target))?
        .doing(what(target))
}

fn what(target: &Target) -> String {
    format!("read http://{}{}", target.authority(), target.path)
}

async fn get(target: &Target) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(target.resolve()?).await?;
    let (path, authority) = (&target.path, target.authority());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let line = answer
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        return Err(Failure::new(format!(
            "answered `{}`",
            String::from_utf8_lossy(line)
        )));
    }
    let at = memchr::memmem::find(&answer, b"\r\n\r\n");
    Ok(at
        .and_then(|at| answer.get(at + 4..))
        .unwrap_or_default()
        .to_vec())
}
