//! The bench and the floor together: a closed loop over both protocols.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use loadtest::{
    bench::{self, Options, Pace, Waiting, source::Way},
    floor::{Floor, Options as FloorOptions, Per},
    plan::Plan,
    target::Target,
};

fn url(address: SocketAddr) -> Target {
    format!("http://{address}/events").parse().unwrap()
}

/// A floor that serves until the test program ends, and where it looks for its upstream.
fn floor(per: Per) -> (SocketAddr, SocketAddr) {
    // The bench listens there only later: the port is kept free by having been used just now.
    let source = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let floor = Floor::new(FloorOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstream: url(source),
        per,
    })
    .unwrap();
    let address = floor.address;
    std::thread::spawn(move || floor.serve());
    (address, source)
}

fn options(server: SocketAddr, source: SocketAddr, pace: Pace) -> Options {
    Options {
        plan: Plan {
            h1: 20,
            h2: 50,
            streams_per_connection: 10,
            connects_in_flight_max: 8,
            ..Plan::new(url(server))
        },
        way: Way::Serve(source),
        pace,
        size: 200,
        waiting: Waiting::Sleep,
        warmup: Duration::from_millis(50),
        duration: Duration::from_millis(200),
        grace: Duration::from_secs(10),
        server_pids: vec![std::process::id()],
    }
}

#[test]
fn everybody_gets_every_event_whatever_the_pace() {
    let paces = [Pace::Window(1), Pace::Window(64), Pace::Rate(500.0)];
    for per in [Per::Event, Per::Read] {
        let (server, source) = floor(per);
        for pace in paces {
            let outcome = bench::run(&options(server, source, pace)).unwrap();
            assert!(outcome.faults().is_empty(), "{per:?} {pace:?}: {outcome}");
            assert!(outcome.events > 0, "{per:?} {pace:?}: {outcome}");
            assert_eq!(outcome.upstreams, 1);
            let json = outcome.to_json();
            assert_eq!(json["connected"], 70);
            assert!(json["deliveries_per_second"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn without_a_duration_only_connects_are_measured() {
    let (server, source) = floor(Per::Event);
    let outcome = bench::run(&Options {
        duration: Duration::ZERO,
        ..options(server, source, Pace::Window(1))
    })
    .unwrap();
    assert!(outcome.faults().is_empty(), "{outcome}");
    // The first connection made the channel live and does not count.
    assert_eq!((outcome.connects.subscribers, outcome.events), (69, 0));
}

#[test]
fn a_server_that_is_not_there_is_a_fault_of_everybody() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let source = "127.0.0.1:0".parse().unwrap();
    let outcome = bench::run(&Options {
        duration: Duration::ZERO,
        ..options(nobody, source, Pace::Window(1))
    })
    .unwrap();
    assert_eq!(outcome.faults().values().sum::<u64>(), 70, "{outcome}");
}
