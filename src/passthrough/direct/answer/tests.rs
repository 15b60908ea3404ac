use super::*;

fn date() -> HeaderValue {
    HeaderValue::from_static("now")
}

fn begun(head: &str, method: &Method) -> Result<(Begun, String), Unusable> {
    let mut out = Vec::new();
    let begun = begin(head.as_bytes(), method, Then::Keep, date, &mut out)?;
    Ok((begun.unwrap(), String::from_utf8(out).unwrap()))
}

#[test]
fn a_head_loses_what_concerns_the_apps_connection_and_says_it_of_ours() {
    let head = "HTTP/1.1 200 Fine\r\nX-Mixed:  Case \r\nConnection: keep-alive, X-Hop, Content-Length\r\n\
                x-hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2\r\nProxy-Connection: a\r\n\
                Content-Length: 2, 02\r\nContent-Length: 2\r\nTrailer: X-End\r\nX-Long: a\r\n b\r\n\r\nrest";
    let (begun, out) = begun(head, &Method::GET).unwrap();
    assert_eq!(&head[begun.len..], "rest");
    assert_eq!(
        out,
        "HTTP/1.1 200 Fine\r\nX-Mixed: Case\r\nX-Long: a   b\r\nContent-Length: 2\r\n\
         Date: now\r\nConnection: keep-alive\r\n\r\n"
    );
    for cut in 0..begun.len {
        let mut out = Vec::new();
        let part = &head.as_bytes()[..cut];
        let found = begin(part, &Method::GET, Then::Close, date, &mut out);
        assert_eq!((found, out.len()), (Ok(None), 0), "{cut}");
    }
}

#[test]
fn a_body_ends_as_the_standard_says() {
    let get = Method::GET;
    let framed = Ends::Framed;
    let (none, chunked) = (framed(Framing::None), framed(Framing::Chunked));
    for (method, head, ends, is_kept) in [
        (
            &get,
            "1.1 200 OK\r\nContent-Length: 7",
            framed(Framing::Length(7)),
            true,
        ),
        (&get, "1.1 200 OK\r\nContent-Length: 0", none, true),
        (
            &get,
            "1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7",
            chunked,
            true,
        ),
        (
            &get,
            "1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0",
            none,
            false,
        ),
        (&get, "1.1 200 OK\r\nX: y", Ends::WithConnection, false),
        (&get, "1.0 200 OK\r\nContent-Length: 0", none, false),
        (
            &get,
            "1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0",
            none,
            true,
        ),
        (
            &get,
            "1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
            chunked,
            false,
        ),
        (
            &get,
            "1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 7",
            framed(Framing::Length(7)),
            true,
        ),
        (&get, "1.1 103 Early Hints\r\nContent-Length: 7", none, true),
        (&get, "1.1 204 No Content\r\nContent-Length: 7", none, true),
        (
            &get,
            "1.1 304 Not Modified\r\nContent-Length: 7",
            none,
            true,
        ),
        (
            &Method::HEAD,
            "1.1 200 OK\r\nTransfer-Encoding: chunked",
            none,
            true,
        ),
    ] {
        let (begun, out) = begun(&format!("HTTP/{head}\r\n\r\n"), method).unwrap();
        assert_eq!((begun.ends, begun.is_kept), (ends, is_kept), "{head}");
        let has_length = out.contains("Content-Length");
        let is_unframed = ["103", "204"].iter().any(|status| head.contains(status));
        let may_have = !head.contains("hunked") && !is_unframed;
        assert_eq!(has_length, may_have && head.contains("Length"), "{out}");
        let is_chunked = out.to_ascii_lowercase().contains(": chunked");
        let was_chunked = head.to_ascii_lowercase().contains(": chunked");
        assert_eq!(
            is_chunked,
            was_chunked || ends == Ends::WithConnection,
            "{out}"
        );
    }
}

#[test]
fn a_connection_is_kept_less_long_than_the_app_keeps_it() {
    for (value, seconds) in [
        ("timeout=5", Some(4)),
        ("max=100, Timeout=60", Some(59)),
        ("timeout=0", Some(0)),
        ("Timeout = 7", Some(6)),
        ("timeout=x", None),
        ("max=5", None),
    ] {
        let head = format!("HTTP/1.1 204 No Content\r\nKeep-Alive: {value}\r\n\r\n");
        let (begun, _) = begun(&head, &Method::GET).unwrap();
        let expected = seconds.map_or(Duration::MAX - IDLE_MARGIN, Duration::from_secs);
        assert_eq!(begun.idle_max, expected, "{value}");
    }
}

#[test]
fn a_head_that_could_be_read_in_two_ways_is_none() {
    for fields in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1, 2",
        "Content-Length: +1",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "no field",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        assert!(begun(&head, &Method::GET).is_err(), "{fields}");
    }
    for head in [
        "hello\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 101 X\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ] {
        assert!(begun(head, &Method::GET).is_err(), "{head}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
    let mut out = Vec::new();
    assert!(begin(endless.as_bytes(), &Method::GET, Then::Keep, date, &mut out).is_err());
}
