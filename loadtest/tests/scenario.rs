//! Scenarios from end to end, as the program is run.
//!
//! The server that it starts is this very program, as a relay that knows nothing: it passes bytes,
//! and when it is killed its readers miss what was published meanwhile. (Hence a `main` of its own.)

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests, in a program of their own"
)]

use std::{env, fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use loadtest::scenario::record::Record;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    process::Command,
};

/// Bounds a wait that a correct program never uses up.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match env::args().nth(1).as_deref() {
        Some("run") => runtime.block_on(relay()),
        Some("--version") => {}
        // What test runners ask a program for its list of tests with.
        Some("--list") => println!("scenario: test"),
        _ => {
            runtime.block_on(scenarios());
            println!("scenario: ok");
        }
    }
}

/// The server under test: connects each client to the publisher.
async fn relay() {
    let address = |name| env::var(name).unwrap().parse::<SocketAddr>().unwrap();
    let (listen, app) = (address("LOADTEST_LISTEN"), address("LOADTEST_APP"));
    let listener = TcpListener::bind(listen).await.unwrap();
    let folder = env::var("LOADTEST_FOLDER").unwrap();
    fs::write(format!("{folder}/pid"), std::process::id().to_string()).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut upstream = TcpStream::connect(app).await.unwrap();
            // An end of either side is an end of both, and no failure of the relay.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        });
    }
}

async fn scenarios() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let (code, calm) = run(folder, "calm", "{at: 1s, do: burst, events: 50}").await;
    let figure = |record: &Record, name: &str| record.runs[0].figures.get(name).copied();
    assert_eq!(code, Some(0), "{:?}", calm.runs[0].checks);
    assert!(calm.pass);
    assert_eq!(figure(&calm, "lost"), Some(0.0));
    assert_eq!(figure(&calm, "returned"), Some(0.0));
    assert!(figure(&calm, "latency_p99_ms").unwrap() > 0.0);
    assert!(figure(&calm, "amplification").unwrap() > 39.0);
    assert!(figure(&calm, "server_cpu_cores").is_some());
    assert!(figure(&calm, "requests").unwrap() > 40.0);
    assert_eq!(figure(&calm, "requests_failed"), Some(0.0));
    let first = &calm.runs[0];
    assert!(
        first
            .seconds
            .iter()
            .any(|second| second.delivered >= 40 * 70)
    );
    assert_eq!(first.moments[0].what, "burst");
    assert_eq!(first.groups[0].counts.connected, 40);

    let event = "{at: 1s, do: restart-server, down: 200ms}";
    let (code, torn) = run(folder, "torn", event).await;
    assert_eq!(code, Some(1), "{:?}", torn.runs[0].figures);
    assert!(!torn.pass);
    assert_eq!(figure(&torn, "returned"), Some(40.0));
    assert_eq!(figure(&torn, "absent"), Some(0.0));
    assert!(figure(&torn, "lost").unwrap() >= 40.0);
    assert!(figure(&torn, "recovery_seconds").unwrap() > 0.0);

    let code = compare(folder, "calm", "calm").await;
    assert_eq!(code, Some(0));
    let code = compare(folder, "calm", "torn").await;
    assert_eq!(code, Some(1));

    stopped(folder).await;
    alone(folder).await;

    let broken = folder.join("broken.yaml");
    fs::write(&broken, "name: broken\nabout: [").unwrap();
    let output = loadtest(&[
        "scenario",
        broken.to_str().unwrap(),
        "--sidestream",
        "/nowhere",
    ])
    .await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("broken.yaml") && said.contains("line 2"),
        "{said}"
    );
}

/// Where nobody gets in, or an event, no threshold says anything.
async fn alone(folder: &Path) {
    // A port that was free a moment ago.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = taken.local_addr().unwrap();
    drop(taken);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n";
            client.write_all(head.as_bytes()).await.unwrap();
            open.push(client);
        }
    });
    let refused = "no subscriber could connect: connect: connection refused (12 times)";
    for (name, address, why) in [
        ("alone", nobody, refused),
        ("silent", silent, "nobody got an event"),
    ] {
        let file = folder.join(format!("{name}.yaml"));
        let text = format!(
            "name: {name}\nabout: nothing happens\nsubscribers: [{{protocol: h1, count: 12}}]\n\
             hold: 1s\nthresholds: [lost <= 0]\n"
        );
        fs::write(&file, text).unwrap();
        let results = folder.join(name);
        let output = loadtest(&[
            "scenario",
            file.to_str().unwrap(),
            "--url",
            &format!("http://{address}/"),
            "--results",
            results.to_str().unwrap(),
        ])
        .await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
        let report = results.join(format!("{name}.html"));
        assert!(!report.exists(), "there is nothing to report");
    }
    server.abort();
}

/// A run that is told to end leaves nothing behind.
async fn stopped(folder: &Path) {
    let file = folder.join("small.yaml");
    let program = env::current_exe().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "scenario",
            file.to_str().unwrap(),
            "--hold=60s",
            "--results",
        ])
        .arg(folder.join("stopped"))
        .arg("--sidestream")
        .arg(program)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = folder.join("stopped/small-files/pid");
    until(|| fs::read_to_string(&pid).is_ok_and(|pid| !pid.is_empty())).await;
    let server = fs::read_to_string(&pid).unwrap();
    let mut told = Command::new("kill");
    told.arg(child.id().unwrap().to_string());
    assert!(told.status().await.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("stopped by SIGTERM"), "{said}");
    until(|| !Path::new("/proc").join(&server).exists()).await;
}

/// Waits until a condition holds.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// Runs forty subscribers that come back, with one event; returns the exit code and the record.
async fn run(folder: &Path, results: &str, event: &str) -> (Option<i32>, Record) {
    let results = folder.join(results);
    let file = folder.join("small.yaml");
    let text = format!(
        "name: small
about: forty subscribers & one event
publisher: {{rate: 50, size: 120}}
subscribers:
  - {{protocol: h1, count: 400, after_end: return, browser: true}}
requests: {{per_second: 200, connections: 4}}
hold: 6s
events: [{event}]
thresholds: [lost <= 0, doubled <= 0, torn <= 0, absent <= 0, latency_p99_ms <= 5000]
"
    );
    fs::write(&file, text).unwrap();
    let program = env::current_exe().unwrap();
    let args = [
        "scenario",
        file.to_str().unwrap(),
        "--scale=0.1",
        "--quiet",
        "--sidestream",
        program.to_str().unwrap(),
        "--results",
        results.to_str().unwrap(),
    ];
    let output = loadtest(&args).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let path = results.join("small.json");
    assert!(path.exists(), "{said}");
    let page = fs::read_to_string(results.join("small.html")).unwrap();
    assert!(page.contains("forty subscribers &amp; one event"));
    (output.status.code(), Record::load(&path).unwrap())
}

async fn compare(folder: &Path, before: &str, after: &str) -> Option<i32> {
    let path = |name: &str| folder.join(name).join("small.json").display().to_string();
    let output = loadtest(&["compare", &path(before), &path(after)]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("latency_p99_ms"), "{said}");
    output.status.code()
}

async fn loadtest(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(args)
        .output()
        .await
        .unwrap()
}
