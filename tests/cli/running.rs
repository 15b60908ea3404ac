//! A process that runs, and the commands that speak to it.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use sidestream::clock;

use super::{file, sidestream};

/// No condition in a test takes this long, not even on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(60);

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
        self.command(&["healthcheck", question])
    }

    /// Exit code of a command about this process, found by the file, and what it prints.
    fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let file = self.folder.path().join("sidestream.yaml");
        let args = [args, &["--config", file.to_str().unwrap()]].concat();
        let output = sidestream(&args);
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

    /// Its exit; it is killed if that does not come.
    fn end(&mut self) -> ExitStatus {
        let (sender, ended) = mpsc::sync_channel(1);
        let pid = self.child.id().to_string();
        thread::scope(|scope| {
            scope.spawn(|| sender.send(self.child.wait().unwrap()));
            let status = ended.recv_timeout(PATIENCE);
            if status.is_err() {
                let _ = Command::new("kill").args(["-9", &pid]).status();
            }
            status.expect("it ends")
        })
    }

    /// A page of the admin service.
    fn page(&self, path: &str) -> String {
        let mut admin = self.socket("admin.sock");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        admin.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        admin.read_to_string(&mut page).unwrap();
        page
    }

    fn socket(&self, name: &str) -> UnixStream {
        let socket = UnixStream::connect(self.folder.path().join(name)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
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
    let page = process.page("/config");
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
    assert_eq!(process.end().code(), Some(0));
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
    assert_eq!(process.end().code(), Some(1), "it says that something hung");
    drop(unread);
}

/// A GET over a new connection; all that comes until the end.
fn ask_web(process: &Process, target: &str) -> String {
    let mut web = process.socket("web.sock");
    web.write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    web.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_drain_by_command_keeps_the_process_and_the_first_signal_ends_it_without_a_new_window() {
    let more = "drain: {window: 1h, margin: 1h, listen_min: 0}\n";
    let mut process = Process::with(Stdio::null(), more);
    process.until("ready", |code, _| code == Some(0));

    for _ in 0..2 {
        let (code, said) = process.command(&["drain"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("\"phase\":\"drain"), "{said}");
    }
    let (code, said) = process.command(&["drain", "--wait"]);
    assert_eq!((code, said.trim_end()), (Some(0), r#"{"phase":"drained"}"#));
    let (code, said) = process.healthcheck("ready");
    assert_eq!(code, Some(1));
    assert!(said.contains(r#""reasons":["drained"]"#), "{said}");
    assert_eq!(process.healthcheck("live").0, Some(0), "nothing to restart");
    // What passes through is served for as long as the app is.
    for _ in 0..3 {
        let answer = ask_web(&process, "/");
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(
            answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
    }
    assert_eq!(process.child.try_wait().unwrap(), None, "it stays");

    process.terminate();
    assert_eq!(process.end().code(), Some(0));
    let (code, said) = process.command(&["drain"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("no process runs on this configuration file"),
        "{said}"
    );
}

#[test]
fn who_waits_for_a_drain_is_told_when_a_signal_ends_the_process_first() {
    let more = "drain: {window: 1h, margin: 0, listen_min: 1h}\n";
    let mut process = Process::with(Stdio::null(), more);
    process.until("ready", |code, _| code == Some(0));
    let file = process.folder.path().join("sidestream.yaml");
    let waiting =
        thread::spawn(move || sidestream(&["drain", "--wait", "--config", file.to_str().unwrap()]));
    process.until("ready", |_, said| said.contains("draining"));
    // The second one ends at once; one that comes while the first is being heard may be lost.
    let begun = clock::now();
    while process.child.try_wait().unwrap().is_none() {
        let patient = clock::now().since(begun) < PATIENCE;
        assert!(
            patient,
            "it has been told to end for {PATIENCE:?}, and runs"
        );
        process.terminate();
    }
    let output = waiting.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"{\"phase\":\"ended\"}\n");
}

/// Where the kernel shows how large a process's table of descriptors is.
#[cfg(target_os = "linux")]
#[test]
fn the_table_of_descriptors_has_room_for_all_clients_from_the_start() {
    let number_after = |text: &str, name: &str| -> usize {
        let mut lines = text.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        rest.trim().parse().unwrap()
    };
    let process = Process::with(Stdio::null(), "limits: {connections_max: 5000}\n");
    process.until("ready", |code, _| code == Some(0));
    // As many as the machine's limit allows.
    let clients = number_after(&process.page("/metrics"), "sidestream_connections_max ");
    let status = format!("/proc/{}/status", process.child.id());
    let table = number_after(&std::fs::read_to_string(status).unwrap(), "FDSize:");
    assert!(table > clients, "{table} for {clients} clients");
}
