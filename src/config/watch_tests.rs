use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::{OnReload, POLL_INTERVAL, Polled, Reload, Watch};
use crate::config::{Config, FILE_BYTES_MAX, load, load_file, print, reload::merge};

fn source(port: u16, path: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:{port}'}}]\n\
         upstreams: {{app: 'http://app'}}\nroutes: [{{path: {path}, action: proxy}}]\n"
    )
}

/// A watched file and what was told of it: `/old>/new` or `same`, with the sections that wait for a
/// restart; or the report.
struct Rig {
    folder: TempDir,
    current: Arc<ArcSwap<Config>>,
    watch: Watch,
    told: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidestream.yaml");
        fs::write(&file, content).unwrap();
        Self::on(folder, file)
    }

    fn on(folder: TempDir, file: PathBuf) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&told);
        let current = Arc::new(ArcSwap::from_pointee(load_file(&file, &|_| None).unwrap()));
        let path = |config: &Config| config.routes[0].matches.path.clone();
        let on_reload: OnReload = Box::new(move |reload| {
            noted.lock().push(match reload {
                Reload::Applied { old, new, waiting } => {
                    let change = match Arc::ptr_eq(old, new) {
                        true => "same".to_owned(),
                        false => format!("{}>{}", path(old), path(new)),
                    };
                    let words: Vec<&str> = [change.as_str()]
                        .into_iter()
                        .chain(waiting.sections.iter().copied())
                        .collect();
                    words.join(" ")
                }
                Reload::Rejected { report } => report.to_owned(),
                Reload::Panicked => "panicked".to_owned(),
            });
        });
        let mut watch = Watch::new(current.clone(), file, Box::new(|_| None), on_reload);
        assert_eq!(watch.poll(), Polled::Unchanged);
        Self {
            folder,
            current,
            watch,
            told,
        }
    }

    fn write(&self, content: &str) {
        fs::write(self.folder.path().join("sidestream.yaml"), content).unwrap();
    }

    /// Polls until the file has come to rest.
    fn settle(&mut self) -> Polled {
        match self.watch.poll() {
            Polled::Unsettled => self.watch.poll(),
            polled @ (Polled::Unchanged | Polled::Taken | Polled::Refused) => polled,
        }
    }

    /// What was told last.
    fn last(&self) -> String {
        self.told.lock().last().unwrap().clone()
    }

    fn path_in_force(&self) -> String {
        self.current.load().routes[0].matches.path.clone()
    }
}

#[test]
fn a_good_file_is_taken_and_published() {
    let mut rig = Rig::new(&source(0, "/a"));
    assert_eq!(rig.watch.poll(), Polled::Unchanged);
    rig.write(&source(0, "/b"));
    assert_eq!(rig.watch.poll(), Polled::Unsettled);
    assert_eq!(rig.path_in_force(), "/a");
    assert_eq!(rig.watch.poll(), Polled::Taken);
    assert_eq!(rig.path_in_force(), "/b");
    assert_eq!(*rig.told.lock(), ["/a>/b"]);
    assert_eq!(rig.watch.poll(), Polled::Unchanged);
}

