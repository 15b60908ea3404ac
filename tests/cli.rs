//! The binary as a user meets it: what it prints, where, and with which exit code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// No condition in a test takes this long, not even on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn sidestream(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidestream"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("SIDESTREAM_CONFIG")
        .output()
        .unwrap()
}

/// Runs it and compares the exit code and what standard output and error contain; empty: nothing.
fn check(args: &[&str], code: i32, out: &str, err: &str) {
    let output = sidestream(args);
    let texts = [(&output.stdout, out), (&output.stderr, err)];
    for (got, wanted) in texts {
        let got = String::from_utf8_lossy(got);
        assert!(
            got.contains(wanted) && wanted.is_empty() == got.is_empty(),
            "{args:?}: {got}"
        );
    }
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
}

fn file(directory: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path: PathBuf = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn exit_codes_tell_usage_and_configuration_from_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let bad = file(&directory, "bad.yaml", "version: 1\nlistner: 3\n");
    check(
        &["--version"],
        0,
        concat!("sidestream ", env!("CARGO_PKG_VERSION")),
        "",
    );
    check(&["--help"], 0, "Examples:", "");
    check(&[], 2, "", "Usage: sidestream");
    check(&["serve"], 2, "", "unrecognized subcommand");
    check(
        &["check", "conf/sidestream.yaml"],
        0,
        "conf/sidestream.yaml: well, with 1 listener",
        "",
    );
    check(
        &["check", &bad],
        2,
        "",
        "bad.yaml:2:1: unknown key `listner`",
    );
    check(
        &["check", &bad, "conf/sidestream.yaml"],
        2,
        "well",
        "did you mean `listeners`?",
    );
    check(
        &["run", "--config", &bad],
        2,
        "",
        "bad.yaml:2:1: unknown key `listner`",
    );
    check(
        &["run", "--config", "/nonexistent/file"],
        2,
        "",
        "/nonexistent/file: the file cannot be read: No such file",
    );
    check(
        &["demo", "--upstream", "app:3000"],
        2,
        "",
        "--upstream: `app:3000` has no scheme; write `http://app:3000`",
    );
    check(
        &["demo", "--upstream", "http://app", "--stream-path", "feed"],
        2,
        "",
        "--stream-path feed: ",
    );
    check(
        &["print-config", "--config", "conf/sidestream.yaml"],
        0,
        "heartbeat",
        "",
    );
    check(
        &["schema"],
        0,
        "http://json-schema.org/draft-07/schema#",
        "",
    );
}

#[test]
fn check_tells_machines_too() {
    let directory = tempfile::tempdir().unwrap();
    let bad = file(&directory, "bad.yaml", "version: 1\nlistner: 3\n");
    let output = sidestream(&[
        "check",
        "--output",
        "json",
        &bad,
        "conf/sidestream.yaml",
        "/none",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json[0]["valid"], false);
    assert_eq!(json[0]["problems"][0]["line"], 2);
    assert_eq!(json[1]["valid"], true);
    assert!(
        json[2]["problems"][0]["message"]
            .as_str()
            .unwrap()
            .contains("No such file")
    );
}

#[test]
fn print_config_prints_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let first = sidestream(&["print-config", "--config", "conf/sidestream.yaml"]).stdout;
    let printed = file(
        &directory,
        "printed.yaml",
        &String::from_utf8(first.clone()).unwrap(),
    );
    let second = sidestream(&["print-config", "--config", &printed]).stdout;
    assert_eq!(first, second);
}

