//! The control groups that bound this process: its own, and those around it. A service of systemd and
//! a container in the host's cgroup namespace have theirs below the root of the mount.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The groups of the memory controller.
#[derive(Debug)]
pub(super) struct Groups {
    /// Their folders, the process's own first, then outwards. Some may not be visible from here.
    folders: Vec<PathBuf>,
    /// The file with a group's bound.
    bound: &'static str,
}

impl Groups {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::of(&membership, Path::new(MOUNT))
    }

    /// Those that `membership`, a `/proc/<pid>/cgroup`, names below `mount`. Where the memory
    /// controller is one of version 1, the one group of version 2 does not bound memory.
    fn of(membership: &str, mount: &Path) -> Self {
        let group_of = |wanted: fn(&str) -> bool| {
            membership.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                wanted(controllers).then(|| path.trim_start_matches('/'))
            })
        };
        let v1 = group_of(|controllers| controllers.split(',').any(|name| name == "memory"));
        let (root, path, bound) = match v1 {
            Some(path) => (mount.join("memory"), path, "memory.limit_in_bytes"),
            None => {
                let path = group_of(str::is_empty).unwrap_or_default();
                (mount.to_owned(), path, "memory.max")
            }
        };
        let own = root.join(path);
        let folders = own
            .ancestors()
            .take_while(|folder| folder.starts_with(&root))
            .map(Path::to_owned)
            .collect();
        Self { folders, bound }
    }

    /// The memory they leave to the process: the least of their bounds.
    pub(super) fn memory_max(&self) -> Option<u64> {
        let bounds = self.folders.iter().filter_map(|folder| {
            let text = fs::read_to_string(folder.join(self.bound)).ok()?;
            text.trim().parse().ok()
        });
        bounds.min()
    }

    /// What the kernel keeps for the sockets of the innermost group that can be seen. Version 1 does
    /// not tell.
    pub(super) fn socket_bytes(&self) -> Option<usize> {
        let mut stats = self
            .folders
            .iter()
            .filter_map(|folder| fs::read_to_string(folder.join("memory.stat")).ok());
        socket_bytes(&stats.next()?)
    }
}

/// The line `sock` of a group's `memory.stat`.
fn socket_bytes(stat: &str) -> Option<usize> {
    let line = stat.lines().find_map(|line| line.strip_prefix("sock "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process with this membership has, where these files are: its bound, and its sockets.
    fn seen(membership: &str, files: &[(&str, &str)]) -> (Option<u64>, Option<usize>) {
        let mount = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let groups = Groups::of(membership, mount.path());
        (groups.memory_max(), groups.socket_bytes())
    }

    #[test]
    fn the_least_bound_from_the_own_group_to_the_root_counts() {
        let service = [
            ("memory.stat", "sock 900\n"),
            ("system.slice/memory.max", "500\n"),
            ("system.slice/a.service/memory.max", "700\n"),
            ("system.slice/a.service/memory.stat", "anon 1\nsock 40\n"),
        ];
        let container = [("memory.max", "300\n"), ("memory.stat", "sock 30\n")];
        let v1 = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/x/memory.limit_in_bytes", "200\n"),
            ("memory/docker/x/memory.stat", "cache 1\n"),
        ];
        for (membership, files, expected) in [
            (
                "0::/system.slice/a.service\n",
                &service[..],
                (Some(500), Some(40)),
            ),
            ("0::/system.slice\n", &service, (Some(500), Some(900))),
            ("0::/\n", &service, (None, Some(900))),
            ("0::/\n", &container, (Some(300), Some(30))),
            // The host's name of a group of which only the inside is mounted.
            ("0::/kubepods/x\n", &container, (Some(300), Some(30))),
            ("0::/../x\n", &container, (Some(300), Some(30))),
            ("", &container, (Some(300), Some(30))),
            (
                "9:cpu,memory:/docker/x\n0::/docker/x\n",
                &v1,
                (Some(200), None),
            ),
            ("0::/\n", &[("memory.max", "max\n")], (None, None)),
        ] {
            assert_eq!(seen(membership, files), expected, "{membership}");
        }
    }

    #[test]
    fn sockets_are_read_from_the_line_of_that_name() {
        let stat = "anon 1\nfile 2\nsock 4096\nsock_throttled 7\n";
        assert_eq!(socket_bytes(stat), Some(4_096));
        assert_eq!(socket_bytes("anon 1\n"), None);
    }
}
