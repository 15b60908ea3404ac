//! A client without a socket: it takes everything at once and says no more than its request.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use sidestream::egress::sink::ClientSocket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an HTTP/2 client takes, by its connection's window, until it would have to grant more.
pub(crate) const WINDOW_BYTES: usize = WINDOW as usize;
const WINDOW: u32 = (1 << 31) - 1;
/// A connection's window at first, RFC 9113, section 6.9.2.
const FIRST_WINDOW: u32 = (1 << 16) - 1;

/// What Sidestream writes to.
#[derive(Debug)]
pub(crate) struct Peer;

/// All that an HTTP/2 client sends: its preface, windows that are never used up, and so many requests.
pub(crate) fn requests(streams: usize) -> Vec<u8> {
    const SETTINGS: u8 = 0x4;
    const WINDOW_UPDATE: u8 = 0x8;
    const HEADERS: u8 = 0x1;
    const END_STREAM_AND_HEADERS: u8 = 0x5;
    const INITIAL_WINDOW_SIZE: u8 = 0x4;
    // RFC 7541, appendix A: GET, http, /; and an `:authority` of one letter.
    const FIELDS: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let setting = [&[0, INITIAL_WINDOW_SIZE][..], &WINDOW.to_be_bytes()].concat();
    frame(&mut bytes, SETTINGS, 0, 0, &setting);
    let more = WINDOW - FIRST_WINDOW;
    frame(&mut bytes, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    for id in (1..).step_by(2).take(streams) {
        frame(&mut bytes, HEADERS, END_STREAM_AND_HEADERS, id, &FIELDS);
    }
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [.., len] = payload.len().to_be_bytes();
    bytes.extend([0, 0, len, kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ClientSocket for Peer {
    fn reset_on_close(&self, _reset: bool) {}
}

#[async_trait]
impl Shutdown for Peer {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Peer {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Peer {}

impl GetTimingDigest for Peer {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Peer {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Peer {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Peer {}
