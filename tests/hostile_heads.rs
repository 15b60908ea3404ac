//! Request heads that two servers could read differently, and heads that never end: each is refused
//! or its connection closed, the app sees none of them, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

mod rig;

use std::{sync::Arc, time::Duration};

use rig::{
    Rig, Settings,
    app::App,
    client::Client,
    h2raw::{self, Answer, ENHANCE_YOUR_CALM, RawH2, block, frame},
    soon,
};

/// Stands for the path in [`HOSTILE`].
const PATH: &str = "@PATH@";

/// Name, and the bytes on the wire. What follows a complete head is a request to smuggle.
const HOSTILE: &[(&str, &[u8])] = &[
    ("length before encoding", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("encoding before length", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("length zero and encoding", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("encoding list", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("encoding list, chunked first", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("encoding chunked twice in one field", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("encoding in two fields", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("encoding with identity", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("encoding identity", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("encoding gzip", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("encoding empty", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    ("encoding xchunked", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("encoding quoted", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("encoding with parameter", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("encoding with trailing comma", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    ("encoding with leading comma", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    ("encoding with vertical tab", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("encoding with form feed", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n"),
    ("encoding with no-break space", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    ("encoding with a control byte after it", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x01\r\n\r\n0\r\n\r\n"),
    ("space before the colon of encoding", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("tab before the colon of encoding", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("space before the name of encoding", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("encoding with an underscore", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("encoding folded", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("encoding hidden behind a bare LF", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("encoding hidden behind a bare CR", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("encoding in HTTP/1.0", b"POST @PATH@ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("encoding with NUL in the name", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nTransfer-\0Encoding: chunked\r\n\r\n"),
    ("two lengths that differ", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
    ("two lengths that agree", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    ("length list", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd"),
    ("length with plus", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
    ("length negative", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nabcd"),
    ("length hexadecimal", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd"),
    ("length with fraction", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 4.0\r\n\r\nabcd"),
    ("length with inner space", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 1 4\r\n\r\nabcd"),
    ("length empty", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabcd"),
    ("length in words", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: four\r\n\r\nabcd"),
    ("length in other digits", "POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: \u{664}\r\n\r\nabcd".as_bytes()),
    ("length above 64 bits", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551620\r\n\r\nabcd"),
    ("length with an underscore", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent_Length: 4\r\n\r\nabcd"),
    ("space before the colon of length", b"POST @PATH@ HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd"),
    ("bare LF after the request line", b"GET @PATH@ HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF everywhere", b"GET @PATH@ HTTP/1.1\nHost: a\n\n"),
    ("bare LF as empty line", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare CR in the request line", b"GET @PATH@ HTTP/1.1\rHost: a\r\n\r\n"),
    ("CR CR LF", b"GET @PATH@ HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    ("folded field", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    ("folded field by tab", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n"),
    ("first field folded", b"GET @PATH@ HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("field without colon", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
    ("field without name", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n"),
    ("name with a space", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n"),
    ("name with a parenthesis", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX(Y): z\r\n\r\n"),
    ("name with a high byte", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX\xffY: z\r\n\r\n"),
    ("value with NUL", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n"),
    ("value with DEL", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX: y\x7fz\r\n\r\n"),
    ("value with escape", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n"),
    ("no Host", b"GET @PATH@ HTTP/1.1\r\nX: y\r\n\r\n"),
    ("two Hosts", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("two Hosts that agree", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("Host list", b"GET @PATH@ HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("Host with user", b"GET @PATH@ HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("Host with path", b"GET @PATH@ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("Host with bad port", b"GET @PATH@ HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    ("Host with quote", b"GET @PATH@ HTTP/1.1\r\nHost: a\"b\r\n\r\n"),
    ("Host that is no address", b"GET @PATH@ HTTP/1.1\r\nHost: [::g]\r\n\r\n"),
    ("absolute target and another Host", b"GET http://evil@PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target with user", b"GET http://u@a@PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target of another scheme", b"GET ftp://a@PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target without host", b"GET http://@PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target without slash", b"GET x@PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target with fragment", b"GET @PATH@#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target with NUL", b"GET @PATH@\0x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target with tab", b"GET @PATH@\tx HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target with a high byte", b"GET @PATH@\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target with a space", b"GET @PATH@ x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("asterisk for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ("method with a bracket", b"G[T @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method with a high byte", b"G\xc3T @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("endless method", b"GETGETGETGETGETGETGETGETGETGETGETGET @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no method", b" @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces", b"GET  @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space at the end of the request line", b"GET @PATH@ HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("tabs in the request line", b"GET\t@PATH@\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", b"GET @PATH@\r\n\r\n"),
    ("HTTP/0.9 by name", b"GET @PATH@ HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", b"GET @PATH@ HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0 in words", b"GET @PATH@ HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/1.10", b"GET @PATH@ HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("HTTP/01.1", b"GET @PATH@ HTTP/01.1\r\nHost: a\r\n\r\n"),
    ("http in lower case", b"GET @PATH@ http/1.1\r\nHost: a\r\n\r\n"),
    ("another protocol", b"GET @PATH@ ICAP/1.1\r\nHost: a\r\n\r\n"),
    ("three empty lines first", b"\r\n\r\n\r\nGET @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("bare LF first", b"\nGET @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("SSH on the plain port", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("nothing but NUL", &[0; 64]),
    ("WebSocket handshake with a body", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nabcd"),
    ("head that never ends", b"GET @PATH@ HTTP/1.1\r\nHost: a\r\nX: "),
    ("request line that never ends", b"GET @PATH@"),
    ("preface that never ends", b"PRI * HTTP/2.0\r\n\r\nSM"),
    ("preface and then a request", b"PRI * HTTP/2.0\r\n\r\nGET @PATH@ HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Heads whose size is the point.
fn large() -> Vec<(&'static str, Vec<u8>)> {
    let mebibyte = "a".repeat(1 << 20);
    let start = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n");
    vec![
        (
            "value of 1 MiB",
            format!("{start}X: {mebibyte}\r\n\r\n").into_bytes(),
        ),
        (
            "name of 1 MiB",
            format!("{start}{mebibyte}: x\r\n\r\n").into_bytes(),
        ),
        (
            "target of 1 MiB",
            format!("GET {PATH}{mebibyte} HTTP/1.1\r\n\r\n").into_bytes(),
        ),
        (
            "method of 1 MiB",
            format!("{mebibyte} {PATH} HTTP/1.1\r\n\r\n").into_bytes(),
        ),
        (
            "1 MiB of short fields",
            format!("{start}{}\r\n", "X: y\r\n".repeat(170_000)).into_bytes(),
        ),
        (
            "51 fields",
            format!("{start}{}\r\n", "X: y\r\n".repeat(50)).into_bytes(),
        ),
    ]
}

fn with_path(bytes: &[u8], path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(PATH.len()).position(|w| w == PATH.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(path.as_bytes());
        rest = &rest[at + PATH.len()..];
        if bytes.len() > 4096 {
            break;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Sends `bytes` in two parts and says what came back until the end.
async fn outcome(address: std::net::SocketAddr, bytes: &[u8], split: usize) -> Vec<u8> {
    let mut client = Client::connect(address).await;
    let (first, second) = bytes.split_at(split);
    if client.try_send(first).await {
        // Lets the first part arrive alone; when it does not, the case is merely an easier one.
        tokio::task::yield_now().await;
        client.try_send(second).await;
    }
    client.rest().await
}

#[track_caller]
fn assert_refused(name: &str, path: &str, split: usize, answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let mut answers = text.match_indices("HTTP/1.1 ");
    let refused = match (answers.next(), answers.next()) {
        (None, None) => text.is_empty(),
        (Some((0, _)), None) => {
            // Any other 5xx would be of an app that was asked.
            let status = &text["HTTP/1.1 ".len()..];
            ["4", "501", "505"]
                .iter()
                .any(|refusal| status.starts_with(refusal))
        }
        _ => false,
    };
    assert!(refused, "{name} on {path}, split at {split}: {text:?}");
}

async fn rig() -> (App, Arc<Rig>) {
    let app = App::echo().await;
    // Short enough to wait for, long enough for an ordinary head on a crowded machine.
    let rig = Rig::with(
        &app.address,
        Settings {
            limits: &["head_timeout: 2s", "head_fields_max: 50"],
            ..Settings::default()
        },
    );
    (app, Arc::new(rig))
}

const CONTROL: &str = "GET /control HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn no_hostile_head_reaches_the_app() {
    let (app, rig) = rig().await;
    let mut control = Client::connect(rig.plain()).await;
    let heads: Vec<(&str, Vec<u8>)> = HOSTILE
        .iter()
        .map(|(name, bytes)| (*name, bytes.to_vec()))
        .chain(large())
        .collect();
    assert!(heads.len() > 60);
    let mut cases = tokio::task::JoinSet::new();
    for (name, template) in heads {
        for path in ["/fan/x", "/pass/x"] {
            let bytes = Arc::new(with_path(&template, path));
            for split in [0, bytes.len() / 2, bytes.len() - 1] {
                let (bytes, address) = (bytes.clone(), rig.plain());
                cases.spawn(async move {
                    let answer = outcome(address, &bytes, split).await;
                    assert_refused(name, path, split, &answer);
                });
            }
        }
        assert_eq!(control.request(CONTROL).await.status, 200, "beside {name}");
    }
    while let Some(case) = soon("every connection to end", cases.join_next()).await {
        case.unwrap();
    }
    assert_eq!(control.request(CONTROL).await.status, 200);
    assert_eq!(app.connections(), 1, "that of the control");
    for head in app.heads() {
        assert!(
            head.starts_with("GET /control HTTP/1.1\r\n"),
            "the app saw {head:?}"
        );
    }
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_deadline() {
    let (app, rig) = rig().await;
    for path in ["/fan/x", "/pass/x"] {
        let mut client = Client::connect(rig.plain()).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n"))
            .await;
        // One byte every 20 ms: each read succeeds in time, the head never does.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        soon("the end of the drip", async {
            while client.try_send(b"x").await {
                pace.tick().await;
            }
        })
        .await;
        let answer = client.rest().await;
        assert_refused("drip", path, 0, &answer);
    }
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn a_complete_head_of_18_bytes_is_answered() {
    let (_app, rig) = rig().await;
    let request = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(request.len(), 18);
    for split in [0, 1, 9, 17] {
        let answer = outcome(rig.plain(), request.as_bytes(), split).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "split at {split}");
    }
}

/// Name and value.
type Field = (&'static [u8], &'static [u8]);

/// Fields of HTTP/2 that the app would see as lines of HTTP/1.1. Each replaces what an ordinary
/// request has under the same name, or is added to it. (A fragment is not among them: the h2 crate
/// cuts it off before anybody sees it.)
const HOSTILE_FIELDS: &[(&str, &[Field])] = &[
    ("encoding", &[(b"transfer-encoding", b"chunked")]),
    (
        "encoding with an underscore",
        &[(b"transfer_encoding", b"chunked")],
    ),
    ("length with an underscore", &[(b"content_length", b"4")]),
    (
        "two lengths that differ",
        &[(b"content-length", b"4"), (b"content-length", b"5")],
    ),
    (
        "two lengths that agree",
        &[(b"content-length", b"0"), (b"content-length", b"0")],
    ),
    ("length list", &[(b"content-length", b"0, 0")]),
    ("length with plus", &[(b"content-length", b"+0")]),
    ("connection", &[(b"connection", b"close")]),
    ("keep-alive", &[(b"keep-alive", b"timeout=5")]),
    ("upgrade", &[(b"upgrade", b"websocket")]),
    ("te", &[(b"te", b"gzip")]),
    ("name in upper case", &[(b"X-Y", b"z")]),
    ("name with a colon", &[(b"x:y", b"z")]),
    ("name with a space", &[(b"x y", b"z")]),
    ("name with CR LF", &[(b"x\r\ny", b"z")]),
    ("name with a high byte", &[(b"x\xff", b"z")]),
    ("no name", &[(b"", b"z")]),
    ("value with CR LF", &[(b"x", b"y\r\nz: 1")]),
    ("value with LF", &[(b"x", b"y\nz: 1")]),
    ("value with NUL", &[(b"x", b"y\0z")]),
    ("value with DEL", &[(b"x", b"y\x7fz")]),
    ("no authority", &[(b":authority", b"")]),
    ("authority with user", &[(b":authority", b"u@a")]),
    ("authority with path", &[(b":authority", b"a/b")]),
    ("authority with bad port", &[(b":authority", b"a:b")]),
    ("authority with a high byte", &[(b":authority", b"a\xe9")]),
    ("authority with quote", &[(b":authority", b"a\"b")]),
    ("authority and another Host", &[(b"host", b"b")]),
    (
        "authority and two Hosts",
        &[(b"host", b"a"), (b"host", b"a")],
    ),
    (
        "Host with a high byte",
        &[(b":authority", b""), (b"host", b"a\xe9")],
    ),
    ("Host with path", &[(b":authority", b""), (b"host", b"a/b")]),
    ("Host list", &[(b":authority", b""), (b"host", b"a, b")]),
    ("Host with user", &[(b":authority", b""), (b"host", b"u@a")]),
    ("path without slash", &[(b":path", b"x")]),
    ("path in absolute form", &[(b":path", b"http://b/pass/x")]),
    ("path with a space", &[(b":path", b"/pass/x HTTP/1.1")]),
    ("path with CR LF", &[(b":path", b"/pass/x\r\nx: y")]),
    ("path with NUL", &[(b":path", b"/pass/x\0")]),
    ("path with a high byte", &[(b":path", b"/pass/x\xff")]),
    ("asterisk for GET", &[(b":path", b"*")]),
    ("no path", &[(b":path", b"")]),
    ("method with a bracket", &[(b":method", b"G[T")]),
    ("method with a space", &[(b":method", b"GET /x")]),
    (
        "endless method",
        &[(b":method", b"GETGETGETGETGETGETGETGETGETGETGETGET")],
    ),
    ("CONNECT", &[(b":method", b"CONNECT")]),
    ("pseudo field that nobody knows", &[(b":x", b"y")]),
    (
        "pseudo field twice",
        &[(b"x", b"y"), (b":path", b"/pass/x")],
    ),
];

/// An ordinary request with `fields` in it. An empty pseudo field is left out.
fn with_fields(path: &str, fields: &[Field]) -> Vec<u8> {
    let ordinary: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", path.as_bytes()),
        (b":authority", b"a"),
    ];
    let replaces = |name: &[u8]| fields.first().is_some_and(|(first, _)| *first == name);
    let kept = ordinary.iter().filter(|(name, _)| !replaces(name));
    // Pseudo fields come first, also the replaced one.
    let (first, rest) = fields.split_at(usize::from(fields[0].0.starts_with(b":")));
    let given = first.iter().filter(|(_, value)| !value.is_empty());
    let all: Vec<(&[u8], &[u8])> = kept.chain(given).chain(rest).copied().collect();
    block(&all)
}

#[tokio::test]
async fn no_hostile_field_of_http_2_reaches_the_app() {
    let (app, rig) = rig().await;
    let mut control = Client::connect(rig.plain()).await;
    for (name, fields) in HOSTILE_FIELDS {
        for path in ["/fan/x", "/pass/x"] {
            let mut client = RawH2::connect(rig.plain(), &[]).await;
            let flags = h2raw::END_STREAM | h2raw::END_HEADERS;
            let head = with_fields(path, fields);
            client.send(&frame(h2raw::HEADERS, flags, 1, &head)).await;
            let answer = client.answer(1).await;
            assert!(
                matches!(
                    answer,
                    Answer::Status(400 | 405 | 431) | Answer::Reset | Answer::Goaway(_)
                ),
                "{name} on {path}: {answer:?}"
            );
            assert_eq!(control.request(CONTROL).await.status, 200, "beside {name}");
        }
    }
    assert_eq!(app.connections(), 1, "that of the control");
    // The same, with nothing wrong in it.
    let mut client = RawH2::connect(rig.plain(), &[]).await;
    let flags = h2raw::END_STREAM | h2raw::END_HEADERS;
    let fields: &[Field] = &[
        (b":authority", b""),
        (b"host", b"a"),
        (b"content-length", b"0"),
    ];
    let head = with_fields("/pass/x", fields);
    client.send(&frame(h2raw::HEADERS, flags, 1, &head)).await;
    assert_eq!(client.answer(1).await, Answer::Status(200));
    let heads = app.heads();
    let (last, others) = heads.split_last().unwrap();
    assert!(last.starts_with("GET /pass/x HTTP/1.1\r\n"), "{last}");
    for head in others {
        assert!(
            head.starts_with("GET /control HTTP/1.1\r\n"),
            "the app saw {head:?}"
        );
    }
}

/// How a connection answers one request after the other with these fields, until it ends.
async fn answers(rig: &Rig, fields: &[Field]) -> Vec<Answer> {
    let mut client = RawH2::connect(rig.plain(), &[]).await;
    let head = with_fields("/pass/x", fields);
    let mut answers = Vec::new();
    for stream in (1..200).step_by(2) {
        let flags = h2raw::END_STREAM | h2raw::END_HEADERS;
        client
            .send(&frame(h2raw::HEADERS, flags, stream, &head))
            .await;
        answers.push(client.answer(stream).await);
        if !matches!(answers.last(), Some(Answer::Status(_))) {
            break;
        }
    }
    answers
}

#[tokio::test]
async fn endless_malformed_heads_on_http_2_end_the_connection() {
    let (app, rig) = rig().await;
    let mut answers = answers(&rig, &[(b"host", b"b")]).await;
    let last = answers.pop().unwrap();
    assert_eq!(last, Answer::Goaway(ENHANCE_YOUR_CALM), "{answers:?}");
    assert!((20..40).contains(&answers.len()), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == Answer::Status(400)));
    assert_eq!(app.connections(), 0);
}

/// A proxy forwards them for one client, by the connection that all its clients share.
#[tokio::test]
async fn heads_on_http_2_that_only_we_refuse_cost_nobody_else_anything() {
    let (app, rig) = rig().await;
    let answers = answers(&rig, &[(b"content_length", b"4")]).await;
    assert_eq!(answers, [Answer::Status(400); 100]);
    assert_eq!(app.connections(), 0);
    assert_eq!(rig.metrics().calmed_connections.get(), 0);
}
