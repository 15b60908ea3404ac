//! How much memory this process may use, and does: its own, and what the kernel keeps for its sockets.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use super::cgroup::Groups;
use crate::{config::model::Limits, subscribe::Hub};

/// Share of the memory that all rings together may take.
const RING_SHARE: f64 = 0.25;

/// Share of a container's memory beyond which no new subscribers come in.
const PROCESS_SHARE: f64 = 0.9;

/// When nothing tells: what a small pod has.
const FALLBACK_BYTES: u64 = 512 << 20;

/// The budget of all rings: configured, else a quarter of what the cgroup or the machine has.
pub(super) fn ring_bytes_max(limits: &Limits) -> usize {
    limits.ring_bytes_max.unwrap_or_else(|| {
        let available = Groups::of_this_process()
            .memory_max()
            .into_iter()
            .chain(machine())
            .min()
            .unwrap_or(FALLBACK_BYTES);
        share_of(available, RING_SHARE)
    })
}

/// What the process may use: configured, else most of what the cgroup has, if that is bounded.
fn memory_max(limits: &Limits) -> Option<usize> {
    let bounded = || {
        let max = Groups::of_this_process().memory_max();
        max.filter(|max| machine().is_none_or(|all| *max < all))
    };
    limits
        .memory_max
        .or_else(|| bounded().map(|max| share_of(max, PROCESS_SHARE)))
}

/// Takes the bound from a configuration, and looks at once.
pub(super) fn bound(hub: &Hub, limits: &Limits) {
    let max = memory_max(limits);
    hub.admission.memory.set_max(max);
    hub.metrics.memory.max.set(max.unwrap_or(0));
    look(hub);
}

/// Looks how much is used.
pub(super) fn look(hub: &Hub) {
    let (resident, sockets) = (resident().unwrap_or(0), sockets().unwrap_or(0));
    hub.metrics.memory.resident.set(resident);
    hub.metrics.memory.sockets.set(sockets);
    match hub.admission.memory.note(resident + sockets) {
        Some(true) => tracing::warn!(
            resident,
            sockets,
            "memory is short: new subscribers are turned away (limits.memory_max)"
        ),
        Some(false) => tracing::info!(resident, sockets, "new subscribers come in again"),
        None => {}
    }
}

/// Memory of the process itself.
fn resident() -> Option<usize> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// What the kernel keeps for sockets: those of the own cgroup, else (cgroup v1) all of this network
/// namespace.
fn sockets() -> Option<usize> {
    Groups::of_this_process()
        .socket_bytes()
        .or_else(|| socket_pages(&fs::read_to_string("/proc/net/sockstat").ok()?))
}

/// The pages after `mem` of `sockstat`, in bytes.
fn socket_pages(sockstat: &str) -> Option<usize> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    let pages = sockstat.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
        words.nth(1)?.parse::<usize>().ok()
    });
    Some(pages.sum::<usize>() * usize::try_from(page).ok()?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a memory size; the cast saturates"
)]
fn share_of(bytes: u64, share: f64) -> usize {
    (bytes as f64 * share) as usize
}

fn machine() -> Option<u64> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:").map(|bytes| bytes as u64)
}

/// The value of a line in a list such as `MemTotal:  24689764 kB`, in bytes.
fn kib(list: &str, name: &str) -> Option<usize> {
    let line = list.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(
            kib("MemFree: 1 kB\nMemTotal:       24689764 kB\n", "MemTotal:"),
            Some(24_689_764 * 1024)
        );
        assert_eq!(kib("garbage", "MemTotal:"), None);
        assert!(
            machine().is_some_and(|bytes| bytes > 1 << 20),
            "this machine tells"
        );
    }

    #[test]
    fn rings_get_a_quarter() {
        assert_eq!(share_of(1 << 30, RING_SHARE), 1 << 28);
    }

    #[test]
    fn what_sockets_take_is_read_from_the_namespace() {
        let sockstat = "sockets: used 9\nTCP: inuse 4 orphan 0 tw 0 alloc 6 mem 3\n\
                        UDP: inuse 1 mem 2\nRAW: inuse 0\n";
        let page = socket_pages("TCP: mem 1").unwrap();
        assert!(page >= 4_096 && page.is_power_of_two(), "{page}");
        assert_eq!(socket_pages(sockstat), Some(5 * page));
    }

    #[test]
    fn this_process_has_a_size() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn what_is_configured_wins() {
        let mut limits = crate::config::testing::limits();
        limits.memory_max = Some(7);
        assert_eq!(memory_max(&limits), Some(7));
    }
}
