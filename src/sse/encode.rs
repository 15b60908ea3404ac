//! stub until the wire lands
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Range;

/// An encoded event, framed once for HTTP/1.1.
#[derive(Debug, Clone)]
pub struct Frame {
    wire: Bytes,
    payload: Range<usize>,
}
impl Frame {
    /// raw
    #[must_use]
    pub fn raw(payload: &[u8]) -> Self {
        let mut b = BytesMut::new();
        b.put_slice(format!("{:x}\r\n", payload.len()).as_bytes());
        let s = b.len();
        b.put_slice(payload);
        let e = b.len();
        b.put_slice(b"\r\n");
        Self {
            wire: b.freeze(),
            payload: s..e,
        }
    }
    /// event
    #[must_use]
    pub fn event(id: Option<&[u8]>, name: &[u8], data: &[u8]) -> Self {
        let mut b = Vec::new();
        if let Some(id) = id {
            b.extend_from_slice(b"id: ");
            b.extend_from_slice(id);
            b.push(b'\n');
        }
        if !name.is_empty() {
            b.extend_from_slice(b"event: ");
            b.extend_from_slice(name);
            b.push(b'\n');
        }
        for l in data.split(|c| *c == b'\n') {
            b.extend_from_slice(b"data: ");
            b.extend_from_slice(l);
            b.push(b'\n');
        }
        b.push(b'\n');
        Self::raw(&b)
    }
    /// chunked
    #[must_use]
    pub fn chunked(&self) -> &Bytes {
        &self.wire
    }
    /// payload
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.wire.slice(self.payload.clone())
    }
}
