//! The way down for an answer, by either protocol.

use std::fmt;

use http::{HeaderMap, StatusCode, header::TRANSFER_ENCODING};
use pingora::{http::ResponseHeader, protocols::http::v1::client::HttpSession as Http1Session};

use super::{Cut, OpenError, Part, call::Call};

/// Heads of status 1xx that may come before the real one.
const INFORMATIONAL_HEADS_MAX: usize = 16;

/// An exchange whose request is with the app. Dropping it gives the exchange up.
pub(super) enum Link {
    /// HTTP/1.1, on a connection of its own, which closes with it.
    Own(Box<Http1Session>),
    /// HTTP/2.
    Shared(Box<Call>),
}

impl Link {
    async fn head(&mut self) -> Result<Box<ResponseHeader>, OpenError> {
        match self {
            Self::Own(session) => {
                session.read_response().await.map_err(OpenError::no_head)?;
                let head = session.resp_header().cloned().map(Box::new);
                head.ok_or_else(|| OpenError::NoHead("it sent nothing".to_owned()))
            }
            Self::Shared(call) => call.heard().await,
        }
    }

    /// The next part of the body. Cancel safe.
    pub(super) async fn read(&mut self) -> Result<Part<'_>, Cut> {
        match self {
            Self::Own(session) => match session.read_body_ref().await {
                Ok(Some(data)) => Ok(Part::Data(data)),
                Ok(None) => Ok(Part::End),
                Err(error) => Err(Cut::from_pingora(&error)),
            },
            Self::Shared(call) => call.read().await,
        }
    }
}

/// A head of an answer, as received.
#[derive(Debug)]
pub enum Heard {
    /// 1xx: another head follows.
    Informational(Box<ResponseHeader>),
    /// The answer's own.
    Final(Box<ResponseHeader>),
}

/// The way down for the answer: first its heads, then its body. Dropping it, and the
/// [`Uplink`](super::Uplink) if there is one, gives the exchange up.
pub struct Downlink {
    link: Link,
    /// Heads of status 1xx so far.
    informational: usize,
}

impl Downlink {
    pub(super) const fn new(link: Link) -> Self {
        Self {
            link,
            informational: 0,
        }
    }

    /// Waits for the next head. Cancel safe: what was read of it is kept.
    ///
    /// # Errors
    /// When the app answers with something that is no HTTP response, or not at all.
    pub async fn heard(&mut self) -> Result<Heard, OpenError> {
        let head = self.link.head().await?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let text = "it switched protocols unasked";
            return Err(OpenError::NoHead(text.to_owned()));
        }
        if head.status.is_informational() {
            self.informational += 1;
            if self.informational > INFORMATIONAL_HEADS_MAX {
                let text = "it sent informational heads without end";
                return Err(OpenError::NoHead(text.to_owned()));
            }
            return Ok(Heard::Informational(head));
        }
        check_coding(&head.headers)?;
        Ok(Heard::Final(head))
    }

    pub(super) fn into_link(self) -> Link {
        self.link
    }
}

impl fmt::Debug for Downlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downlink").finish_non_exhaustive()
    }
}

/// Refuses a transfer coding that pingora would read as a body without framing: bytes that we
/// cannot decode, whose end we could not tell from a cut.
fn check_coding(headers: &HeaderMap) -> Result<(), OpenError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if is_plain {
        return Ok(());
    }
    let text = "it used a transfer coding other than chunked";
    Err(OpenError::NoHead(text.to_owned()))
}
