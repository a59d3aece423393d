//! A limit on the memory of a process, as a container has one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wait;

/// A memory cgroup of the test's own, below the one that it runs in.
pub(crate) struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    /// With this limit. `name` tells it from others that are made at the same time.
    pub(crate) fn make(name: &str, bytes: u64) -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("a process has cgroups");
        let path = |controller: &str| {
            let lines = own.lines().map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>());
            lines.filter(|parts| parts.len() == 2 && parts[0] == controller).map(|parts| parts[1].to_owned()).next()
        };
        let (root, limit) = match path("memory") {
            Some(path) => (format!("/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"),
            None => (format!("/sys/fs/cgroup{}", path("").expect("cgroups of one version")), "memory.max"),
        };
        let folder = Path::new(&root).join(format!("tidegate-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("no cgroup {}: {error}", folder.display()));
        std::fs::write(folder.join(limit), bytes.to_string()).expect("a limit of memory can be set");
        Self(folder)
    }

    /// What a shell runs to be in it.
    pub(crate) fn enter(&self) -> String {
        format!("echo $$ > {}", self.0.join("cgroup.procs").display())
    }

    fn read(&self, files: [&str; 2]) -> String {
        files.iter().find_map(|file| std::fs::read_to_string(self.0.join(file)).ok()).expect("either version has it")
    }

    /// Bytes, as the kernel counts them.
    pub(crate) fn used(&self) -> u64 {
        self.read(["memory.usage_in_bytes", "memory.current"]).trim().parse().expect("a number")
    }

    /// How often the kernel has killed for this limit.
    pub(crate) fn kills(&self) -> u64 {
        let text = self.read(["memory.oom_control", "memory.events"]);
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|number| number.parse().ok()).expect("a count of kills")
    }

    /// After its last process has ended.
    pub(crate) fn remove(self) {
        wait::until_blocking("the cgroup is empty", Duration::from_secs(5), || std::fs::remove_dir(&self.0).is_ok());
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // Gone already, where all went well.
        std::fs::remove_dir(&self.0).ok();
    }
}
