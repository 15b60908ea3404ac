use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::{Polled, Watch, is_mount_point, load_file};
use crate::clock::Millis;

fn source(port: u16, path: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:{port}'}}]\n\
         upstreams: {{app: 'http://app'}}\nroutes: [{{path: {path}, action: proxy}}]\n"
    )
}

/// A watched file and the paths of the routes that were published, `old>new`.
struct Rig {
    folder: TempDir,
    watch: Watch,
    changes: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidestream.yaml");
        fs::write(&file, content).unwrap();
        Self::on(folder, file)
    }

    fn on(folder: TempDir, file: PathBuf) -> Self {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&changes);
        let watch = Watch::new(
            file,
            Box::new(|_| None),
            Box::new(move |old, new| {
                let path = |config: &crate::config::Config| config.routes[0].matches.path.clone();
                noted.lock().push(format!("{}>{}", path(old), path(new)));
            }),
        )
        .unwrap();
        Self {
            folder,
            watch,
            changes,
        }
    }

    fn write(&self, content: &str) {
        fs::write(self.folder.path().join("sidestream.yaml"), content).unwrap();
    }

    /// Polls until the file has come to rest.
    fn settle(&mut self) -> Polled {
        match self.watch.poll(Millis(7)) {
            Polled::Unsettled => self.watch.poll(Millis(7)),
            polled @ (Polled::Unchanged | Polled::Taken | Polled::Refused) => polled,
        }
    }

    fn path_in_force(&self) -> String {
        self.watch.current().load().routes[0].matches.path.clone()
    }
}

#[test]
fn a_good_file_is_taken_and_published() {
    let mut rig = Rig::new(&source(0, "/a"));
    assert_eq!(rig.watch.poll(Millis(1)), Polled::Unchanged);
    rig.write(&source(0, "/b"));
    assert_eq!(rig.watch.poll(Millis(2)), Polled::Unsettled);
    assert_eq!(rig.path_in_force(), "/a");
    assert_eq!(rig.watch.poll(Millis(3)), Polled::Taken);
    assert_eq!(rig.path_in_force(), "/b");
    assert_eq!(*rig.changes.lock(), ["/a>/b"]);
    assert_eq!(rig.watch.poll(Millis(4)), Polled::Unchanged);
    let state = rig.watch.status().state();
    assert_eq!(
        (state.success, state.at, state.successes),
        (true, Millis(3), 2)
    );
    assert!(state.restart_needed.is_empty());
}

#[test]
fn a_bad_file_changes_nothing_and_says_why_once() {
    let mut rig = Rig::new(&source(0, "/a"));
    rig.write("version: 1\nlimts: {}\n");
    assert_eq!(rig.settle(), Polled::Refused);
    for _ in 0..3 {
        assert_eq!(rig.settle(), Polled::Unchanged);
    }
    let state = rig.watch.status().state();
    assert_eq!((state.success, state.failures), (false, 1));
    assert!(state.error.unwrap().contains("did you mean `limits`?"));
    assert_eq!(rig.path_in_force(), "/a");

    // Taking the edit back is a success, and no change.
    rig.write(&source(0, "/a"));
    assert_eq!(rig.settle(), Polled::Taken);
    let state = rig.watch.status().state();
    assert_eq!((state.success, state.error), (true, None));
    assert!(rig.changes.lock().is_empty());
}

