//! The publisher and the client together, and the program as it is run.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{net::SocketAddr, process::Stdio, time::Duration};

use loadtest::{
    app::{App, IdStyle, Options as AppOptions},
    fanout::{self, Options},
    plan::Plan,
    stats,
    target::Target,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// Bounds a wait that a correct program never uses up.
const PATIENCE: Duration = Duration::from_secs(30);

async fn app(events_per_second: f64) -> App {
    let listen = "127.0.0.1:0".parse().unwrap();
    let ids = IdStyle::PerConnection;
    App::start(AppOptions {
        listen,
        events_per_second,
        size: 200,
        ids,
    })
    .await
    .unwrap()
}

fn url(address: SocketAddr, path: &str) -> Target {
    format!("http://{address}{path}").parse().unwrap()
}

async fn post(address: SocketAddr, target: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

/// Waits until the publisher has so many subscribers.
async fn until_connected(address: SocketAddr, subscribers: u64) {
    let connected = async {
        let target = url(address, "/stats");
        while stats::fetch(&target).await.unwrap().connections < subscribers {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected)
        .await
        .expect("all subscribers to be connected");
}

fn options(address: SocketAddr, h1: u32) -> Options {
    Options {
        plan: Plan {
            h1,
            threads: 2,
            ..Plan::new(url(address, "/events"))
        },
        duration: Duration::from_secs(1),
        grace: Duration::from_secs(20),
        stats: Some(url(address, "/stats")),
        upstream_connections: Some(u64::from(h1)),
        gaps_max: 0,
        server_pid: Some(std::process::id()),
    }
}

#[tokio::test]
async fn hundreds_of_subscribers_get_everything() {
    let app = app(50.0).await;
    let report = fanout::run(&options(app.address, 300), |_| {})
        .await
        .unwrap();
    assert!(report.is_pass(), "{report}");
    assert!(report.outcome.tally.h1.latency.len() >= 300, "{report}");
    let json = report.to_json();
    assert_eq!(json["pass"], true);
    let again: fanout::Report = serde_json::from_value(json["run"].clone()).unwrap();
    assert_eq!(again.to_string(), report.to_string());
}

#[tokio::test]
async fn a_burst_arrives_whole_and_a_kill_shows() {
    let app = app(0.0).await;
    let address = app.address;
    let mut options = options(address, 50);
    let bursting = async move {
        until_connected(address, 50).await;
        post(address, "/burst?n=3000").await;
    };
    let (report, ()) = tokio::join!(fanout::run(&options, |_| {}), bursting);
    let report = report.unwrap();
    assert!(report.is_pass(), "{report}");
    assert_eq!(report.outcome.tally.h1.delivered, 150_000);

    options.upstream_connections = None;
    let killing = async move {
        until_connected(address, 50).await;
        post(address, "/burst?n=1").await;
        post(address, "/kill").await;
    };
    let (report, ()) = tokio::join!(fanout::run(&options, |_| {}), killing);
    let report = report.unwrap();
    assert!(!report.is_pass());
    assert_eq!(
        report.outcome.tally.h1.ends.values().sum::<u64>(),
        50,
        "{report}"
    );
}

#[tokio::test]
async fn several_processes_report_as_one() {
    let app = app(20.0).await;
    let json = std::env::temp_dir().join(format!("loadtest-{}.json", std::process::id()));
    let address = app.address;
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "fanout",
            &format!("http://{address}/events"),
            "--h1",
            "90",
            "--processes",
            "3",
        ])
        .args([
            "--duration",
            "1",
            "--stats",
            &format!("http://{address}/stats"),
        ])
        .args(["--upstream-connections", "90", "--json"])
        .arg(&json)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert_eq!(report["run"]["outcome"]["tally"]["h1"]["connected"], 90);
}

#[tokio::test]
async fn what_cannot_be_run_is_told_apart_from_a_failed_test() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let run = |args: Vec<String>| async {
        let program = env!("CARGO_BIN_EXE_loadtest");
        Command::new(program)
            .args(args)
            .output()
            .await
            .unwrap()
            .status
            .code()
    };
    let url = format!("http://{closed}/events");
    let fanout = |more: &[&str]| {
        let mut args = vec!["fanout".to_owned(), url.clone()];
        args.extend(more.iter().map(ToString::to_string));
        args
    };
    assert_eq!(run(fanout(&[])).await, Some(2));
    assert_eq!(
        run(fanout(&["--h1", "1", "--duration", "0", "-q"])).await,
        Some(1)
    );
    assert_eq!(
        run(vec![
            "fanout".to_owned(),
            "gopher://x".to_owned(),
            "--h1=1".to_owned()
        ])
        .await,
        Some(2)
    );
}