#[test]
fn a_bad_file_changes_nothing_and_says_why_once() {
    let mut rig = Rig::new(&source(0, "/a"));
    rig.write("version: 1\nlimts: {}\n");
    assert_eq!(rig.settle(), Polled::Refused);
    for _ in 0..3 {
        assert_eq!(rig.settle(), Polled::Unchanged);
    }
    assert!(
        rig.last().contains("did you mean `limits`?"),
        "{}",
        rig.last()
    );
    assert_eq!(rig.path_in_force(), "/a");

    // Taking the edit back is a success, and no change.
    rig.write(&source(0, "/a"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(rig.last(), "same");
    assert_eq!(rig.told.lock().len(), 2);
}

#[test]
fn a_file_that_goes_away_or_is_no_file_changes_nothing() {
    let mut rig = Rig::new(&source(0, "/a"));
    let file = rig.folder.path().join("sidestream.yaml");
    fs::remove_file(&file).unwrap();
    assert_eq!(rig.settle(), Polled::Refused);
    assert!(rig.last().contains("cannot be read"), "{}", rig.last());
    fs::create_dir(&file).unwrap();
    assert_eq!(rig.settle(), Polled::Refused);
    assert!(rig.last().contains("not a regular file"), "{}", rig.last());
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
        assert_eq!(rig.watch.poll(), Polled::Unsettled, "{path}");
    }
    // Back to what it was in between: nothing happened.
    rig.write(&source(0, "/a"));
    assert_eq!(rig.watch.poll(), Polled::Unchanged);
    rig.write(&source(0, "/d"));
    assert_eq!(rig.watch.poll(), Polled::Unsettled);
    assert_eq!(rig.watch.poll(), Polled::Taken);
    assert_eq!(*rig.told.lock(), ["/a>/d"]);
}

#[test]
fn sections_that_need_a_restart_wait_and_are_named_until_they_are_taken_back() {
    let mut rig = Rig::new(&source(0, "/a"));
    let more = "threads: 3\nlog: {filter: debug}\nadmin: {address: '127.0.0.1:3'}\n";
    rig.write(&format!("{}{more}", source(1, "/b")));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(rig.path_in_force(), "/b", "the rest applies");
    assert_eq!(rig.last(), "/a>/b listeners admin log threads");
    let started = load(&source(0, "/b"), "started.yaml", &|_| None).unwrap();
    assert_eq!(**rig.current.load(), started, "what waits is not in force");
    rig.write(&source(1, "/b"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(rig.last(), "same listeners");
    rig.write(&source(0, "/c"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(rig.last(), "/b>/c");
}

#[test]
fn what_waits_is_shown_as_the_file_has_it() {
    let config = |port| load(&source(port, "/a"), "test.yaml", &|_| None).unwrap();
    let (in_force, waiting) = merge(&config(1), &config(2));
    assert_eq!(in_force, config(1));
    let page = print(&in_force) + &waiting.comment();
    assert!(page.contains("\n# - name: 127.0.0.1:2\n"), "{page}");
    assert!(!page.contains("# routes"), "{page}");
    assert_eq!(load(&page, "page.yaml", &|_| None).unwrap(), in_force);
    let (_, nothing) = merge(&config(1), &config(1));
    assert_eq!(nothing.comment(), "");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_panics_is_told_and_the_watch_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestream.yaml");
    fs::write(&file, source(0, "/a")).unwrap();
    let current = Arc::new(ArcSwap::from_pointee(load_file(&file, &|_| None).unwrap()));
    let (sender, mut told) = tokio::sync::mpsc::channel(4);
    let on_reload: OnReload = Box::new(move |reload| match reload {
        Reload::Applied { new, .. } if new.routes[0].matches.path == "/b" => panic!("on purpose"),
        Reload::Applied { .. } => sender.try_send("applied").unwrap(),
        Reload::Rejected { .. } => sender.try_send("rejected").unwrap(),
        Reload::Panicked => sender.try_send("panicked").unwrap(),
    });
    let watch = Watch::new(current, file.clone(), Box::new(|_| None), on_reload);
    let running = tokio::spawn(watch.run(POLL_INTERVAL));
    for (path, expected) in [("/b", "panicked"), ("/c", "applied")] {
        fs::write(&file, source(0, path)).unwrap();
        assert_eq!(told.recv().await, Some(expected), "{path}");
    }
    running.abort();
}

#[test]
fn a_change_between_loading_and_the_first_look_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestream.yaml");
    fs::write(&file, source(0, "/a")).unwrap();
    let current = Arc::new(ArcSwap::from_pointee(load_file(&file, &|_| None).unwrap()));
    fs::write(&file, source(0, "/b")).unwrap();
    let (env, on_reload) = (Box::new(|_: &str| None), Box::new(|_: Reload<'_>| {}));
    let mut watch = Watch::new(current.clone(), file, env, on_reload);
    assert_eq!(watch.poll(), Polled::Unsettled);
    assert_eq!(watch.poll(), Polled::Taken);
    assert_eq!(current.load().routes[0].matches.path, "/b");
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
        rig.watch.poll(),
        Polled::Unchanged,
        "a swap to the same content"
    );
    publish(&root, "..3", &source(0, "/b"));
    assert_eq!(rig.settle(), Polled::Taken);
    assert_eq!(*rig.told.lock(), ["/a>/b"]);
}

#[test]
fn what_is_not_utf8_or_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    for (content, expected) in [
        (b"version: \xff\n".to_vec(), "not UTF-8: see byte 10"),
        (vec![b'x'; FILE_BYTES_MAX + 5], "larger than 1 MiB"),
        ("ä".repeat(FILE_BYTES_MAX).into_bytes(), "larger than 1 MiB"),
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

#[tokio::test(start_paused = true)]
async fn the_loop_polls_by_itself() {
    let rig = Rig::new(&source(0, "/a"));
    let current = rig.current.clone();
    let file = rig.folder.path().join("sidestream.yaml");
    let running = tokio::spawn(rig.watch.run(POLL_INTERVAL));
    fs::write(file, source(0, "/b")).unwrap();
    // Time is paused: it moves on by itself whenever everything waits.
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while current.load().routes[0].matches.path != "/b" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    running.abort();
}
