//! An incremental reader of `text/event-stream` that keeps 16 bytes per subscriber between events.
//!
//! State is on the heap only while an event is split over two reads. Lines end at LF, CR or CRLF;
//! fields and dispatch follow the HTML standard, section 9.2.6. Data is not kept but checked on the
//! spot, since a load test compares it with what the publisher must have sent.

use memchr::memchr2;
use serde::{Deserialize, Serialize};

use crate::payload::{self, Stamp};

/// Longest line; a longer one is reported as torn and skipped.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// The name (of an event or at the head of a comment) with which Sidestream announces a gap.
const GAP_NAME: &[u8] = b"sidestream-gap";

/// What events are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Events of `loadtest app`: checked byte for byte, sequence and latency from the data.
    Payload,
    /// Any events whose `id:` ends in a number that counts up by one (`epoch-sequence`).
    Ids,
    /// Any events: deliveries are counted, nothing is checked.
    Any,
}

/// One thing found in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A dispatched event.
    Message {
        /// Its stamp, under [`Expect::Payload`].
        stamp: Option<Stamp>,
        /// The number at the end of its id.
        id: Option<u64>,
    },
    /// A gap that the server announced.
    Gap {
        /// The number at the end of its id.
        id: Option<u64>,
    },
    /// An event that is not what the publisher wrote.
    Torn,
}

/// Reader of one subscriber's stream.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The unfinished event, if one is split over reads.
    split: Option<Box<Split>>,
    /// The last read ended in CR: an LF that follows belongs to it.
    after_cr: bool,
}

/// What is known of an unfinished event.
#[derive(Debug, Default)]
struct Split {
    /// The unfinished line.
    line: Vec<u8>,
    /// The lines before it.
    block: Block,
}

/// The lines of one event, as far as they matter.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    data: Data,
    id: Option<u64>,
    gap: bool,
}

/// What the data lines of a block amount to.
#[derive(Debug, Default, PartialEq, Eq)]
enum Data {
    #[default]
    None,
    Stamp(Stamp),
    Unread,
    Torn,
}

impl Scanner {
    /// Takes the next bytes of the stream and reports what they complete.
    pub fn feed(&mut self, mut bytes: &[u8], expect: Expect, mut found: impl FnMut(Found)) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        let Split {
            line: mut part,
            mut block,
        } = self.split.take().map(|split| *split).unwrap_or_default();
        while let Some((line, end, rest)) = split_line(bytes) {
            if part.is_empty() {
                block.line(line, expect, &mut found);
            } else {
                part.extend_from_slice(line);
                block.line(&part, expect, &mut found);
                part.clear();
            }
            self.after_cr = end == b'\r' && rest.is_empty();
            bytes = if end == b'\r' {
                rest.strip_prefix(b"\n").unwrap_or(rest)
            } else {
                rest
            };
        }
        part.extend_from_slice(bytes);
        if part.len() > LINE_BYTES_MAX {
            block.data = Data::Torn;
            part = Vec::new();
        }
        if !part.is_empty() || block != Block::default() {
            self.split = Some(Box::new(Split { line: part, block }));
        }
    }

    /// True between two events, when what comes next means the same on every stream.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.split.is_none() && !self.after_cr
    }

    /// True when the stream stopped inside an event.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.split.is_some()
    }
}

/// The first line, the byte that ended it, and what follows that byte.
fn split_line(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let at = memchr2(b'\n', b'\r', bytes)?;
    let (line, rest) = bytes.split_at_checked(at)?;
    let (&end, rest) = rest.split_first()?;
    Some((line, end, rest))
}

impl Block {
    /// Takes one whole line.
    fn line(&mut self, line: &[u8], expect: Expect, found: &mut impl FnMut(Found)) {
        if line.is_empty() {
            return std::mem::take(self).dispatch(found);
        }
        let at = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(at).unwrap_or((line, b""));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.data(value, expect),
            b"id" => self.id = trailing_number(value),
            b"event" => self.gap = value == GAP_NAME,
            // A comment is complete in itself and belongs to no event.
            b"" if value.starts_with(GAP_NAME) => found(Found::Gap { id: None }),
            _ => {}
        }
    }

    fn data(&mut self, value: &[u8], expect: Expect) {
        self.data = match (&self.data, expect) {
            (Data::None, Expect::Payload) if !self.gap => {
                payload::decode(value).map_or(Data::Torn, Data::Stamp)
            }
            // Our publisher writes one data line; whoever makes two of it has torn the event.
            (Data::Stamp(_) | Data::Torn, Expect::Payload) => Data::Torn,
            _ => Data::Unread,
        };
    }

    fn dispatch(self, found: &mut impl FnMut(Found)) {
        match self.data {
            // Without data nothing is dispatched: an id-only block, or a lone blank line.
            Data::None => {}
            _ if self.gap => found(Found::Gap { id: self.id }),
            Data::Stamp(stamp) => found(Found::Message {
                stamp: Some(stamp),
                id: self.id,
            }),
            Data::Unread => found(Found::Message {
                stamp: None,
                id: self.id,
            }),
            Data::Torn => found(Found::Torn),
        }
    }
}

