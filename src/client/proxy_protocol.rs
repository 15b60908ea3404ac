//! The PROXY protocol, versions 1 and 2: what a proxy says about a connection before its first byte.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. Strict: what is not as the document
//! says is an error, since a header that is half understood names somebody else. Sans-io.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Longest header that is taken. Version 1 ends at 107 bytes, version 2 with addresses at 52; the rest
/// is for extensions, which are skipped.
pub const HEADER_BYTES_MAX: usize = 2_048;

const V1_START: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_BYTES_MIN: usize = 16;

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The header is not complete; every byte so far belongs to it.
    More,
    /// A whole header.
    Complete {
        /// Its length; what follows is the client's.
        len: usize,
        /// The client. None: the proxy speaks for itself (a health check), or does not know.
        source: Option<IpAddr>,
    },
}

/// It is no header of the PROXY protocol, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Looks at everything received so far.
///
/// # Errors
/// As soon as it can be told.
pub fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    if begins(bytes, V2_START) {
        version_2(bytes)
    } else if begins(bytes, V1_START) {
        version_1(bytes)
    } else {
        Err(Malformed)
    }
}

/// Whether `bytes` begin with `start`, as far as they are there.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn version_1(bytes: &[u8]) -> Result<Progress, Malformed> {
    let line = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        let may_come = bytes.len() < V1_BYTES_MAX;
        return may_come.then_some(Progress::More).ok_or(Malformed);
    };
    let text = line
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok());
    let words: Vec<&str> = text.ok_or(Malformed)?.split(' ').collect();
    let source = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", rest @ ..] => Some(IpAddr::V4(source::<Ipv4Addr>(rest)?)),
        ["PROXY", "TCP6", rest @ ..] => Some(IpAddr::V6(source::<Ipv6Addr>(rest)?)),
        _ => return Err(Malformed),
    };
    Ok(Progress::Complete {
        len: end + 2,
        source: source.map(|source| source.to_canonical()),
    })
}

/// The first of two addresses and two ports.
fn source<A: FromStr>(words: &[&str]) -> Result<A, Malformed> {
    let [source, destination, ports @ ..] = words else {
        return Err(Malformed);
    };
    let address = |text: &str| text.parse::<A>().map_err(|_| Malformed);
    address(destination)?;
    let is_port = |text: &&str| {
        // No sign and no leading zero, which `parse` would take.
        text.parse::<u16>()
            .is_ok_and(|port| port.to_string() == **text)
    };
    if ports.len() != 2 || !ports.iter().all(is_port) {
        return Err(Malformed);
    }
    address(source)
}

fn version_2(bytes: &[u8]) -> Result<Progress, Malformed> {
    let command = match bytes.get(12) {
        None => return Ok(Progress::More),
        Some(command @ 0x20..=0x21) => *command,
        Some(_) => return Err(Malformed),
    };
    let Some([family, high, low]) = bytes.get(13..V2_BYTES_MIN) else {
        return Ok(Progress::More);
    };
    let said = usize::from(u16::from_be_bytes([*high, *low]));
    let len = V2_BYTES_MIN + said;
    if len > HEADER_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(addresses) = bytes.get(V2_BYTES_MIN..len) else {
        return Ok(Progress::More);
    };
    let is_local = command == 0x20;
    let source = match family {
        // LOCAL: the proxy's own connection; what it says about addresses is to be ignored.
        _ if is_local => None,
        0x11 | 0x12 => Some(IpAddr::from(first::<4>(addresses, 12)?)),
        0x21 | 0x22 => Some(IpAddr::from(first::<16>(addresses, 36)?)),
        // Unspecified, and unix sockets: no address to know.
        0x00 | 0x31 | 0x32 => None,
        _ => return Err(Malformed),
    };
    Ok(Progress::Complete {
        len,
        source: source.map(|source| source.to_canonical()),
    })
}

/// The source at the start of a block of addresses and ports, which has at least `block` bytes.
fn first<const N: usize>(addresses: &[u8], block: usize) -> Result<[u8; N], Malformed> {
    let source = addresses.get(..block).and_then(<[u8]>::first_chunk);
    source.copied().ok_or(Malformed)
}

#[cfg(test)]
mod tests;
