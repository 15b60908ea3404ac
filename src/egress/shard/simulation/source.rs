//! Where the bytes of a simulated client come from.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

use crate::{
    egress::shard::testing::{Body, PipeSocket},
    metrics::labels::Protocol,
};

pub(super) enum Source {
    /// HTTP/1.1, in chunks.
    Chunked(DuplexStream),
    /// HTTP/1.0: bare bytes, and the socket that says whether they are whole.
    Bare(DuplexStream, Arc<PipeSocket>),
    /// HTTP/2: a stream of the connection with this number.
    Stream(Body, usize),
}

impl Source {
    /// Takes at most `max` bytes. Nothing: it is over.
    pub(super) fn poll_read(&mut self, max: usize) -> Poll<Vec<u8>> {
        let pipe = match self {
            Self::Chunked(pipe) | Self::Bare(pipe, _) => pipe,
            Self::Stream(body, _) => return body.poll_read(max).map(Vec::from),
        };
        let mut space = vec![0; max];
        let mut buffer = ReadBuf::new(&mut space);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(pipe)
            .poll_read(&mut context, &mut buffer)
            .map(|read| {
                read.unwrap();
                buffer.filled().to_vec()
            })
    }

    pub(super) const fn is_chunked(&self) -> bool {
        matches!(self, Self::Chunked(_))
    }

    /// Whether the end that came says that it is whole. `None`: the framing of the body does.
    pub(super) fn ends_whole(&self) -> Option<bool> {
        match self {
            Self::Chunked(_) => None,
            Self::Bare(_, socket) => Some(!socket.resets()),
            Self::Stream(body, _) => Some(body.ends_whole()),
        }
    }

    /// The connection that it shares with others.
    pub(super) const fn connection(&self) -> Option<usize> {
        match self {
            Self::Chunked(_) | Self::Bare(..) => None,
            Self::Stream(_, connection) => Some(*connection),
        }
    }

    pub(super) const fn protocol(&self) -> Protocol {
        match self {
            Self::Chunked(_) | Self::Bare(..) => Protocol::H1,
            Self::Stream(..) => Protocol::H2,
        }
    }
}
