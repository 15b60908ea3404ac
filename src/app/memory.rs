//! How much memory this process may use, for the budgets that default to a share of it.

use std::fs;

use crate::config::model::Limits;

/// Share of the memory that all rings together may take.
const RING_SHARE: f64 = 0.25;

/// When nothing tells: what a small pod has.
const FALLBACK_BYTES: u64 = 512 << 20;

/// The budget of all rings: configured, else a quarter of what the cgroup or the machine has.
pub(super) fn ring_bytes_max(limits: &Limits) -> usize {
    limits.ring_bytes_max.unwrap_or_else(|| {
        let available = cgroup_max()
            .into_iter()
            .chain(machine())
            .min()
            .unwrap_or(FALLBACK_BYTES);
        share_of(available)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a memory size; the cast saturates"
)]
fn share_of(bytes: u64) -> usize {
    (bytes as f64 * RING_SHARE) as usize
}

/// cgroup v2, then v1. In a container the controller's root is the container's own.
fn cgroup_max() -> Option<u64> {
    [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
}

fn machine() -> Option<u64> {
    total(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(
            total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"),
            Some(24_689_764 * 1024)
        );
        assert_eq!(total("garbage"), None);
        assert!(
            machine().is_some_and(|bytes| bytes > 1 << 20),
            "this machine tells"
        );
    }

    #[test]
    fn rings_get_a_quarter() {
        assert_eq!(share_of(1 << 30), 1 << 28);
    }
}
