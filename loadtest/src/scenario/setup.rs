//! What a run ran on: enough to know whether two runs can be compared.

use std::fs;

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// The set-up of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Version of this program.
    pub loadtest: String,
    /// What the server says of itself, if we started it.
    pub server: Option<String>,
    /// Kernel.
    pub kernel: String,
    /// The processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_mib: u64,
    /// Descriptors that a process may have.
    pub descriptors: Option<u64>,
    /// Memory that the cgroup allows, if it bounds it.
    pub cgroup_memory_bytes: Option<u64>,
    /// FNV-1a of the server's configuration, and of the scenario.
    pub config_hash: String,
    /// The random times of subscribers follow from it.
    pub seed: u64,
    /// How it was started.
    pub command: String,
    /// When, in seconds since 1970.
    pub started: u64,
}

impl Setup {
    /// The machine and this program; `hashed` is what the hash is over.
    #[must_use]
    pub fn of_machine(seed: u64, hashed: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kibibytes = memory.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        let arguments: Vec<String> = std::env::args().collect();
        Self {
            loadtest: env!("CARGO_PKG_VERSION").to_owned(),
            server: None,
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: cores(),
            memory_mib: kibibytes.unwrap_or_default() / 1_024,
            descriptors: getrlimit(Resource::Nofile).current,
            cgroup_memory_bytes: cgroup_memory(),
            config_hash: format!("{:016x}", fnv1a(hashed.as_bytes())),
            seed,
            command: arguments.join(" "),
            started: unix_seconds(),
        }
    }
}

/// Cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that the cgroup allows.
#[must_use]
pub fn cgroup_memory() -> Option<u64> {
    let text = fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?;
    text.trim().parse().ok()
}

/// Cores that the cgroup allows.
#[must_use]
pub fn cgroup_cores() -> Option<f64> {
    let text = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the date of a report, not a time that anything is measured by"
)]
fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_configurations_apart() {
        // Test vectors of the FNV authors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let setup = Setup::of_machine(1, "a");
        assert!(setup.cores > 0 && !setup.kernel.is_empty() && setup.started > 0);
        assert_ne!(setup.config_hash, Setup::of_machine(1, "b").config_hash);
    }
}
