//! Event ids that we put on the wire under `ids: local`: `epoch-sequence`, short plain ASCII. Where the
//! app resumes by its own ids, they travel along: `epoch-sequence~appid`, and with a key for all pods
//! under a seal: `epoch-sequence.seal~appid`.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use http::HeaderValue;

/// One life of a channel. Two lives never share one, so an id from another life is always known
/// to be foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

/// 48 bits: ten characters in base 36, and no two of a million epochs alike (birthday bound 2e-3
/// per million; a wrong resume needs that and the same channel).
const EPOCH_BITS: u64 = (1 << 48) - 1;

impl Epoch {
    /// An epoch from random bits.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random & EPOCH_BITS)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base36::<10>(f, self.0)
    }
}

/// Writes a number in so many digits.
fn base36<const DIGITS: usize>(f: &mut fmt::Formatter<'_>, mut rest: u64) -> fmt::Result {
    let mut digits = ['0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        let value = u32::try_from(rest % 36).unwrap_or_default();
        *digit = char::from_digit(value, 36).unwrap_or_default();
        rest /= 36;
    }
    digits.iter().try_for_each(|digit| f.write_char(*digit))
}

/// An id of ours, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalId {
    /// The life of the channel.
    pub epoch: Epoch,
    /// The position in it.
    pub sequence: u64,
    /// The app's id at that position, where the app resumes by it (`resume: true`).
    pub app_id: Option<Bytes>,
    /// What proves that one of ours gave `app_id` out; nothing without it.
    pub seal: Option<u64>,
}

/// Between our part of an id and the app's.
const APP_ID_MARK: char = '~';

/// Before the seal.
const SEAL_MARK: char = '.';

/// Parses an id of ours. `None`: not ours at all, as it is not what [`LocalId`] writes, or holds an id
/// of the app that could not be sent to it.
#[must_use]
pub fn parse(id: &[u8]) -> Option<LocalId> {
    let text = std::str::from_utf8(id).ok()?;
    let (own, app_id) = match text.split_once(APP_ID_MARK) {
        Some((own, app_id)) => (own, Some(decoded(app_id)?)),
        None => (text, None),
    };
    let (epoch, rest) = own.split_once('-')?;
    let (sequence, seal) = match rest.split_once(SEAL_MARK) {
        Some((sequence, seal)) => (sequence, Some(u64::from_str_radix(seal, 36).ok()?)),
        None => (rest, None),
    };
    let local = LocalId {
        epoch: Epoch(u64::from_str_radix(epoch, 36).ok()?),
        sequence: sequence.parse().ok()?,
        app_id,
        seal,
    };
    (local.to_string() == text).then_some(local)
}

/// The life of a channel that gave `id`, if that is one of ours.
#[must_use]
pub fn epoch_of(id: &[u8]) -> Option<Epoch> {
    parse(id).map(|id| id.epoch)
}

impl fmt::Display for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)?;
        let Some(app_id) = &self.app_id else {
            return Ok(());
        };
        if let Some(seal) = self.seal {
            f.write_char(SEAL_MARK)?;
            base36::<13>(f, seal)?;
        }
        f.write_char(APP_ID_MARK)?;
        for byte in app_id {
            if is_plain(*byte) {
                write!(f, "{}", char::from(*byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// Stands for itself in an id: printable, no space, and not the escape.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%'
}

/// An id of the app from its escaped form; one that may stand in a header.
fn decoded(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    let app_id = Bytes::from(bytes);
    is_sendable(&app_id).then_some(app_id)
}

/// The app may be asked to go on from this id: it says something, and can stand in a header.
#[must_use]
pub fn is_sendable(app_id: &[u8]) -> bool {
    !app_id.is_empty() && HeaderValue::from_bytes(app_id).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(epoch: u64, sequence: u64, app_id: Option<&'static [u8]>) -> LocalId {
        LocalId {
            epoch: Epoch::new(epoch),
            sequence,
            app_id: app_id.map(Bytes::from_static),
            seal: None,
        }
    }

    #[test]
    fn a_seal_stands_before_the_apps_id() {
        for (seal, text) in [
            (0, "0000000000-5.0000000000000~7"),
            (u64::MAX, "0000000000-5.3w5e11264sgsf~7"),
        ] {
            let id = LocalId {
                seal: Some(seal),
                ..local(0, 5, Some(b"7"))
            };
            assert_eq!(id.to_string(), text);
            assert_eq!(parse(text.as_bytes()), Some(id));
        }
        for id in [
            "0000000000-5.0000000000000",
            "0000000000-5.0~7",
            "0000000000-5.~7",
            "0000000000-5.000000000000A~7",
            "0000000000-5.zzzzzzzzzzzzz~7",
            "0000000000.0000000000000-5~7",
        ] {
            assert_eq!(parse(id.as_bytes()), None, "{id}");
        }
    }

    #[test]
    fn an_id_reads_back_as_written() {
        for (epoch, sequence) in [
            (0, 0),
            (1, 1),
            (EPOCH_BITS, u64::MAX),
            (0x1234_5678_9abc, 42),
        ] {
            for app_id in [
                None,
                Some(&b"7"[..]),
                Some(b"a-1~%2 b"),
                Some(b"\xff\t:/?#"),
            ] {
                let id = local(epoch, sequence, app_id);
                let text = id.to_string();
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
                assert_eq!(parse(text.as_bytes()), Some(id));
            }
        }
        let id = local(0, 5, Some(b"a b%"));
        assert_eq!(id.to_string(), "0000000000-5~a%20b%25");
    }

    /// Whatever the parser hands out can stand in a header.
    #[test]
    fn ids_that_the_app_cannot_be_sent_are_not_ours() {
        for app_id in [
            "",
            "%",
            "%0",
            "%0D%0AX:%20y",
            "%00",
            "%7F",
            "a b",
            "%2",
            "%zz",
            "%41",
            "%2f",
            "%2F",
            "a%0a",
            "\u{e9}",
        ] {
            let id = format!("0000000000-5~{app_id}");
            assert_eq!(parse(id.as_bytes()), None, "{id:?}");
        }
    }

    #[test]
    fn foreign_ids_are_not_ours() {
        for id in [
            "",
            "-",
            "7",
            "abc",
            "0000000000-",
            "0000000000-x",
            "0000000000-+1",
            "00-1",
            "0000000000-01",
            "000000000A-1",
            "+000000000-1",
            "00000000000-1",
            "000000000\u{e9}-1",
            "0000000000-99999999999999999999999",
        ] {
            assert_eq!(parse(id.as_bytes()), None, "{id:?}");
        }
        assert_eq!(parse(b"\xff\xfe"), None);
    }
}