#[test]
fn a_wrong_filter_in_the_environment_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_sidestream"))
        .args(["run", "--config", "conf/sidestream.yaml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("SIDESTREAM_LOG", "verbose")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("SIDESTREAM_LOG: `verbose` is not a log filter: it is not a level; write"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(2));
}

/// `sidestream run` on a file in a folder of its own, ended with the test.
struct Process {
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    /// Listener and admin service are unix sockets in the folder; `admin` is the latter's name.
    fn source(folder: &Path, admin: &str) -> String {
        let folder = folder.display();
        format!(
            "version: 1\nlisteners: [{{name: web, address: 'unix:{folder}/web.sock'}}]\n\
             upstreams: {{app: 'http://127.0.0.1:9'}}\nroutes: [{{path: /, action: proxy}}]\n\
             admin: {{address: 'unix:{folder}/{admin}'}}\n"
        )
    }

    /// With further lines of configuration.
    fn with(stderr: Stdio, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Self::source(folder.path(), "admin.sock") + more;
        file(&folder, "sidestream.yaml", &source);
        let child = Command::new(env!("CARGO_BIN_EXE_sidestream"))
            .args(["run", "--config", "sidestream.yaml"])
            .current_dir(folder.path())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Exit code of `healthcheck` by the file, and what it prints.
    fn healthcheck(&self, question: &str) -> (Option<i32>, String) {
        let file = self.folder.path().join("sidestream.yaml");
        let output = sidestream(&["healthcheck", question, "--config", file.to_str().unwrap()]);
        let texts = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(texts).unwrap())
    }

    /// Asks until `condition` holds: each question is a process, so this does not spin.
    fn until(&self, question: &str, mut condition: impl FnMut(Option<i32>, &str) -> bool) {
        let mut said = String::new();
        for _ in 0..5_000 {
            let (code, text) = self.healthcheck(question);
            if condition(code, &text) {
                return;
            }
            said = text;
        }
        panic!("in vain; it last said: {said}");
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }

    fn socket(&self, name: &str) -> UnixStream {
        UnixStream::connect(self.folder.path().join(name)).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_probe_asks_the_process_that_runs_however_its_file_was_edited() {
    const DRAIN: &str = "drain: {window: 1h, margin: 0, listen_min: 1h}\n";
    let mut process = Process::with(Stdio::null(), DRAIN);
    process.until("ready", |code, _| code == Some(0));

    let edited = Process::source(process.folder.path(), "moved.sock");
    file(&process.folder, "sidestream.yaml", &(edited + DRAIN));
    process.until("ready", |code, said| {
        assert_eq!(code, Some(0), "{said}");
        said.contains("restart needed: admin")
    });
    let mut admin = process.socket("admin.sock");
    admin
        .write_all(b"GET /config HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    admin.read_to_string(&mut page).unwrap();
    let (in_force, waiting) = page.split_once("takes effect at the next start").unwrap();
    assert!(
        in_force.contains("admin.sock") && !in_force.contains("moved.sock"),
        "{page}"
    );
    assert!(
        waiting.contains("moved.sock") && !waiting.contains("admin.sock"),
        "{page}"
    );

    file(&process.folder, "sidestream.yaml", "routes: [");
    for question in ["live", "ready"] {
        let (code, said) = process.healthcheck(question);
        assert_eq!(code, Some(0), "{said}");
    }

    // Nobody is connected, but a load balancer may not know yet: it is served.
    process.terminate();
    process.until("ready", |code, said| {
        assert!(code == Some(0) || said.contains("503"), "{said}");
        said.contains("draining")
    });
    assert_eq!(process.healthcheck("live").0, Some(0));
    let mut web = process.socket("web.sock");
    web.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    web.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");

    process.terminate();
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    let (code, said) = process.healthcheck("ready");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("no process runs on the configuration file"),
        "{said}"
    );
}

/// Nobody reads the log: sooner or later each thread that writes a line hangs.
#[test]
fn the_process_ends_by_its_deadline_although_its_threads_hang() {
    const PIPE_BYTES: usize = 64 << 10;
    let (unread, mut pipe) = std::io::pipe().unwrap();
    // Leaves room for some dozens of lines.
    pipe.write_all(&[b'x'; PIPE_BYTES - (8 << 10)]).unwrap();
    let more = "log: {filter: debug, format: json}\ndrain: {window: 0, margin: 0}\n";
    let mut process = Process::with(pipe.into(), more);
    process.until("ready", |code, _| code == Some(0));

    // Each refused head is a line at `debug`.
    let mut hung = false;
    for _ in 0..1_000 {
        let mut web = process.socket("web.sock");
        web.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        web.write_all(b"GET /\r\n\r\n").unwrap();
        hung = web.read_to_end(&mut Vec::new()).is_err();
        if hung {
            break;
        }
    }
    assert!(hung, "the pipe has room for all lines");
    process.terminate();
    let (sender, ended) = mpsc::sync_channel(1);
    let pid = process.child.id();
    thread::spawn(move || sender.send(process.child.wait().unwrap().code()));
    let code = ended.recv_timeout(PATIENCE);
    if code.is_err() {
        let kill = Command::new("kill").args(["-9", &pid.to_string()]).status();
        panic!("it did not end and was killed: {kill:?}");
    }
    assert_eq!(code, Ok(Some(1)), "it says that something hung");
    drop(unread);
}

/// Answers one connection with the given bytes and returns where.
fn answering(bytes: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /"));
        stream.write_all(bytes.as_bytes()).unwrap();
    });
    address
}

#[test]
fn healthcheck_is_fit_for_a_probe() {
    let ok = "HTTP/1.1 200 OK\r\n\r\n{\"ready\":true}\n";
    let draining = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reasons\":[\"draining\"]}\n";
    check(
        &["healthcheck", "--admin", &answering(ok)],
        0,
        "{\"ready\":true}",
        "",
    );
    check(
        &["healthcheck", "live", "--admin", &answering(ok)],
        0,
        "true",
        "",
    );
    check(
        &["healthcheck", "--admin", &answering(draining)],
        1,
        "",
        "503: {\"reasons\":[\"drain",
    );
    check(
        &["healthcheck", "--admin", &answering("SSH-2.0\r\n")],
        1,
        "",
        "not HTTP",
    );
    check(
        &["healthcheck", "--admin", "unix:/nonexistent"],
        1,
        "",
        "no answer: No such file",
    );
    check(
        &["healthcheck", "--admin", "nowhere"],
        2,
        "",
        "write 127.0.0.1:9901",
    );
}
