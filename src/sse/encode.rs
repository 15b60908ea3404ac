//! The one encoder: the frame that every subscriber of an event shares.

use bytes::{BufMut, Bytes, BytesMut};

/// Digits of the longest chunk size: a `usize` in hexadecimal.
const CHUNK_SIZE_DIGITS_MAX: usize = size_of::<usize>() * 2;

/// Bytes made once and written to every subscriber: for HTTP/1.1 with the chunk's head and tail
/// around them, for HTTP/2 and HTTP/1.0 without. One allocation holds both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Size line, payload, CRLF. Empty when the payload is: an empty chunk would end the body.
    wire: Bytes,
    /// Bytes of the size line.
    head_len: usize,
}

impl Frame {
    /// Frames an event: an `event` line where there is something to say, one `data` line per line of
    /// `data`, an `id` line if there is one, and the blank line. Lines end with LF.
    ///
    /// `data` may hold any line end: what the app wrote as a line break stays one, and none can
    /// start a field. A `name` with a line break, or an `id` with one or with NUL, cannot be
    /// written; the parser yields none, and should one come from elsewhere its field is left out.
    #[must_use]
    pub fn event(id: Option<&[u8]>, name: &[u8], data: &[u8]) -> Self {
        let id = id.filter(|value| is_writable_id(value));
        let name = Some(name).filter(|value| !value.is_empty() && is_writable_line(value));
        Self::build(encoded_len(id, name, data), |buf| {
            write_event(buf, id, name, data)
        })
    }

    /// Frames bytes that are already in the event stream's form: an opening block, several events.
    #[must_use]
    pub fn raw(payload: &[u8]) -> Self {
        Self::build(payload.len(), |buf| buf.put_slice(payload))
    }

    /// Frames a comment: one line with one line feed. A blank line behind it would make some clients
    /// hand out an empty event. Line breaks in the text become spaces.
    #[must_use]
    pub fn comment(text: &str) -> Self {
        Self::build(text.len().saturating_add(2), |buf| {
            buf.put_u8(b':');
            for byte in text.bytes() {
                buf.put_u8(if is_line_break(byte) { b' ' } else { byte });
            }
            buf.put_u8(b'\n');
        })
    }

    /// The payload as one HTTP/1.1 chunk; nothing for an empty payload.
    #[must_use]
    pub fn chunked(&self) -> &Bytes {
        &self.wire
    }

    /// The payload alone; shares the allocation.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        let end = self.wire.len().saturating_sub(2).max(self.head_len);
        self.wire.slice(self.head_len..end)
    }

    /// Builds the frame in one allocation of its exact size. `write` appends `len` bytes.
    fn build(len: usize, write: impl FnOnce(&mut BytesMut)) -> Self {
        if len == 0 {
            return Self {
                wire: Bytes::new(),
                head_len: 0,
            };
        }
        let (digits, digits_len) = hex(len);
        let head_len = digits_len.saturating_add(2);
        let mut wire = BytesMut::with_capacity(head_len.saturating_add(len).saturating_add(2));
        wire.extend(digits.iter().rev().take(digits_len).rev());
        wire.put_slice(b"\r\n");
        write(&mut wire);
        wire.put_slice(b"\r\n");
        debug_assert_eq!(
            wire.len(),
            head_len + len + 2,
            "the length was computed before"
        );
        Self {
            wire: wire.freeze(),
            head_len,
        }
    }
}

/// A number in lower-case hexadecimal, at the end of the array, and how many digits it has.
fn hex(number: usize) -> ([u8; CHUNK_SIZE_DIGITS_MAX], usize) {
    let mut digits = [b'0'; CHUNK_SIZE_DIGITS_MAX];
    let mut rest = number;
    let mut len = 0;
    for slot in digits.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        let digit = u8::try_from(rest % 16).unwrap_or(0);
        *slot = if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        };
        rest /= 16;
        len += 1;
    }
    (digits, len)
}

/// The id comes last: some clients count it as soon as its line is there, against the standard, and
/// would skip an event that was cut behind it.
fn write_event(buf: &mut BytesMut, id: Option<&[u8]>, name: Option<&[u8]>, data: &[u8]) {
    if let Some(name) = name {
        write_field(buf, b"event: ", name);
    }
    for line in Lines::of(data) {
        write_field(buf, b"data: ", line);
    }
    if let Some(id) = id {
        write_field(buf, b"id: ", id);
    }
    buf.put_u8(b'\n');
}

fn write_field(buf: &mut BytesMut, label: &[u8], value: &[u8]) {
    buf.put_slice(label);
    buf.put_slice(value);
    buf.put_u8(b'\n');
}