/// The number that an id ends in: `7` in `7`, `7` in `k3f-7`.
fn trailing_number(id: &[u8]) -> Option<u64> {
    let digits = id
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = id.get(id.len().checked_sub(digits)?..)?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(chunks: &[&[u8]], expect: Expect) -> (Vec<Found>, Scanner) {
        let mut scanner = Scanner::default();
        let mut all = Vec::new();
        for chunk in chunks {
            scanner.feed(chunk, expect, |found| all.push(found));
        }
        (all, scanner)
    }

    fn stamp(seq: u64) -> Stamp {
        Stamp {
            seq,
            sent_ns: 5,
            channel: 0,
        }
    }

    fn payload(seq: u64) -> String {
        let mut data = Vec::new();
        payload::encode(&mut data, stamp(seq), 120);
        String::from_utf8(data).unwrap()
    }

    fn message(seq: u64, id: Option<u64>) -> Found {
        Found::Message {
            stamp: Some(stamp(seq)),
            id,
        }
    }

    #[test]
    fn blocks_become_findings() {
        let one = payload(1);
        let cases: Vec<(String, Vec<Found>)> = vec![
            (format!("id: 4\ndata: {one}\n\n"), vec![message(1, Some(4))]),
            (
                format!("id:ab-4\r\ndata:{one}\r\n\r\n"),
                vec![message(1, Some(4))],
            ),
            (format!("data: {one}\rid: x\r\r"), vec![message(1, None)]),
            (format!(":hb\ndata: {one}\n\n"), vec![message(1, None)]),
            ("retry: 3000\n: hello\n\n".into(), vec![]),
            ("id: 7\n\n".into(), vec![]),
            ("data: other\n\n".into(), vec![Found::Torn]),
            (format!("data: {one}\ndata: {one}\n\n"), vec![Found::Torn]),
            (format!("data: {}\n\n", &one[..50]), vec![Found::Torn]),
            (
                "event: sidestream-gap\nid: e-9\ndata: {}\n\n".into(),
                vec![Found::Gap { id: Some(9) }],
            ),
            (
                "id: e-9\ndata: {}\nevent: sidestream-gap\n\n".into(),
                vec![Found::Gap { id: Some(9) }],
            ),
            (
                ": sidestream-gap {\"reason\":\"cut\"}\n".into(),
                vec![Found::Gap { id: None }],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                scan(&[text.as_bytes()], Expect::Payload).0,
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn foreign_events_are_counted_by_id() {
        let (found, _) = scan(&[b"id: 8\ndata: a\ndata: b\n\ndata: c\n\n"], Expect::Ids);
        let expected = [Some(8), None].map(|id| Found::Message { stamp: None, id });
        assert_eq!(found, expected);
    }

    #[test]
    fn an_idle_stream_holds_no_heap_memory() {
        let (_, scanner) = scan(
            &[format!("data: {}\n\n:hb\n:hb\n", payload(1)).as_bytes()],
            Expect::Payload,
        );
        assert!(!scanner.is_mid_event());
        assert!(size_of::<Scanner>() <= 16);
    }

    #[test]
    fn an_endless_line_is_torn_and_forgotten() {
        let chunk = vec![b'x'; LINE_BYTES_MAX / 2 + 1];
        let (found, scanner) = scan(&[b"data: ", &chunk, &chunk, b"\n\n"], Expect::Any);
        assert_eq!(found, [Found::Torn]);
        assert!(!scanner.is_mid_event());
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_findings(
            pieces in prop::collection::vec(prop_oneof![
                Just("\n".to_owned()), Just("\r".to_owned()), Just("\r\n".to_owned()),
                Just(":hb\n".to_owned()), Just("event: sidestream-gap\n".to_owned()),
                Just("junk".to_owned()), Just("data".to_owned()),
                (0_u64..50).prop_map(|n| format!("id: e-{n}\n")),
                (0_u64..50).prop_map(|n| format!("data: {}\n\n", payload(n))),
                (0_u64..50).prop_map(|n| format!("data: {}\r\n\r\n", payload(n))),
            ], 0..30),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let text = pieces.concat();
            let whole = scan(&[text.as_bytes()], Expect::Payload).0;
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(scan(&chunks, Expect::Payload).0, whole);
        }
    }
}
