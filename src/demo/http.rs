//! A small HTTP/1.1 server on pingora's own session type: enough for the demo's app and control
//! port, and no second HTTP stack in the binary.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use pingora::{
    http::ResponseHeader,
    protocols::{Stream, http::ServerSession, l4::stream::Stream as L4Stream},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Connections at once; more wait in the kernel's accept queue.
const CONNECTIONS_MAX: usize = 4_096;
/// Time for a whole request head; also how long a connection may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after a failed `accept` (descriptors run out): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests. An error closes the connection.
pub(super) trait Handler: Send + Sync + 'static {
    /// Answers one request whose head was read.
    fn handle(
        &self,
        session: &mut ServerSession,
    ) -> impl Future<Output = pingora::Result<()>> + Send;
}

/// Serves until dropped. Dropping it closes the listener and every connection at once, wherever
/// they stand: that is how the demo's app "crashes".
pub(super) async fn serve<H: Handler>(listener: TcpListener, handler: Arc<H>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(Box::pin(connection(socket, Arc::clone(&handler))));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection<H: Handler>(socket: TcpStream, handler: Arc<H>) {
    // Small writes that must not wait for one another; without it they still arrive, only later.
    let _ = socket.set_nodelay(true);
    let mut stream: Stream = Box::new(L4Stream::from(socket));
    loop {
        let mut session = ServerSession::new_http1(stream);
        match tokio::time::timeout(HEAD_TIMEOUT, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(_) | Err(_) => return,
        }
        session.set_keepalive(Some(HEAD_TIMEOUT.as_secs()));
        if handler.handle(&mut session).await.is_err() {
            return;
        }
        match session.finish().await {
            Ok(Some(reusable)) => (stream, _) = reusable.into_parts(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Path and query of the request, as sent.
pub(super) fn target(session: &ServerSession) -> (String, String) {
    let uri = &session.req_header().uri;
    (
        uri.path().to_owned(),
        uri.query().unwrap_or_default().to_owned(),
    )
}

/// The value of a request header, if it is there and readable.
pub(super) fn header<'a>(session: &'a ServerSession, name: &str) -> Option<&'a str> {
    session
        .get_header(name)
        .and_then(|value| value.to_str().ok())
}

/// Writes a whole response.
pub(super) async fn respond(
    session: &mut ServerSession,
    status: u16,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(status, Some(headers.len() + 1))?;
    for (name, value) in headers {
        head.insert_header(*name, *value)?;
    }
    head.set_content_length(body.len())?;
    session.write_response_header(Box::new(head)).await?;
    if session.req_header().method == http::Method::HEAD {
        return Ok(());
    }
    session.write_response_body(body, true).await
}

/// The value of a query parameter, percent-decoded; invalid escapes and bytes are kept readable.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode(value))
    })
}

fn percent_decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        decoded.push(match first {
            b'+' => b' ',
            b'%' => match hex_pair(after) {
                Some(value) => {
                    rest = after.get(2..).unwrap_or_default();
                    value
                }
                None => first,
            },
            _ => first,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digits = bytes
        .get(..2)
        .filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_value_is_found_by_name_and_decoded() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(query_value(query, "prompt").as_deref(), expected, "{query}");
        };
        check("", None);
        check("prompt=hi", Some("hi"));
        check("a=1&prompt=two+words%21&prompt=later", Some("two words!"));
        check("prompt", Some(""));
        check("prompt=%C3%BC%E2%82%AC", Some("ü€"));
        check("prompt=100%&x", Some("100%"));
        check("prompt=%zz%4", Some("%zz%4"));
        check("prompt=%ff", Some("\u{fffd}"));
        check("prompts=no", None);
    }
}
