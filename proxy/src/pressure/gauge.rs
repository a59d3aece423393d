//! Where the kernel says how much memory may be used, and how much is.

use std::path::{Path, PathBuf};

/// A limit on memory and what it is compared with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gauge {
    used: PathBuf,
    stat: PathBuf,
    /// The line of `stat` with what the kernel can take back at once: pages of files that nobody has touched lately.
    spare: &'static str,
    pub(super) bytes_max: u64,
}

impl Gauge {
    /// All that is used. One short file, which the kernel writes in a microsecond.
    pub(super) fn used(&self) -> Option<u64> {
        number(&self.used)
    }

    /// What of it the kernel can take back. For this it adds up every processor's counts: nothing for a hot path.
    pub(super) fn spare(&self) -> u64 {
        let stat = std::fs::read_to_string(&self.stat).unwrap_or_default();
        let spare = stat.lines().find_map(|line| line.strip_prefix(self.spare)?.trim().parse::<u64>().ok());
        spare.unwrap_or(0)
    }
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The limits that hold for this process: its own cgroup's, and those of the ones around it.
pub(super) fn gauges() -> Vec<Gauge> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let folders = folders(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    folders.into_iter().filter_map(|(folder, version)| gauge(&folder, version)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// That of a folder of the test's own.
#[cfg(test)]
pub(super) fn at(folder: &Path) -> Option<Gauge> {
    gauge(folder, Version::Two)
}

fn gauge(folder: &Path, version: Version) -> Option<Gauge> {
    let (used, max, spare) = match version {
        Version::One => ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file "),
        Version::Two => ("memory.current", "memory.max", "inactive_file "),
    };
    // "max", or without a limit as good as none: no machine has an exabyte.
    let bytes_max = number(&folder.join(max)).filter(|bytes| *bytes < 1 << 60)?;
    Some(Gauge { used: folder.join(used), stat: folder.join("memory.stat"), spare, bytes_max })
}

/// The folder of the process's memory cgroup and of those around it, by what the kernel says of the process (`cgroup`) and of its
/// mounts (`mountinfo`; see proc(5)).
fn folders(cgroup: &str, mountinfo: &str) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for mount in mountinfo.lines() {
        let Some((fields, super_fields)) = mount.split_once(" - ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else { continue };
        let super_fields: Vec<&str> = super_fields.split(' ').collect();
        let version = match super_fields.as_slice() {
            ["cgroup2", ..] => Version::Two,
            ["cgroup", _, options, ..] if options.split(',').any(|option| option == "memory") => Version::One,
            _ => continue,
        };
        let path = cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_its = match version {
                Version::One => controllers.split(',').any(|controller| controller == "memory"),
                Version::Two => controllers.is_empty(),
            };
            is_its.then_some(path)
        });
        let Some(path) = path else { continue };
        // A container may see only its own part of the tree, mounted as if it were all.
        let inside = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        found.extend(inside.ancestors().map(|folder| (Path::new(point).join(folder), version)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_either_version_are_found() {
        let one = folders(
            "9:name=systemd:/\n4:memory:/pod/a\n0::/\n",
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
        );
        let paths: Vec<&str> = one.iter().filter_map(|(path, _)| path.to_str()).collect();
        assert_eq!(paths, ["/sys/fs/cgroup/memory/pod/a", "/sys/fs/cgroup/memory/pod", "/sys/fs/cgroup/memory/"]);
        assert!(one.iter().all(|(_, version)| *version == Version::One));

        let two = folders("0::/\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n");
        assert_eq!(two, [(PathBuf::from("/sys/fs/cgroup/"), Version::Two)]);
    }

    #[test]
    fn a_part_of_the_tree_that_is_mounted_as_all_of_it_is_understood() {
        let found = folders("0::/kubepods/a/b\n", "30 23 0:26 /kubepods/a /sys/fs/cgroup rw - cgroup2 cgroup rw\n");

        assert_eq!(found[0].0, PathBuf::from("/sys/fs/cgroup/b"));
    }

    #[test]
    fn pages_of_files_that_can_go_are_not_counted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
        write("memory.current", "900\n");
        write("memory.stat", "anon 500\ninactive_file 300\nactive_file 100\n");

        write("memory.max", "max\n");
        assert_eq!(gauge(folder.path(), Version::Two), None);

        write("memory.max", "1000\n");
        let gauge = gauge(folder.path(), Version::Two).expect("there is a limit");
        assert_eq!((gauge.used(), gauge.spare(), gauge.bytes_max), (Some(900), 300, 1_000));
    }

    #[test]
    fn text_of_any_kind_is_only_not_understood() {
        assert!(folders("::\n\nx", "a b c - \n - cgroup2\n").is_empty());
    }
}
