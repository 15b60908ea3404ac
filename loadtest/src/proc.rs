//! What `/proc` says about processes: CPU, memory, descriptors.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure, Result};

/// Clock ticks per second in `/proc/*/stat`; a constant of Linux's user interface.
const TICKS_PER_SECOND: f64 = 100.0;
/// Descriptors that a client process needs beside its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Memory and CPU of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Proportional share of it: pages that are shared count in part.
    pub pss_bytes: u64,
    /// User and system time since it started.
    pub cpu_seconds: f64,
}

impl Usage {
    /// Two processes together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rss_bytes: self.rss_bytes + other.rss_bytes,
            pss_bytes: self.pss_bytes + other.pss_bytes,
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
        }
    }
}

/// Memory and CPU of process `pid`.
///
/// # Errors
/// When there is no such process, or it is not ours to read.
pub fn usage(pid: u32) -> Result<Usage> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let memory = fs::read_to_string(&path).doing(format_args!("read {path}"))?;
    let kilobytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        number.ok_or_else(|| Failure::new(format!("{path} has no `{name}`")))
    };
    Ok(Usage {
        rss_bytes: kilobytes("Rss:")? * 1_024,
        pss_bytes: kilobytes("Pss:")? * 1_024,
        cpu_seconds: cpu_seconds(&format!("/proc/{pid}/stat"))?,
    })
}

/// User and system time of process `pid`.
///
/// # Errors
/// When there is no such process.
pub fn cpu_seconds_of(pid: u32) -> Result<f64> {
    cpu_seconds(&format!("/proc/{pid}/stat"))
}

/// Resident memory of process `pid`, from counters that cost next to nothing to read.
///
/// # Errors
/// When there is no such process.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let text = fs::read_to_string(&path).doing(format_args!("read {path}"))?;
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| Failure::new(format!("{path} has no pages")))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// User and system time of this process; zero where there is no `/proc`.
#[must_use]
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds("/proc/self/stat").unwrap_or(0.0)
}

fn cpu_seconds(path: &str) -> Result<f64> {
    let stat = fs::read_to_string(path).doing(format_args!("read {path}"))?;
    // The second field is the name in parentheses, which may hold anything; user time is the
    // twelfth field after it, system time the next.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut ticks = after_name
        .split_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<u32>().ok());
    match (ticks.next(), ticks.next()) {
        (Some(user), Some(system)) => {
            Ok(f64::from(user) / TICKS_PER_SECOND + f64::from(system) / TICKS_PER_SECOND)
        }
        _ => Err(Failure::new(format!("{path} has no CPU times"))),
    }
}

/// CPU time of the whole machine since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MachineTime {
    busy: f64,
    all: f64,
}

impl MachineTime {
    /// Reads it; zero where there is no `/proc`.
    #[must_use]
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1);
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user.
        let times: Vec<f64> = fields
            .take(8)
            .map_while(|field| field.parse().ok())
            .collect();
        let all = times.iter().sum();
        let idle: f64 = times.iter().skip(3).take(2).sum();
        Self {
            busy: all - idle,
            all,
        }
    }

    /// Seconds that the machine's cores, all together, were busy since `earlier`.
    #[must_use]
    pub fn busy_seconds_since(self, earlier: Self) -> f64 {
        (self.busy - earlier.busy) / TICKS_PER_SECOND
    }

    /// Share of the machine's CPU that was busy since `earlier`.
    #[must_use]
    pub fn busy_since(self, earlier: Self) -> f64 {
        let all = self.all - earlier.all;
        if all > 0.0 {
            (self.busy - earlier.busy) / all
        } else {
            0.0
        }
    }
}

/// Raises the soft descriptor limit to the hard one; returns how many connections one process may
/// have.
#[must_use]
pub fn connections_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it may not be raised the soft limit stays in force, and is read again below.
    let _ = setrlimit(Resource::Nofile, raised);
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    current.saturating_sub(SPARE_DESCRIPTORS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.pss_bytes > 100_000 && usage.rss_bytes >= usage.pss_bytes);
        assert!(connections_max() > 100);
        assert!(MachineTime::now().all > 0.0);
    }
}
