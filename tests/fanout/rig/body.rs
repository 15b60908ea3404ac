//! The body of an answer, part by part, and how it ended.

use h2::RecvStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::soon;
use crate::base::client::Client;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Whole: last chunk, END_STREAM, content length reached.
    Complete,
    /// Broken off.
    Cut,
}

/// The rest of an answer, over either protocol.
pub(crate) enum Body {
    H1(H1Body),
    H2(RecvStream),
}

/// Over HTTP/1, as its head frames it.
pub(crate) struct H1Body {
    pub(crate) client: Client<Box<dyn Duplex>>,
    pub(crate) framing: Framing,
}

/// What ends it.
pub(crate) enum Framing {
    Chunked,
    Length(usize),
    Close,
}

impl Body {
    /// More of the body, or how it ended.
    pub(crate) async fn part(&mut self) -> Result<Vec<u8>, End> {
        match self {
            Self::H1(body) => body.sip(64 << 10).await,
            Self::H2(stream) => match soon("h2 data", stream.data()).await {
                Some(Ok(data)) => {
                    let _ = stream.flow_control().release_capacity(data.len());
                    Ok(data.to_vec())
                }
                Some(Err(_)) => Err(End::Cut),
                None => Err(End::Complete),
            },
        }
    }
}

impl H1Body {
    /// More of the body, for which at most `max` bytes at a time are read, or how it ended.
    pub(crate) async fn sip(&mut self, max: usize) -> Result<Vec<u8>, End> {
        loop {
            if let Some(part) = self.take()? {
                return Ok(part);
            }
            match (self.client.try_sip(max).await, &self.framing) {
                // Without framing, only a reset tells half a body from a whole one.
                (Ok(0), Framing::Close) => return Err(End::Complete),
                (Ok(0) | Err(_), _) => return Err(End::Cut),
                (Ok(_), _) => {}
            }
        }
    }

    /// What is there of the body.
    fn take(&mut self) -> Result<Option<Vec<u8>>, End> {
        let part = match &mut self.framing {
            Framing::Length(0) => return Err(End::Complete),
            Framing::Length(left) => {
                let part = self.client.take_read();
                *left = left
                    .checked_sub(part.len())
                    .expect("no more than its length");
                part
            }
            Framing::Close => self.client.take_read(),
            Framing::Chunked => {
                let Some(chunk) = self.client.read_chunk() else {
                    return Ok(None);
                };
                if chunk.is_empty() {
                    let rest = self.client.take_read();
                    assert!(rest.is_empty(), "nothing follows the last chunk");
                    return Err(End::Complete);
                }
                chunk
            }
        };
        Ok(Some(part).filter(|part| !part.is_empty()))
    }
}
