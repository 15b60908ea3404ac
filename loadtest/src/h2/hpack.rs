//! As much of HPACK (RFC 7541) as a subscriber needs: requests in literals, the status of answers.
//! We announce a dynamic table of size zero, so answers are static entries and literals too.

/// Static table index of `:status`'s first entry (200) and the statuses from there on.
const STATUS_INDEX: usize = 8;
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// Appends `:method GET`, `:scheme` and the other parts of a request.
pub fn request(out: &mut Vec<u8>, https: bool, path: &str, authority: &str) {
    out.extend_from_slice(&[0x82, if https { 0x87 } else { 0x86 }]);
    // Literal without indexing, name from the static table: `:path` is 4, `:authority` is 1,
    // `accept` is 19 (which does not fit into four bits: 15, then 4).
    out.push(0x04);
    string(out, path);
    out.push(0x01);
    string(out, authority);
    out.extend_from_slice(&[0x0f, 19 - 15]);
    string(out, "text/event-stream");
}

/// Appends a header as a literal with a new name, never indexed nor Huffman-coded.
pub fn literal(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x00);
    string(out, name);
    string(out, value);
}

fn string(out: &mut Vec<u8>, text: &str) {
    integer(out, text.len(), 0x7f);
    out.extend_from_slice(text.as_bytes());
}

/// Appends an integer whose prefix has the bits of `mask` (section 5.1).
fn integer(out: &mut Vec<u8>, value: usize, mask: u8) {
    let byte = |value: usize| u8::try_from(value & 0xff).unwrap_or(0);
    if value < usize::from(mask) {
        return out.push(byte(value));
    }
    out.push(mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(byte(rest & 0x7f | 0x80));
        rest >>= 7;
    }
    out.push(byte(rest));
}

/// The status of a response header block; `None` when its first field is not a readable `:status`.
#[must_use]
pub fn status(mut block: &[u8]) -> Option<u16> {
    loop {
        let (&first, rest) = block.split_first()?;
        match first {
            // Dynamic table size update: may stand in front.
            0x20..0x40 => block = take_integer(block, 0x1f)?.1,
            0x80.. => {
                let (index, _) = take_integer(block, 0x7f)?;
                return STATUSES.get(index.checked_sub(STATUS_INDEX)?).copied();
            }
            // Literals: with incremental indexing (6 bits of index), without or never (4 bits).
            _ => {
                let mask = if first & 0x40 == 0 { 0x0f } else { 0x3f };
                let (index, after) = take_integer(block, mask)?;
                let in_static_table =
                    (STATUS_INDEX..STATUS_INDEX + STATUSES.len()).contains(&index);
                let value = if in_static_table {
                    after
                } else if index == 0 {
                    rest.strip_prefix(b"\x07:status")?
                } else {
                    return None;
                };
                return status_value(value);
            }
        }
    }
}

/// True when a response header block has the content type of an event stream. It stands there as a
/// literal, since neither table has it: as it is, or in Huffman code.
#[must_use]
pub fn is_event_stream(block: &[u8]) -> bool {
    /// The whole bytes of the code; parameters may follow, so the last bits say nothing.
    const CODED: [u8; 11] = [
        0x49, 0x7c, 0xa5, 0x82, 0xf7, 0x2d, 0x49, 0x59, 0x09, 0xb0, 0xa3,
    ];
    let has = |value: &[u8]| memchr::memmem::find(block, value).is_some();
    has(b"text/event-stream") || has(&CODED)
}

fn status_value(bytes: &[u8]) -> Option<u16> {
    let &first = bytes.first()?;
    let (len, rest) = take_integer(bytes, 0x7f)?;
    let value = rest.get(..len)?;
    let text = if first & 0x80 == 0 {
        value.to_vec()
    } else {
        huffman_digits(value)?
    };
    let text = std::str::from_utf8(&text).ok()?;
    (text.len() == 3).then(|| text.parse().ok()).flatten()
}

/// Takes an integer from the front; at most four bytes of it, which is plenty for a head.
fn take_integer(bytes: &[u8], mask: u8) -> Option<(usize, &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Some((value, rest));
    }
    for shift in [0, 7, 14] {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// Decodes Huffman-coded digits, all that a status can hold: `0` to `2` have five bits (00000 to
/// 00010), `3` to `9` six (011001 to 011111); ones fill the last byte.
fn huffman_digits(bytes: &[u8]) -> Option<Vec<u8>> {
    let bit = |at: usize| bytes.get(at / 8).map(|byte| byte >> (7 - at % 8) & 1);
    let take = |at: usize, count: usize| {
        (at..at + count).try_fold(0_u8, |bits, at| Some(bits << 1 | bit(at)?))
    };
    let (mut at, mut digits) = (0, Vec::new());
    while digits.len() < 3 {
        let five = take(at, 5)?;
        let six = take(at, 6);
        match (five, six) {
            (0..=2, _) => {
                digits.push(b'0' + five);
                at += 5;
            }
            (_, Some(six @ 0b01_1001..=0b01_1111)) => {
                digits.push(b'3' + (six - 0b01_1001));
                at += 6;
            }
            _ => return None,
        }
    }
    let padding = bytes.len() * 8 - at;
    (padding < 8 && (at..bytes.len() * 8).all(|at| bit(at) == Some(1))).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        let cases: [(&[u8], Option<u16>); 12] = [
            (&[0x88], Some(200)),
            (&[0x89, 0x5f], Some(204)),
            (&[0x8e], Some(500)),
            (&[0x20, 0x88], Some(200)),
            (&[0x3f, 0xe1, 0x1f, 0x88], Some(200)),
            (b"\x48\x03503", Some(503)),
            (b"\x08\x03429", Some(429)),
            (b"\x18\x03103", Some(103)),
            (b"\x00\x07:status\x03401", Some(401)),
            // "503" and "302" in Huffman code.
            (
                &[0x48, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111],
                Some(503),
            ),
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            (&[0xc0], None),
        ];
        for (block, expected) in cases {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }

    #[test]
    fn truncated_blocks_are_no_status() {
        for block in [
            &[][..],
            &[0x48],
            &[0x48, 0x03, b'5'],
            &[0x3f, 0xff],
            &[0x48, 0x83, 0x64],
        ] {
            assert_eq!(status(block), None, "{block:x?}");
        }
    }

    #[test]
    fn long_values_get_long_lengths() {
        let mut out = Vec::new();
        literal(&mut out, "cookie", &"x".repeat(300));
        assert_eq!(out.get(..11), Some(&b"\x00\x06cookie\x7f\xad\x01"[..]));
        assert_eq!(out.len(), 311);
    }
}
