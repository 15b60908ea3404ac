use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits {
        subscribers_max: None,
        connections_max: None,
        channels_max: 1,
        streams_per_connection_max: 1,
        ring_bytes_max: None,
        head_bytes_max: 1024,
        head_fields_max: 5,
        head_timeout: Duration::from_secs(1),
        handshake_timeout: Duration::from_secs(1),
        keepalive_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        body_bytes_per_second_min: 240,
        client_timeout: Duration::from_secs(1),
        control_frames_per_second_max: 200,
        tcp_send_buffer_bytes: 0,
    }
}

/// What a gate says that sees `input` grow in steps of `step` bytes.
fn grow(input: &[u8], step: usize) -> Progress {
    let mut gate = Gate::new(&limits());
    let mut end = 0;
    loop {
        end = (end + step).min(input.len());
        let progress = gate.advance(&input[..end]);
        if progress != Progress::More || end == input.len() {
            return progress;
        }
    }
}

fn check(input: &str, expected: Result<Framing, u16>) {
    for step in [1, 2, 5, usize::from(u16::MAX)] {
        let got = match grow(input.as_bytes(), step) {
            Progress::More => Err(0),
            Progress::Complete(head) => {
                let tail = &input.as_bytes()[head.skip..head.skip + head.len];
                assert!(tail.ends_with(b"\r\n\r\n"), "{input:?}");
                Ok(head.framing)
            }
            Progress::Refused((status, _)) => Err(status.as_u16()),
        };
        assert_eq!(got, expected, "{input:?} in steps of {step}");
    }
}

#[test]
fn ordinary_heads_pass() {
    for (head, framing) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
        ("GET / HTTP/1.0\r\n\r\n", Framing::None),
        ("\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n", Framing::None),
        ("OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n", Framing::None),
        (
            "GET http://a.b:80/x?y HTTP/1.1\r\nHost: a.b:80\r\n\r\n",
            Framing::None,
        ),
        (
            "GET /\"<>|{}^` HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
            Framing::None,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 12\t\r\n\r\nPOST",
            Framing::Length(12),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            Framing::None,
        ),
        (
            "PUT / HTTP/1.1\r\nTRANSFER-ENCODING: Chunked\r\nHost: a\r\n\r\n0",
            Framing::Chunked,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\tb\r\nY:\r\n\r\n",
            Framing::None,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            Framing::None,
        ),
    ] {
        check(head, Ok(framing));
    }
}

#[test]
fn incomplete_heads_wait() {
    for head in [
        "",
        "\r",
        "\r\n",
        "G",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r",
    ] {
        check(head, Err(0));
    }
}

#[test]
fn limits_have_their_own_statuses() {
    check(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(2000)), Err(414));
    check(
        &format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "a".repeat(2000)
        ),
        Err(431),
    );
    check(
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(5)),
        Err(431),
    );
    let filler = "a".repeat(1024 - 34);
    check(
        &format!("GET / HTTP/1.1\r\nHost: a\r\nXxx: {filler}\r\n\r\n"),
        Ok(Framing::None),
    );
    check(
        &format!("GET / HTTP/1.1\r\nHost: a\r\nXxxx: {filler}\r\n\r\n"),
        Err(431),
    );
}

#[test]
fn a_body_larger_than_the_head_limit_is_no_matter() {
    let input = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n{}",
        "x".repeat(9999)
    );
    check(&input, Ok(Framing::Length(9999)));
}

proptest! {
    #[test]
    fn any_bytes_in_any_steps_give_one_verdict(
        input in proptest::collection::vec(any::<u8>(), 0..200),
        head in "(GET|POST) /[a-z]{0,3} HTTP/1\\.[01]\r?\n(Host: a\r\n)?([A-Z:; \r\n\t0-9]{0,30}\r\n){0,3}\r\n",
        step in 1..40_usize,
    ) {
        for bytes in [input.as_slice(), head.as_bytes()] {
            let whole = grow(bytes, bytes.len().max(1));
            let stepped = grow(bytes, step);
            // A refusal may come earlier and name another fault; the outcome may not differ.
            match (&whole, &stepped) {
                (Progress::Refused(_), Progress::Refused(_)) => {}
                _ => prop_assert_eq!(&whole, &stepped),
            }
        }
    }
}
