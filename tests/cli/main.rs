//! The binary as a user meets it: what it prints, where, and with which exit code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, a panic is how a failed expectation is told"
)]

mod running;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output},
    thread,
};

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
