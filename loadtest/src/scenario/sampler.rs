//! What the processes of a run use, second by second.

use serde::{Deserialize, Serialize};

use crate::{
    failure::Result,
    proc::{self, MachineTime},
};

/// One reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// CPU that the server has used so far, over all of its processes.
    pub server_cpu_seconds: Option<f64>,
    /// Its resident memory.
    pub server_rss_bytes: Option<u64>,
    /// CPU that clients have used so far.
    pub load_cpu_seconds: f64,
    /// CPU that the publisher has used so far.
    pub app_cpu_seconds: Option<f64>,
    /// Share of the machine that was busy since the reading before.
    pub machine_share: f64,
}

/// Reads processes, which may be replaced during the run.
#[derive(Debug, Default)]
pub struct Sampler {
    server: Meter,
    app: Meter,
    machine: MachineTime,
    /// Highest reading of each client process; those that are over keep theirs.
    load: std::collections::BTreeMap<u32, f64>,
}

/// CPU of one role over the processes that had it.
#[derive(Debug, Default)]
struct Meter {
    pid: u32,
    before: f64,
    now: f64,
}

/// Whom to read.
#[derive(Debug, Clone, Default)]
pub struct Pids {
    /// The server.
    pub server: Option<u32>,
    /// The publisher.
    pub app: Option<u32>,
    /// The clients.
    pub load: Vec<u32>,
}

impl Sampler {
    /// A reading. A process that is away just now adds nothing.
    pub fn read(&mut self, at: f64, pids: &Pids) -> Sample {
        for pid in &pids.load {
            if let Ok(cpu) = proc::cpu_seconds_of(*pid) {
                self.load.insert(*pid, cpu);
            }
        }
        let machine = MachineTime::now();
        let machine_share = machine.busy_since(std::mem::replace(&mut self.machine, machine));
        Sample {
            at,
            server_cpu_seconds: pids.server.map(|pid| self.server.read(pid)),
            server_rss_bytes: pids.server.and_then(|pid| proc::rss_bytes(pid).ok()),
            load_cpu_seconds: self.load.values().sum(),
            app_cpu_seconds: pids.app.map(|pid| self.app.read(pid)),
            machine_share,
        }
    }
}

impl Meter {
    fn read(&mut self, pid: u32) -> f64 {
        if pid != self.pid {
            self.before += self.now;
            (self.pid, self.now) = (pid, 0.0);
        }
        let read: Result<f64> = proc::cpu_seconds_of(pid);
        self.now = read.unwrap_or(self.now).max(self.now);
        self.before + self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_adds_up_over_processes() {
        let mut meter = Meter::default();
        let own = std::process::id();
        let first = meter.read(own);
        // There is no such process: what was used before still counts.
        assert!((meter.read(u32::MAX) - first).abs() < 1e-9);
        assert!(meter.read(own) >= 2.0 * first);
    }
}
