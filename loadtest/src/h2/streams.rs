//! The protocol side of one HTTP/2 connection, without I/O: requests out, frames in, answers due.

use super::{
    frame::{self, Frames, Malformed, Piece, flag, kind},
    hpack,
};
use crate::{
    plan::Plan,
    roster::{COMPLETED, Reason, Roster},
};

/// Our window per stream; credit is given back when half of it is used.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Our window per connection, beside the 65,535 it starts with.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// Longest header block of an answer.
const HEADER_BLOCK_BYTES_MAX: usize = 64 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
const SETTINGS_ENABLE_PUSH: u16 = 2;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;

/// The streams of one connection. Stream `2k + 1` is the subscriber at `place + k`.
pub struct Streams {
    place: usize,
    streams: Vec<Stream>,
    unanswered: u32,
    open: u32,
    asked_ns: u64,
    frames: Frames,
    /// Bytes not yet given back to the connection's window.
    used_bytes: u32,
    /// A header block in progress: stream, END_STREAM, bytes.
    block: Option<Box<HeaderBlock>>,
    goaway: Option<u32>,
}

/// One stream; 8 bytes.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Bytes not yet given back to its window.
    used_bytes: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asked,
    Open,
    Over,
}

struct HeaderBlock {
    stream: u32,
    end_stream: bool,
    bytes: Vec<u8>,
}

impl Streams {
    /// `count` streams for the subscribers from `place` on, asked for at `asked_ns`.
    #[must_use]
    pub fn new(place: usize, count: u32, asked_ns: u64) -> Self {
        let stream = Stream {
            used_bytes: 0,
            phase: Phase::Asked,
        };
        Self {
            place,
            streams: vec![stream; count as usize],
            unanswered: count,
            open: count,
            asked_ns,
            frames: Frames::default(),
            used_bytes: 0,
            block: None,
            goaway: None,
        }
    }

    /// Appends the preface, our settings and one request per stream; `first` is the number of the
    /// first subscriber.
    pub fn requests(&self, plan: &Plan, first: u32, roster: &Roster, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        let settings = [
            // No dynamic table: answers are then readable without one.
            (SETTINGS_HEADER_TABLE_SIZE, 0),
            (SETTINGS_ENABLE_PUSH, 0),
            (SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
        ];
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&u32::to_be_bytes(value));
        }
        frame::write(out, kind::SETTINGS, 0, 0, &payload);
        window_update(out, 0, CONNECTION_WINDOW_BYTES);

