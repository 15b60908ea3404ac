//! Files that are mounts themselves, as a ConfigMap's or Secret's `subPath` makes them: what is put in
//! their place does not show here, however often one looks.

use std::{fs, path::Path};

/// What to tell people about a file that is to be watched; `None`: nothing.
#[must_use]
pub fn warning(path: &Path) -> Option<String> {
    let real = fs::canonicalize(path).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    is_mount_point(&mounts, &real).then(|| {
        format!(
            "{} is itself a mount (a subPath of a ConfigMap or Secret, or a single bind-mounted file): \
             replacing it will not be noticed here; mount its folder instead",
            path.display()
        )
    })
}

/// Whether `path` is a mount point in the format of `/proc/self/mountinfo`: the fifth field, with
/// blanks as octal escapes (proc_pid_mountinfo(5)).
fn is_mount_point(mounts: &str, path: &Path) -> bool {
    let Some(path) = path.to_str() else {
        return false;
    };
    let escaped = path
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
        .replace('\n', "\\012");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(escaped.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_ordinary_file_is_no_mount_and_a_mount_is_told_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(warning(file.path()), None);
        assert_eq!(warning(Path::new("/nowhere")), None);
        let told = warning(Path::new("/proc")).unwrap();
        assert!(told.starts_with("/proc is itself a mount"), "{told}");
    }
}
