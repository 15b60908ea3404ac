//! The Sidestream under test, when a run starts its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_yaml::Value;

use super::process::{Process, Program, free_address};
use crate::{
    clock,
    failure::{Doing, Result},
};

/// What every run starts from.
pub const BASE: &str = include_str!("../../conf/scenario.yaml");
/// A file that no version of Sidestream takes.
const BAD: &str = "version: 1\nroutes: neither here nor there\n";
const CONFIG: &str = "sidestream.yaml";

/// How to start it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program.
    pub program: PathBuf,
    /// CPUs to keep it on.
    pub cpus: Option<String>,
    /// For configuration, certificate and logs.
    pub folder: PathBuf,
    /// Where its app listens.
    pub app: SocketAddr,
}

/// Sidestream, at addresses that stay the same over restarts.
pub struct Server {
    options: Options,
    config: Value,
    process: Process,
    /// The one that has a successor.
    old: Option<Process>,
    /// When it was told to end, until it has.
    told_ns: Option<u64>,
    /// Where it listens; after a drain with a successor, where that one does.
    pub at: Addresses,
    /// Where a successor is going to listen.
    pub next: Addresses,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// HTTP/1.1 and HTTP/2 in clear.
    pub plain: SocketAddr,
    /// Over TLS.
    pub secure: SocketAddr,
    /// Metrics.
    pub admin: SocketAddr,
}

impl Addresses {
    fn free() -> Result<Self> {
        Ok(Self {
            plain: free_address()?,
            secure: free_address()?,
            admin: free_address()?,
        })
    }
}

/// What became of a drain.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// From SIGTERM to the end of the process.
    pub seconds: f64,
    /// Whether it ended with exit code 0.
    pub clean: bool,
}

impl Server {
    /// Starts it with `over` laid over the configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(options: Options, over: &Value) -> Result<Self> {
        let mut config: Value = serde_yaml::from_str(BASE).doing("read conf/scenario.yaml")?;
        lay_over(&mut config, over);
        certify(&options.folder)?;
        write(&options.folder, &config)?;
        let (at, next) = (Addresses::free()?, Addresses::free()?);
        let process = launch(&options, at)?;
        let mut server = Self {
            options,
            config,
            process,
            old: None,
            told_ns: None,
            at,
            next,
        };
        server.process.listens(at.plain).await?;
        Ok(server)
    }

    /// Its process; after a drain with a successor, the successor's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// The configuration that it was started with, or last given.
    #[must_use]
    pub fn config(&self) -> String {
        serde_yaml::to_string(&self.config).unwrap_or_default()
    }

    /// Lays `over` over the configuration in force.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reload(&mut self, over: &Value) -> Result<()> {
        lay_over(&mut self.config, over);
        write(&self.options.folder, &self.config)
    }

    /// Makes the configuration file one that must not be taken.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reload_bad(&self) -> Result<()> {
        replace(&self.options.folder, BAD)
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again at the same addresses.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn revive(&mut self) -> Result<()> {
        write(&self.options.folder, &self.config)?;
        self.process = launch(&self.options, self.at)?;
        self.process.listens(self.at.plain).await
    }

    /// Tells it to end. With a successor that one is up before, as in a rolling update.
    ///
    /// # Errors
    /// When it is gone, or the successor does not come up.
    pub async fn drain(&mut self, successor: bool) -> Result<()> {
        if successor {
            let mut next = launch(&self.options, self.next)?;
            next.listens(self.next.plain).await?;
            self.at = self.next;
            self.old = Some(std::mem::replace(&mut self.process, next));
        }
        self.told_ns = Some(clock::now_ns());
        self.old.as_ref().unwrap_or(&self.process).terminate()
    }

    /// What became of the drain, once the process has ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn drained(&mut self) -> Result<Option<Drained>> {
        let Some(told_ns) = self.told_ns else {
            return Ok(None);
        };
        let process = self.old.as_mut().unwrap_or(&mut self.process);
        let Some(status) = process.ended()? else {
            return Ok(None);
        };
        self.told_ns = None;
        let seconds = Duration::from_nanos(clock::now_ns().saturating_sub(told_ns)).as_secs_f64();
        Ok(Some(Drained {
            seconds,
            clean: status.success(),
        }))
    }
}

fn launch(options: &Options, at: Addresses) -> Result<Process> {
    let folder = &options.folder;
    let config = folder.join(CONFIG);
    Process::start(Program {
        name: "sidestream",
        path: &options.program,
        args: vec![
            "run".to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
        ],
        env: vec![
            ("LOADTEST_LISTEN", at.plain.to_string()),
            ("LOADTEST_LISTEN_TLS", at.secure.to_string()),
            ("LOADTEST_ADMIN", at.admin.to_string()),
            ("LOADTEST_APP", options.app.to_string()),
            ("LOADTEST_FOLDER", folder.display().to_string()),
        ],
        cpus: options.cpus.as_deref(),
        log: &folder.join("sidestream.log"),
    })
}

/// Mappings are merged key by key, everything else is replaced.
fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Mapping(base), Value::Mapping(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn write(folder: &Path, config: &Value) -> Result<()> {
    let text = serde_yaml::to_string(config).doing("write a configuration")?;
    replace(folder, &text)
}

/// By a rename, so that a server that polls never sees half a file.
fn replace(folder: &Path, text: &str) -> Result<()> {
    let (path, next) = (folder.join(CONFIG), folder.join("next.yaml"));
    fs::write(&next, text).doing(format_args!("write {}", next.display()))?;
    fs::rename(&next, &path).doing(format_args!("write {}", path.display()))
}

/// A certificate for this run.
fn certify(folder: &Path) -> Result<()> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).doing("make a certificate")?;
    let files = [
        ("tls.crt", made.cert.pem()),
        ("tls.key", made.signing_key.serialize_pem()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).doing(format_args!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_merge_and_the_rest_is_replaced() {
        let cases = [
            ("a: {b: 1, c: 2}", "a: {c: 3}", "a: {b: 1, c: 3}"),
            ("a: [1, 2]", "a: [3]", "a: [3]"),
            ("a: 1", "{}", "a: 1"),
            ("a: 1", "b: {c: 2}", "{a: 1, b: {c: 2}}"),
            ("a: {b: 1}", "a: 2", "a: 2"),
        ];
        for (base, over, expected) in cases {
            let read = |text: &str| serde_yaml::from_str::<Value>(text).unwrap();
            let mut merged = read(base);
            lay_over(&mut merged, &read(over));
            assert_eq!(merged, read(expected), "{base} | {over}");
        }
        assert!(serde_yaml::from_str::<Value>(BASE).unwrap().is_mapping());
    }
}
