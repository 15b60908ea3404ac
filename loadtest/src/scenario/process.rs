//! A process that a run starts: its output in a file, its end with the run's.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{
    clock,
    failure::{Doing, Failure, Result},
};

/// How long a process may take to listen.
const LISTEN_MAX: Duration = Duration::from_secs(15);
const LISTEN_EVERY: Duration = Duration::from_millis(20);
/// Lines of its output that go into a failure.
const TAIL_LINES: usize = 5;

/// A running process; dropping it kills it.
pub struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
    /// Process id, also after its end.
    pub pid: u32,
}

/// What to start.
pub struct Program<'a> {
    /// Name in messages.
    pub name: &'static str,
    /// Its file.
    pub path: &'a Path,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, beside our own.
    pub env: Vec<(&'static str, String)>,
    /// CPUs to keep it on, as `taskset -c` takes them.
    pub cpus: Option<&'a str>,
    /// Where its output goes; what stands there stays.
    pub log: &'a Path,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: Program<'_>) -> Result<Self> {
        let Program {
            name,
            path,
            args,
            env,
            cpus,
            log,
        } = program;
        let open = || File::options().append(true).create(true).open(log);
        let output = open().doing(format_args!("write {}", log.display()))?;
        let errors = output.try_clone().doing("share a log file")?;
        let mut command = match cpus {
            None => Command::new(path),
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(path);
                command
            }
        };
        let child = command
            .args(args)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .doing(format_args!("start {name} ({})", path.display()))?;
        let pid = child.id().unwrap_or_default();
        Ok(Self {
            child,
            name,
            log: log.to_path_buf(),
            pid,
        })
    }

    /// Waits until it takes connections at `address`.
    ///
    /// # Errors
    /// When it ends instead, or takes too long.
    pub async fn listens(&mut self, address: SocketAddr) -> Result<()> {
        let deadline_ns = clock::now_ns() + clock::nanos(LISTEN_MAX);
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = self.ended()? {
                let (name, tail) = (self.name, self.tail());
                return Err(Failure::new(format!("{name} ended ({status}): {tail}")));
            }
            if clock::now_ns() > deadline_ns {
                let (name, tail) = (self.name, self.tail());
                let seconds = LISTEN_MAX.as_secs();
                return Err(Failure::new(format!(
                    "{name} does not listen at {address} after {seconds} s: {tail}"
                )));
            }
            tokio::time::sleep(LISTEN_EVERY).await;
        }
        Ok(())
    }

    /// Its exit status, once it has ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.child.try_wait().doing("look after a process")
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        let name = self.name;
        self.child.kill().await.doing(format_args!("kill {name}"))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<()> {
        let pid = i32::try_from(self.pid).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new(format!("{} has no pid", self.name)))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .doing(format_args!("terminate {}", self.name))
    }

    /// The last lines of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        if text.trim().is_empty() {
            return "it wrote nothing".to_owned();
        }
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(TAIL_LINES);
        lines.get(last..).unwrap_or_default().join("\n")
    }
}

/// Does `work` unless this program is told to end (SIGINT, SIGTERM): then what was started ends too,
/// with what is dropped.
///
/// # Errors
/// Those of the work, or that it was stopped.
pub async fn unless_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate()).doing("listen for SIGTERM")?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::new("stopped by SIGINT")),
        _ = terminate.recv() => Err(Failure::new("stopped by SIGTERM")),
    }
}

/// A loopback address that nobody listens at.
///
/// # Errors
/// When there is none left.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").doing("find a free port")?;
    listener.local_addr().doing("find a free port")
}
