use proptest::prelude::*;

use super::*;

/// A header of version 2 with this command and family before `block`.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_START, &[command, family], &len, block].concat()
}

fn v4_block(source: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    [&source[..], &[127, 0, 0, 1, 0x30, 0x39, 0, 80], extensions].concat()
}

/// The source of a whole header, whatever follows; each shorter piece asks for more.
#[track_caller]
fn check(header: &[u8], source: Option<&str>) {
    let expected = Progress::Complete {
        len: header.len(),
        source: source.map(|text| text.parse().unwrap()),
    };
    for rest in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\0",
        b"PROXY ",
    ] {
        assert_eq!(parse(&[header, rest].concat()), Ok(expected), "{header:?}");
    }
    for end in 0..header.len() {
        assert_eq!(
            parse(&header[..end]),
            Ok(Progress::More),
            "{end} of {header:?}"
        );
    }
}

#[track_caller]
fn refused(bytes: &[u8]) {
    assert_eq!(
        parse(bytes),
        Err(Malformed),
        "{}",
        String::from_utf8_lossy(bytes)
    );
}

#[test]
fn version_1_names_the_client() {
    for (line, source) in [
        (
            "PROXY TCP4 192.0.2.7 127.0.0.1 56324 443",
            Some("192.0.2.7"),
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
            Some("255.255.255.255"),
        ),
        ("PROXY TCP6 2001:db8::7 ::1 0 443", Some("2001:db8::7")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 443", Some("192.0.2.7")),
        ("PROXY UNKNOWN", None),
        ("PROXY UNKNOWN ffff:ffff::1 ::1 65535 65535", None),
    ] {
        check(format!("{line}\r\n").as_bytes(), source);
    }
}

#[test]
fn version_1_is_taken_as_the_document_says_and_not_otherwise() {
    for line in [
        "PROXY TCP4 192.0.2.7 127.0.0.1 56324",
        "PROXY TCP4 192.0.2.7 127.0.0.1 56324 443 1",
        "PROXY TCP4 192.0.2.7 127.0.0.1 56324 65536",
        "PROXY TCP4 192.0.2.7 127.0.0.1 +1 443",
        "PROXY TCP4 192.0.2.7 127.0.0.1 01 443",
        "PROXY TCP4 192.0.2.7 127.0.0.1 1 443 ",
        "PROXY TCP4  192.0.2.7 127.0.0.1 1 443",
        "PROXY TCP4 2001:db8::7 ::1 1 443",
        "PROXY TCP6 192.0.2.7 127.0.0.1 1 443",
        "PROXY TCP4 192.0.2.7 localhost 1 443",
        "PROXY TCP4 192.0.2 127.0.0.1 1 443",
        "PROXY UDP4 192.0.2.7 127.0.0.1 1 443",
        "PROXY tcp4 192.0.2.7 127.0.0.1 1 443",
        "PROXY ",
        "PROXY",
        "proxy TCP4 192.0.2.7 127.0.0.1 1 443",
        "GET / HTTP/1.1",
    ] {
        refused(format!("{line}\r\n").as_bytes());
    }
    let long = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    check(long(V1_BYTES_MAX).as_bytes(), None);
    refused(long(V1_BYTES_MAX + 1).as_bytes());
    refused(&[b"PROXY UNKNOWN", &b"x".repeat(V1_BYTES_MAX)[..]].concat());
    refused(b"PROXY TCP4 192.0.2.7\xff 127.0.0.1 1 443\r\n");
}

#[test]
fn version_2_names_the_client_and_extensions_are_skipped() {
    let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 20]].concat();
    let extensions = [0xEA, 0, 3, 1, 2, 3];
    for (header, source) in [
        (
            v2(0x21, 0x11, &v4_block([192, 0, 2, 7], &[])),
            Some("192.0.2.7"),
        ),
        (
            v2(0x21, 0x11, &v4_block([192, 0, 2, 7], &extensions)),
            Some("192.0.2.7"),
        ),
        (
            v2(0x21, 0x12, &v4_block([192, 0, 2, 7], &[])),
            Some("192.0.2.7"),
        ),
        (v2(0x21, 0x21, &six), Some("2001:db8::7")),
        // The proxy's own connection, with or without addresses.
        (v2(0x20, 0x11, &v4_block([192, 0, 2, 7], &[])), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x21, 0x00, &extensions), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (v2(0x20, 0x00, &[0; HEADER_BYTES_MAX - 16]), None),
    ] {
        check(&header, source);
    }
}

#[test]
fn version_2_is_taken_as_the_document_says_and_not_otherwise() {
    let block = v4_block([192, 0, 2, 7], &[]);
    for header in [
        v2(0x22, 0x11, &block),
        v2(0x11, 0x11, &block),
        v2(0x21, 0x13, &block),
        v2(0x21, 0x41, &block),
        v2(0x21, 0x11, &block[..11]),
        v2(0x21, 0x21, &block),
        v2(0x20, 0x00, &[0; HEADER_BYTES_MAX - 15]),
    ] {
        refused(&header);
    }
    refused(b"\r\n\r\n\0\r\nQUIT\r");
}

proptest! {
    /// Nothing panics; what is complete is as long as it says; and the verdict does not depend on what
    /// comes after it.
    #[test]
    fn any_bytes_are_judged(
        start in prop::sample::select(vec![&b""[..], b"PROXY TCP4 ", V2_START, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &rest].concat();
        if let Ok(Progress::Complete { len, .. }) = parse(&bytes) {
            prop_assert!((8..=bytes.len()).contains(&len));
            prop_assert_eq!(parse(&bytes[..len]), parse(&bytes));
            prop_assert_eq!(parse(&bytes[..len - 1]), Ok(Progress::More));
        }
        if bytes.len() >= HEADER_BYTES_MAX {
            prop_assert_ne!(parse(&bytes), Ok(Progress::More));
        }
    }

    #[test]
    fn what_is_written_is_read(source in any::<[u8; 4]>(), port in any::<u16>(), tls in 0_usize..64) {
        let source_text = Ipv4Addr::from(source).to_string();
        let line = format!("PROXY TCP4 {source_text} 127.0.0.1 {port} 443\r\n");
        check(line.as_bytes(), Some(&source_text));
        check(&v2(0x21, 0x11, &v4_block(source, &vec![0; tls])), Some(&source_text));
    }
}
