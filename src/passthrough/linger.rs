//! Closing a connection in a way that lets the client read our last words.

use std::{io, time::Duration};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// How long, and for how many bytes, a client may go on sending after we said our last.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 2 << 20;
const READ_BYTES: usize = 4 * 1024;

/// Ends our side of the stream (over TLS with a close_notify). The client may be gone, or may never
/// read what is still on its way; neither is waited for.
pub async fn end(stream: &mut Stream) {
    let _ = timeout(LINGER, AsyncWriteExt::shutdown(stream)).await;
}

/// Ends our side of the stream and takes what the client still sends, for a while. Closing a socket
/// with unread bytes resets the connection, and the client would lose our answer.
pub async fn end_and_drain(stream: &mut Stream) {
    let goodbye = async {
        AsyncWriteExt::shutdown(stream).await?;
        let mut unwanted = BytesMut::with_capacity(READ_BYTES);
        let mut received = 0;
        while received < LINGER_BYTES_MAX {
            unwanted.clear();
            match stream.read_buf(&mut unwanted).await? {
                0 => break,
                n => received += n,
            }
        }
        io::Result::Ok(())
    };
    // Neither an error nor the deadline changes anything: the connection ends here.
    let _ = timeout(LINGER, goodbye).await;
}
