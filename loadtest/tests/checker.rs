//! The checker against servers that lose, double, reorder and garble: each fault must show, and
//! none where there is none.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use loadtest::{
    clock,
    fleet::{Fleet, Outcome},
    lane::Order,
    plan::Plan,
    tally::Counts,
    target::Target,
    wire::scanner::Expect,
};
use tokio::process::Command;

use support::{Script, Security, event, events, h1_server, h2_server};

/// Bounds a wait that a correct program never uses up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the checker waits for events that will never come.
const GRACE: Duration = Duration::from_millis(200);

/// A gap in the place of the event number 2.
const GAP: &[u8] = b"event: sidestream-gap\nid: x-2\ndata: {\"reason\":\"cut\"}\n\n";

fn target(scheme: &str, address: SocketAddr) -> Target {
    format!("{scheme}://localhost:{}/events", address.port())
        .parse()
        .unwrap()
}

fn script(body: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Script {
    Arc::new(body)
}

/// Runs a plan until everybody is decided and `events` have been delivered, then closes it.
async fn run(plan: Plan, events: u64, last: Option<u64>) -> Outcome {
    let plan = Arc::new(plan);
    let mut fleet = Fleet::start(&plan, 0).unwrap();
    let deadline_ns = clock::now_ns() + clock::nanos(PATIENCE);
    loop {
        let now = fleet.snapshot();
        if now.connected + now.failed == plan.subscribers() && now.delivered >= events {
            break;
        }
        assert!(clock::now_ns() < deadline_ns, "stuck at {now:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fleet.order(Order::Measure { mark: None });
    fleet.order(Order::Finish {
        target: last,
        grace: GRACE,
    });
    tokio::task::spawn_blocking(|| fleet.join())
        .await
        .unwrap()
        .unwrap()
}

fn faults(counts: &Counts) -> [u64; 4] {
    [counts.lost, counts.doubled, counts.reordered, counts.torn]
}

#[tokio::test]
async fn every_fault_is_caught_and_nothing_else() {
    let torn = [event(1), event(2).replace_byte(b'"', b'!'), event(3)].concat();
    let gap = GAP.to_vec();
    let comment = b": sidestream-gap {\"reason\":\"cut\"}\n".to_vec();
    // What one of twenty subscribers is sent, how many messages that is, and its faults:
    // lost, doubled, reordered, torn. The others get 1 to 4.
    let cases: [(&str, Vec<u8>, u64, [u64; 4]); 10] = [
        ("right", events(&[1, 2, 3, 4]), 4, [0, 0, 0, 0]),
        ("late joiner", events(&[3, 4]), 2, [0, 0, 0, 0]),
        ("loses one", events(&[1, 2, 4]), 3, [1, 0, 0, 0]),
        ("loses the last two", events(&[1, 2]), 2, [2, 0, 0, 0]),
        ("gets nothing", Vec::new(), 0, [1, 0, 0, 0]),
        ("doubles", events(&[1, 2, 2, 3, 4, 4]), 6, [0, 2, 0, 0]),
        ("reorders", events(&[1, 3, 2, 4]), 4, [0, 0, 1, 0]),
        // The torn event cannot be known as number 2: it is missing, too.
        ("tears", [torn, event(4)].concat(), 3, [1, 0, 0, 1]),
        (
            "announces by event",
            [event(1), gap, events(&[3, 4])].concat(),
            3,
            [0, 0, 0, 0],
        ),
        (
            "announces by comment",
            [event(1), comment, events(&[3, 4])].concat(),
            3,
            [0, 0, 0, 0],
        ),
    ];
    for (name, odd, messages, expected) in cases {
        let body = script(move |number| {
            if number == 7 {
                odd.clone()
            } else {
                events(&[1, 2, 3, 4])
            }
        });
        let server = h1_server(body).await;
        let plan = Plan {
            h1: 20,
            threads: 2,
            ..Plan::new(target("http", server))
        };
        let outcome = run(plan, 19 * 4 + messages, Some(4)).await;
        let counts = &outcome.tally.h1;
        assert_eq!(faults(counts), expected, "{name}");
        assert_eq!(counts.faulty, u64::from(expected != [0; 4]), "{name}");
        assert_eq!(
            counts.gaps,
            u64::from(name.starts_with("announces")),
            "{name}"
        );
        assert_eq!(
            (counts.delivered, counts.connected),
            (19 * 4 + messages, 20),
            "{name}"
        );
    }
}

#[tokio::test]
async fn announced_gaps_fail_a_run_that_does_not_expect_them() {
    let body = script(|_| [event(1), GAP.to_vec(), events(&[3, 4])].concat());
    let url = format!("http://{}/events", h1_server(body).await);
    for (allowed, verdict, code) in [
        (
            None,
            "FAIL  gaps announced        3 for 3 events, 0 allowed",
            1,
        ),
        (
            Some("2"),
            "FAIL  gaps announced        3 for 3 events, 2 allowed",
            1,
        ),
        (
            Some("3"),
            "PASS  gaps announced        3 for 3 events, 3 allowed",
            0,
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(["fanout", &url, "--h1", "3", "--duration", "1", "--quiet"])
            .args(allowed.iter().flat_map(|max| ["--gaps-max", *max]))
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(verdict), "{allowed:?}: {text}");
        assert_eq!(output.status.code(), Some(code), "{text}");
    }
}

#[tokio::test]
async fn foreign_events_are_checked_by_their_ids() {
    let seqs: [&[u64]; 3] = [&[1, 2, 3], &[1, 3], &[1, 2, 2, 3]];
    let body = script(move |number| {
        let text = seqs[number]
            .iter()
            .map(|seq| format!("id: e1-{seq}\ndata: {{\"msg\":1}}\n\n"));
        text.collect::<String>().into_bytes()
    });
    let server = h1_server(body).await;
    let plan = Plan {
        h1: 3,
        expect: Expect::Ids,
        ..Plan::new(target("http", server))
    };
    let outcome = run(plan, 9, Some(3)).await;
    assert_eq!(faults(&outcome.tally.h1), [1, 1, 0, 0]);
}

#[tokio::test]
async fn http2_subscribers_are_checked_like_others() {
    for (security, scheme) in [(Security::Plain, "http"), (Security::Tls, "https")] {
        // On each connection the stream number 5 loses an event.
        let body = script(|number| events(if number == 5 { &[1, 3] } else { &[1, 2, 3] }));
        let server = h2_server(security, 200, body).await;
        let target = target(scheme, server);
        let plan = Plan {
            h2: 130,
            streams_per_connection: 50,
            insecure: true,
            ..Plan::new(target)
        };
        let outcome = run(plan, 130 * 3 - 3, Some(3)).await;
        let counts = &outcome.tally.h2;
        assert_eq!(faults(counts), [3, 0, 0, 0], "{:?}", counts.failures);
        assert_eq!(
            (
                counts.connected,
                counts.connect.len(),
                counts.first_byte.len()
            ),
            (130, 3, 130)
        );
        assert!(counts.ends.is_empty());
    }
}

#[tokio::test]
async fn refusals_are_reported_by_reason() {
    let refusing = h2_server(Security::Plain, 503, script(|_| Vec::new())).await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let plan = Plan {
        h1: 2,
        h1_target: target("http", closed),
        h2: 7,
        ..Plan::new(target("http", refusing))
    };
    let tally = run(plan, 0, None).await.tally;
    assert_eq!(tally.h2.failures["status 503"], 7);
    assert_eq!(tally.h1.failures["connect: connection refused"], 2);
    assert_eq!((tally.h1.connected, tally.h2.connected), (0, 0));
}

trait ReplaceByte {
    fn replace_byte(self, from: u8, to: u8) -> Self;
}

impl ReplaceByte for Vec<u8> {
    /// Replaces the last `from`.
    fn replace_byte(mut self, from: u8, to: u8) -> Self {
        let at = self.iter().rposition(|byte| *byte == from).unwrap();
        self[at] = to;
        self
    }
}
