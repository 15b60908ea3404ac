//! What an EventSource keeps for its next connect: the id of the last event, and the told time.

use std::time::Duration;

use memchr::memchr2;

/// Longest line that is looked at; ids and times are far shorter.
const LINE_BYTES_MAX: usize = 1_024;

/// Reads a stream beside the scanner, for subscribers that come back.
#[derive(Debug, Default)]
pub struct Resume {
    line: Vec<u8>,
    /// The last read ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The id of the event that is not complete yet.
    pending: Option<Box<str>>,
    last_id: Option<Box<str>>,
    retry: Option<Duration>,
}

impl Resume {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some((before, after)) =
            memchr2(b'\n', b'\r', bytes).and_then(|at| bytes.split_at_checked(at))
        {
            if self.line.is_empty() {
                self.take(before);
            } else {
                self.keep(before);
                let line = std::mem::take(&mut self.line);
                self.take(&line);
            }
            self.after_cr = after == b"\r";
            bytes = after
                .strip_prefix(b"\r\n")
                .or_else(|| after.get(1..))
                .unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// A new connection: an event that was cut short never was.
    pub fn begin(&mut self) {
        self.line.clear();
        self.after_cr = false;
        self.pending = None;
    }

    /// The value of `Last-Event-ID`.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// The time of the last `retry:`.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn keep(&mut self, part: &[u8]) {
        // One byte over the limit is enough to see that it is.
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len());
        self.line.extend(part.iter().take(room));
    }

    fn take(&mut self, line: &[u8]) {
        if line.is_empty() {
            if let Some(id) = self.pending.take() {
                self.last_id = Some(id);
            }
            return;
        }
        let value = |name: &[u8]| {
            let rest = line.strip_prefix(name)?;
            let text = std::str::from_utf8(rest.strip_prefix(b" ").unwrap_or(rest)).ok()?;
            (line.len() <= LINE_BYTES_MAX).then_some(text)
        };
        if let Some(id) = value(b"id:").filter(|id| !id.contains('\0')) {
            self.pending = Some(id.into());
        } else if let Some(millis) = value(b"retry:").and_then(|text| text.parse::<u32>().ok()) {
            self.retry = Some(Duration::from_millis(millis.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> (Option<String>, Option<u64>) {
        let mut resume = Resume::default();
        for chunk in chunks {
            resume.feed(chunk.as_bytes());
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        (
            resume.last_id().map(str::to_owned),
            resume.retry().map(millis),
        )
    }

    #[test]
    fn an_id_counts_once_its_event_is_complete() {
        let cases: [(&[&str], Option<&str>, Option<u64>); 8] = [
            (&["retry: 1500\n: hello\n"], None, Some(1_500)),
            (&["id: e-1\ndata: x\n\n"], Some("e-1"), None),
            (
                &["id: e-1\ndata: x\n\nid: e-2\ndata: y\n"],
                Some("e-1"),
                None,
            ),
            (&["id: e-", "1\nda", "ta: x\n", "\n"], Some("e-1"), None),
            (&["id: e-1\r\ndata: x\r", "\n\r", "\n"], Some("e-1"), None),
            (&["id: e-1\r\ndata: x\r", "\nid: e-2\r\n"], None, None),
            (
                &["id: e-1\n\nid\u{0}: 2\nid: a\u{0}b\n\n"],
                Some("e-1"),
                None,
            ),
            (&["id: e-1\n\nid:\n\n", "retry: soon\n"], None, None),
        ];
        for (chunks, id, retry) in cases {
            assert_eq!(read(chunks), (id.map(str::to_owned), retry), "{chunks:?}");
        }
    }

    #[test]
    fn a_cut_event_leaves_no_trace() {
        let mut resume = Resume::default();
        resume.feed(b"id: e-1\n\nid: e-2\ndata: half");
        resume.begin();
        resume.feed(b"\n\ndata: x\n\n");
        assert_eq!(resume.last_id(), Some("e-1"));
    }
}
