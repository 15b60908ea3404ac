//! The bench and the floor together: a closed loop over both protocols.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use loadtest::{
    bench::{self, Options, Pace, Waiting, source::Way},
    floor::{Floor, Options as FloorOptions, Per},
    plan::Plan,
    target::Target,
};
use parking_lot::Mutex;

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

/// A hub that is pushed to: what is posted goes to everybody who has asked, under an id of its own. It
/// takes so many posts on a connection, and dies.
fn hub(posts_max: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let subscribers = Arc::new(Mutex::new(Vec::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let subscribers = Arc::clone(&subscribers);
            std::thread::spawn(move || serve(stream.unwrap(), posts_max, &subscribers));
        }
    });
    address
}

fn serve(stream: TcpStream, posts_max: u64, subscribers: &Mutex<Vec<TcpStream>>) {
    let mut answers = stream.try_clone().unwrap();
    let mut requests = BufReader::new(stream);
    for id in 1..=posts_max {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if requests.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        if head.starts_with("GET ") {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            // Under the lock: who has read the head counts as a subscriber, and the next event is
            // for them too.
            let mut subscribers = subscribers.lock();
            answers.write_all(head).unwrap();
            return subscribers.push(answers);
        }
        let (_, length) = head.split_once("Content-Length: ").unwrap();
        let mut message = vec![0; length.trim().parse().unwrap()];
        requests.read_exact(&mut message).unwrap();
        let event = [format!("id: {id}\ndata: ").as_bytes(), &message, b"\n\n"].concat();
        // Those that have left are of no interest here.
        subscribers
            .lock()
            .retain_mut(|one| one.write_all(&event).is_ok());
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
        answers.write_all(answer).unwrap();
    }
    subscribers.lock().clear();
}

#[test]
fn events_can_be_posted_to_a_hub() {
    let hub = hub(u64::MAX);
    for window in [1, 64] {
        let mut options = options(hub, hub, Pace::Window(window));
        options.plan.h2 = 0;
        options.way = Way::Post(url(hub));
        let outcome = bench::run(&options).unwrap();
        assert!(outcome.faults().is_empty(), "{window}: {outcome}");
        assert!(outcome.events > 0, "{window}: {outcome}");
    }
}

#[test]
fn a_server_that_dies_is_a_fault_of_its_run() {
    let hub = hub(3);
    let mut options = options(hub, hub, Pace::Window(2));
    options.plan.h2 = 0;
    options.way = Way::Post(url(hub));
    let outcome = bench::run(&options).unwrap();
    let json = outcome.to_json();
    let faults = json["faults"].as_object().unwrap();
    assert!(
        faults.keys().any(|fault| fault.starts_with("publish: ")),
        "{json}"
    );
    // Each has the events that there were, and is owed those that the hub did not take.
    assert_eq!(json["connected"], 20);
    assert!(faults["lost"].as_u64() >= Some(20), "{json}");
    // The time that it lived is no rate to compare with.
    assert_eq!(json.get("deliveries_per_second"), None);
    assert_eq!(json.get("others_share"), None);
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
