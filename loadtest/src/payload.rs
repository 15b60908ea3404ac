//! The data of our publisher's events, `{"seq":N,"sent_ns":T,"channel":C,"pad":"..."}`, written and
//! checked byte for byte. The pad is a slice of a fixed random text that depends on the sequence number and
//! on its own length, so a byte that is missing, extra or from another event shows.

use std::sync::LazyLock;

/// Longest pad.
pub const PAD_BYTES_MAX: usize = 64 * 1024;

const TEXT_BYTES: usize = 2 * PAD_BYTES_MAX;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEAD: &[u8] = b"{\"seq\":";
const SENT: &[u8] = b",\"sent_ns\":";
const CHANNEL: &[u8] = b",\"channel\":";
const PAD: &[u8] = b",\"pad\":\"";
const TAIL: &[u8] = b"\"}";

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..TEXT_BYTES as u64)
        .map(|i| {
            ALPHABET
                .get((mix(i) % 64) as usize)
                .copied()
                .unwrap_or(b'A')
        })
        .collect()
});

/// What a whole, intact payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The publisher's sequence number.
    pub seq: u64,
    /// When it was meant to be sent (`CLOCK_MONOTONIC`, nanoseconds).
    pub sent_ns: u64,
    /// The channel that it is for, by [`channel`].
    pub channel: u32,
}

/// The number that the path of a target ends in, which is that of a channel; 0 where there is none.
#[must_use]
pub fn channel(target: &str) -> u32 {
    let path = target.split('?').next().unwrap_or_default();
    let name = path.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = path.strip_prefix(name).map(str::parse);
    number.and_then(std::result::Result::ok).unwrap_or(0)
}

/// Appends a payload of `size` bytes (more, if the numbers alone need more).
pub fn encode(out: &mut Vec<u8>, stamp: Stamp, size: usize) {
    let start = out.len();
    out.extend_from_slice(HEAD);
    push_decimal(out, stamp.seq);
    out.extend_from_slice(SENT);
    push_decimal(out, stamp.sent_ns);
    out.extend_from_slice(CHANNEL);
    push_decimal(out, stamp.channel.into());
    out.extend_from_slice(PAD);
    let used = out.len() - start + TAIL.len();
    out.extend_from_slice(pad(stamp.seq, size.saturating_sub(used).min(PAD_BYTES_MAX)));
    out.extend_from_slice(TAIL);
}

/// Reads a payload; `None` when a single byte differs from what [`encode`] writes.
#[must_use]
pub fn decode(data: &[u8]) -> Option<Stamp> {
    let rest = data.strip_prefix(HEAD)?;
    let (seq, rest) = take_decimal(rest)?;
    let (sent_ns, rest) = take_decimal(rest.strip_prefix(SENT)?)?;
    let (channel, rest) = take_decimal(rest.strip_prefix(CHANNEL)?)?;
    let stamp = Stamp {
        seq,
        sent_ns,
        channel: channel.try_into().ok()?,
    };
    let found = rest.strip_prefix(PAD)?.strip_suffix(TAIL)?;
    (found.len() <= PAD_BYTES_MAX && found == pad(seq, found.len())).then_some(stamp)
}

/// Appends a number in decimal, without an allocation.
pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Takes a canonical decimal number (no sign, no leading zero) from the front.
fn take_decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    if number.is_empty() || (number.len() > 1 && number.first() == Some(&b'0')) {
        return None;
    }
    let value = number.iter().try_fold(0_u64, |value, byte| {
        value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })?;
    Some((value, rest))
}

/// The pad of `len` bytes for an event; `len` is at most [`PAD_BYTES_MAX`].
fn pad(seq: u64, len: usize) -> &'static [u8] {
    let chosen = mix(seq ^ (len as u64).rotate_left(32)) % PAD_BYTES_MAX as u64;
    let offset = usize::try_from(chosen).unwrap_or(0);
    TEXT.get(offset..offset + len).unwrap_or_default()
}

/// The finaliser of splitmix64: spreads neighbouring numbers over all bits.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seq: u64, size: usize) -> Vec<u8> {
        let mut data = Vec::new();
        encode(
            &mut data,
            Stamp {
                seq,
                sent_ns: 7_000_000_123,
                channel: 12,
            },
            size,
        );
        data
    }

    #[test]
    fn what_is_written_is_read_back_and_has_the_asked_size() {
        for (seq, size) in [(0, 0), (1, 60), (9, 200), (u64::MAX, 200), (12, 70_000)] {
            let data = sample(seq, size);
            assert_eq!(
                decode(&data),
                Some(Stamp {
                    seq,
                    sent_ns: 7_000_000_123,
                    channel: 12
                }),
                "{seq} {size}"
            );
            if (60..=PAD_BYTES_MAX).contains(&size) && seq < 100 {
                assert_eq!(data.len(), size);
            }
        }
    }

    #[test]
    fn any_changed_missing_or_extra_byte_shows() {
        let data = sample(41, 200);
        for at in 0..data.len() {
            let mut changed = data.clone();
            changed[at] ^= 1;
            let digit = changed[at].is_ascii_digit() && data[at].is_ascii_digit();
            let in_stamp = at > SENT.len() && at < 45;
            assert!(
                decode(&changed).is_none() || (digit && in_stamp),
                "changed byte {at}"
            );
            let mut missing = data.clone();
            missing.remove(at);
            assert!(decode(&missing).is_none() || in_stamp, "missing byte {at}");
        }
        assert_eq!(decode(&[data.as_slice(), b" "].concat()), None);
        let text =
            |seq: &str| format!("{{\"seq\":{seq},\"sent_ns\":1,\"channel\":0,\"pad\":\"\"}}");
        assert!(decode(text("1").as_bytes()).is_some());
        assert_eq!(decode(text("01").as_bytes()), None);
    }

    #[test]
    fn a_channel_is_the_number_at_the_end_of_a_path() {
        let cases = [
            ("/events", 0),
            ("/events/0", 0),
            ("/events/17", 17),
            ("/events/17?x=9", 17),
            ("/events/17/x", 0),
            ("/99999999999", 0),
            ("", 0),
        ];
        for (target, expected) in cases {
            assert_eq!(channel(target), expected, "{target}");
        }
    }
}