        let target = &plan.h2_target;
        let mut block = Vec::new();
        let mut id = 1;
        for (subscriber, place) in (first..).zip(self.place..self.place + self.streams.len()) {
            block.clear();
            let path = plan.path(target, subscriber);
            hpack::request(&mut block, target.tls, &path, &target.authority());
            for header in &plan.headers {
                hpack::literal(&mut block, &header.name, &header.value);
            }
            if let Some(id) = roster.last_id(place) {
                hpack::literal(&mut block, "last-event-id", id);
            }
            frame::write(
                out,
                kind::HEADERS,
                flag::END_STREAM | flag::END_HEADERS,
                id,
                &block,
            );
            id += 2;
        }
    }

    /// True when every stream has its answer, good or bad.
    #[must_use]
    pub fn all_answered(&self) -> bool {
        self.unanswered == 0
    }

    /// True when no stream is left.
    #[must_use]
    pub fn all_over(&self) -> bool {
        self.open == 0
    }

    /// The reason of a GOAWAY, if one came.
    #[must_use]
    pub fn goaway(&self) -> Option<Reason> {
        self.goaway
            .map(|code| format!("GOAWAY {}", error_name(code)).into())
    }

    /// Takes bytes of the connection; appends to `out` what has to be answered.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        roster: &mut Roster,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let mut frames = std::mem::take(&mut self.frames);
        let mut broken = None;
        let fed = frames.feed(bytes, |piece| {
            if broken.is_none() {
                broken = self.take(piece, now_ns, roster, out).err();
            }
        });
        self.frames = frames;
        match (broken, fed) {
            (Some(reason), _) => Err(reason),
            (None, Err(Malformed)) => Err("malformed frame".into()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn take(
        &mut self,
        piece: Piece<'_>,
        now_ns: u64,
        roster: &mut Roster,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        if let Some(block) = &self.block
            && !piece.continues(block.stream)
        {
            return Err("frame inside a header block".into());
        }
        match piece {
            Piece::Data { stream, bytes } => {
                let (place, _) = self.stream(stream)?;
                // Whatever comes after a refusal is not the stream that was asked for.
                if roster.is_streaming(place) {
                    roster.feed(place, bytes, now_ns);
                }
            }
            Piece::DataEnd {
                stream,
                flow_bytes,
                end_stream,
            } => {
                self.give_back(stream, flow_bytes, end_stream, out)?;
                if end_stream {
                    self.end(stream, &COMPLETED.into(), roster)?;
                }
            }
            Piece::Frame {
                kind,
                flags,
                stream,
                payload,
            } => match kind {
                kind::HEADERS => {
                    let bytes = header_fragment(flags, payload).ok_or("malformed HEADERS")?;
                    let end_stream = flags & flag::END_STREAM != 0;
                    self.block = Some(Box::new(HeaderBlock {
                        stream,
                        end_stream,
                        bytes: bytes.to_vec(),
                    }));
                    self.head_if_whole(flags, now_ns, roster)?;
                }
                kind::CONTINUATION => {
                    let block = self.block.as_mut().ok_or("stray CONTINUATION")?;
                    block.bytes.extend_from_slice(payload);
                    if block.bytes.len() > HEADER_BLOCK_BYTES_MAX {
                        return Err("endless header block".into());
                    }
                    self.head_if_whole(flags, now_ns, roster)?;
                }
                kind::RST_STREAM => {
                    let code = be_u32(payload, 0).ok_or("malformed RST_STREAM")?;
                    let reason = format!("RST_STREAM {}", error_name(code)).into();
                    self.end(stream, &reason, roster)?;
                }
                kind::SETTINGS if flags & flag::ACK == 0 => {
                    frame::write(out, kind::SETTINGS, flag::ACK, 0, b"");
                }
                kind::PING if flags & flag::ACK == 0 => {
                    frame::write(out, kind::PING, flag::ACK, 0, payload);
                }
                kind::GOAWAY => self.goaway = be_u32(payload, 4),
                // WINDOW_UPDATE and acknowledgements need nothing, unknown types are ignored.
                _ => {}
            },
        }
        Ok(())
    }

    fn head_if_whole(&mut self, flags: u8, now_ns: u64, roster: &mut Roster) -> Result<(), Reason> {
        if flags & flag::END_HEADERS == 0 {
            return Ok(());
        }
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        let HeaderBlock {
            stream: id,
            end_stream,
            bytes,
        } = *block;
        let asked_ns = self.asked_ns;
        let (place, stream) = self.stream(id)?;
        if stream.phase == Phase::Asked {
            match hpack::status(&bytes) {
                Some(100..200) => return Ok(()),
                Some(200) if !hpack::is_event_stream(&bytes) => {
                    self.end(id, &"200 without an event stream".into(), roster)?;
                }
                Some(200) => {
                    stream.phase = Phase::Open;
                    self.unanswered -= 1;
                    roster.opened(place, now_ns - asked_ns);
                }
                Some(status) => self.end(id, &format!("status {status}").into(), roster)?,
                None => self.end(id, &"unreadable status".into(), roster)?,
            }
        }
        if end_stream {
            self.end(id, &COMPLETED.into(), roster)?;
        }
        Ok(())
    }

    /// A stream is over; the first reason stands.
    fn end(&mut self, id: u32, reason: &Reason, roster: &mut Roster) -> Result<(), Reason> {
        let (place, stream) = self.stream(id)?;
        let before = std::mem::replace(&mut stream.phase, Phase::Over);
        self.unanswered -= u32::from(before == Phase::Asked);
        self.open -= u32::from(before != Phase::Over);
        roster.over(place, reason);
        Ok(())
    }

    /// Flow control: returns credit in large steps, long before a window closes. (So whether a server
    /// keeps to its windows cannot be told here.)
    fn give_back(
        &mut self,
        id: u32,
        bytes: u32,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        self.used_bytes += bytes;
        if self.used_bytes > CONNECTION_WINDOW_BYTES / 2 {
            window_update(out, 0, std::mem::take(&mut self.used_bytes));
        }
        let (_, stream) = self.stream(id)?;
        stream.used_bytes += bytes;
        if stream.used_bytes > STREAM_WINDOW_BYTES / 2 && !end_stream {
            window_update(out, id, std::mem::take(&mut stream.used_bytes));
        }
        Ok(())
    }

    fn stream(&mut self, id: u32) -> Result<(usize, &mut Stream), Reason> {
        let at = (id / 2) as usize;
        let stream = self.streams.get_mut(at).filter(|_| id % 2 == 1);
        stream
            .map(|stream| (self.place + at, stream))
            .ok_or("frame for an unknown stream".into())
    }
}

/// The header block fragment of a HEADERS payload: without padding and priority.
fn header_fragment(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    let (padding, rest) = if flags & flag::PADDED == 0 {
        (0, payload)
    } else {
        let (&padding, rest) = payload.split_first()?;
        (usize::from(padding), rest)
    };
    let rest = if flags & flag::PRIORITY == 0 {
        rest
    } else {
        rest.get(5..)?
    };
    rest.get(..rest.len().checked_sub(padding)?)
}

fn window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    frame::write(out, kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

fn be_u32(payload: &[u8], at: usize) -> Option<u32> {
    payload
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// Name of an error code (RFC 9113, section 7).
fn error_name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES
        .get(code as usize)
        .map_or_else(|| format!("code {code}"), ToString::to_string)
}

#[cfg(test)]
mod tests;