#[test]
fn a_file_that_goes_away_or_is_no_file_changes_nothing() {
    let mut rig = Rig::new(&source(0, "/a"));
    let file = rig.folder.path().join("sidestream.yaml");
    fs::remove_file(&file).unwrap();
    assert_eq!(rig.settle(), Polled::Refused);
    assert!(
        rig.watch
            .status()
            .state()
            .error
            .unwrap()
            .contains("cannot be read")
    );
    fs::create_dir(&file).unwrap();
    assert_eq!(rig.settle(), Polled::Refused);
    assert!(
        rig.watch
            .status()
            .state()
            .error
            .unwrap()
            .contains("not a regular file")
    );
    fs::remove_dir(&file).unwrap();
    rig.write(&source(0, "/b"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(rig.path_in_force(), "/b");
}

#[test]
fn a_file_that_still_changes_is_waited_for() {
    let mut rig = Rig::new(&source(0, "/a"));
    for path in ["/b", "/c", "/d"] {
        rig.write(&source(0, path));
        assert_eq!(rig.watch.poll(Millis(1)), Polled::Unsettled, "{path}");
    }
    // Back to what it was in between: nothing happened.
    rig.write(&source(0, "/a"));
    assert_eq!(rig.watch.poll(Millis(1)), Polled::Unchanged);
    rig.write(&source(0, "/d"));
    assert_eq!(rig.watch.poll(Millis(1)), Polled::Unsettled);
    assert_eq!(rig.watch.poll(Millis(1)), Polled::Taken);
    assert_eq!(*rig.changes.lock(), ["/a>/d"]);
}

#[test]
fn sections_that_need_a_restart_are_named_until_they_are_taken_back() {
    let mut rig = Rig::new(&source(0, "/a"));
    let more = "threads: 3\nlog: {filter: debug}\nadmin: {address: '127.0.0.1:1'}\n";
    rig.write(&format!("{}{more}", source(1, "/b")));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(rig.path_in_force(), "/b", "the rest applies");
    let needed = |rig: &Rig| rig.watch.status().state().restart_needed;
    assert_eq!(needed(&rig), ["listeners", "admin", "log", "threads"]);
    rig.write(&source(1, "/c"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(needed(&rig), ["listeners"]);
    rig.write(&source(0, "/c"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert!(needed(&rig).is_empty());
}

/// A ConfigMap volume: `sidestream.yaml` -> `..data/sidestream.yaml`, `..data` -> a dated folder;
/// an update makes a new folder and swaps `..data` by a rename.
#[test]
fn a_config_map_swap_is_noticed() {
    fn publish(root: &Path, name: &str, content: &str) {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("sidestream.yaml"), content).unwrap();
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    publish(&root, "..1", &source(0, "/a"));
    let file = root.join("sidestream.yaml");
    symlink("..data/sidestream.yaml", &file).unwrap();
    let mut rig = Rig::on(folder, file);
    publish(&root, "..2", &source(0, "/a"));
    assert_eq!(
        rig.watch.poll(Millis(1)),
        Polled::Unchanged,
        "a swap to the same content"
    );
    publish(&root, "..3", &source(0, "/b"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(*rig.changes.lock(), ["/a>/b"]);
}

#[test]
fn what_is_not_utf8_or_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    for (content, expected) in [
        (b"version: \xff\n".to_vec(), "not UTF-8: see byte 10"),
        (vec![b'x'; super::FILE_BYTES_MAX + 5], "larger than 1 MiB"),
        (
            "ä".repeat(super::FILE_BYTES_MAX).into_bytes(),
            "larger than 1 MiB",
        ),
    ] {
        fs::write(&file, content).unwrap();
        let report = load_file(&file, &|_| None).unwrap_err().to_string();
        assert!(report.contains(expected), "{report}");
    }
    let report = load_file(&folder.path().join("none.yaml"), &|_| None)
        .unwrap_err()
        .to_string();
    assert!(report.contains("No such file"), "{report}");
}

#[test]
fn mount_points_are_recognised() {
    let mounts = "\
36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw
41 36 98:0 /x /etc/sidestream/sidestream.yaml rw - ext4 /dev/root rw
42 36 98:0 /y /etc/with\\040blank rw - tmpfs tmpfs rw
";
    for (path, expected) in [
        ("/etc/sidestream/sidestream.yaml", true),
        ("/etc/sidestream", false),
        ("/etc/with blank", true),
        ("/", true),
    ] {
        assert_eq!(is_mount_point(mounts, Path::new(path)), expected, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_polls_by_itself() {
    let rig = Rig::new(&source(0, "/a"));
    let (current, status) = (rig.watch.current(), rig.watch.status());
    let file = rig.folder.path().join("sidestream.yaml");
    let running = tokio::spawn(rig.watch.run());
    fs::write(file, source(0, "/b")).unwrap();
    // Time is paused: it moves on by itself whenever everything waits.
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while status.state().successes < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(current.load().routes[0].matches.path, "/b");
    running.abort();
}