/// Bytes of an event as [`Frame::event`] writes it.
#[must_use]
pub fn encoded_len(id: Option<&[u8]>, name: Option<&[u8]>, data: &[u8]) -> usize {
    let field_len = |label: &[u8], value: &[u8]| label.len() + value.len() + 1;
    let id_len = id.map_or(0, |value| field_len(b"id: ", value));
    let name_len = name.map_or(0, |value| field_len(b"event: ", value));
    let data_len: usize = Lines::of(data).map(|line| field_len(b"data: ", line)).sum();
    id_len + name_len + data_len + 1
}

/// The lines of a value, ended by CR, LF or CRLF; at least one.
struct Lines<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Lines<'a> {
    fn of(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
            return Some(rest);
        };
        let (line, ending) = rest.split_at(end);
        self.rest = match ending {
            [b'\r', b'\n', behind @ ..] | [_, behind @ ..] => Some(behind),
            [] => None,
        };
        Some(line)
    }
}

fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether a value fits on one line.
fn is_writable_line(value: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', value).is_none()
}

/// Whether an id reaches the client: with NUL it would ignore the field.
fn is_writable_id(value: &[u8]) -> bool {
    memchr::memchr3(b'\n', b'\r', 0, value).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: Option<&[u8]>, name: &[u8], data: &[u8], expected: &[u8]) {
        let frame = Frame::event(id, name, data);
        assert_eq!(frame.payload(), expected);
        let chunk = [
            format!("{:x}\r\n", expected.len()).as_bytes(),
            expected,
            b"\r\n",
        ]
        .concat();
        assert_eq!(frame.chunked(), &chunk);
    }

    #[test]
    fn events_are_written_in_the_canonical_form() {
        check(None, b"", b"x", b"data: x\n\n");
        check(None, b"", b"", b"data: \n\n");
        check(
            Some(b"7"),
            b"tick",
            b"x",
            b"event: tick\ndata: x\nid: 7\n\n",
        );
        check(Some(b""), b"", b"x", b"data: x\nid: \n\n");
        check(None, b"", b" x", b"data:  x\n\n");
        check(None, b"", b"\xff", b"data: \xff\n\n");
    }

    #[test]
    fn no_line_end_in_data_can_start_a_field() {
        check(None, b"", b"a\nid: 1", b"data: a\ndata: id: 1\n\n");
        check(None, b"", b"a\rid: 1", b"data: a\ndata: id: 1\n\n");
        check(None, b"", b"a\r\nid: 1", b"data: a\ndata: id: 1\n\n");
        check(None, b"", b"a\n\rb", b"data: a\ndata: \ndata: b\n\n");
        check(None, b"", b"\n", b"data: \ndata: \n\n");
        check(None, b"", b"a\r", b"data: a\ndata: \n\n");
    }

    #[test]
    fn a_field_that_cannot_be_written_is_left_out() {
        for bad in [&b"a\nb"[..], b"a\rb", b"\n", b"x\r\ndata: y"] {
            check(Some(bad), b"n", b"x", b"event: n\ndata: x\n\n");
            check(Some(b"1"), bad, b"x", b"data: x\nid: 1\n\n");
        }
        check(Some(b"a\0"), b"n\0", b"x", b"event: n\0\ndata: x\n\n");
    }

    #[test]
    fn a_comment_is_one_line_with_one_line_feed() {
        assert_eq!(Frame::comment("hb").payload(), &b":hb\n"[..]);
        assert_eq!(Frame::comment("hb").chunked(), &b"4\r\n:hb\n\r\n"[..]);
        assert_eq!(Frame::comment("").payload(), &b":\n"[..]);
        assert_eq!(
            Frame::comment("a\n\r\ndata: x").payload(),
            &b":a   data: x\n"[..]
        );
    }

    #[test]
    fn an_empty_frame_does_not_end_the_body() {
        let frame = Frame::raw(b"");
        assert!(frame.chunked().is_empty());
        assert!(frame.payload().is_empty());
    }

    #[test]
    fn a_frame_is_one_allocation_of_its_exact_size() {
        for len in [1, 9, 10, 15, 16, 255, 256, 4_095, 4_096, 70_000] {
            let payload = vec![b'x'; len];
            let frame = Frame::raw(&payload);
            assert_eq!(frame.payload(), payload);
            assert_eq!(frame.chunked().len(), format!("{len:x}").len() + len + 4);
            let inner = frame.payload();
            drop(inner);
            let wire = BytesMut::from(frame.wire);
            assert_eq!(wire.capacity(), wire.len());
        }
    }
}
