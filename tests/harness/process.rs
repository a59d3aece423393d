//! Real processes that end with the test that started them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wait;

/// A child process whose output goes to a file. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `folder/NAME.log`.
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("the test's folder is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle can be cloned"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({:?}): {error}", command.get_program()));
        Self { name: name.to_owned(), child, log }
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process of ours can be killed");
        self.child.wait().expect("a killed process can be waited for");
    }

    /// `kill -TERM`, then waits until it has ended by itself.
    pub(crate) fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.ended(limit)
    }

    /// `kill -NAME`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut ended = None;
        wait::until_blocking(&format!("{} ends", self.name), limit, || {
            ended = self.child.try_wait().expect("a child can be waited for");
            ended.is_some()
        });
        ended.expect("the wait above ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- last lines of {}:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// `kill -NAME PID`.
pub(crate) fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill is there");
    assert!(done.success(), "process {pid} is gone, it cannot be sent SIG{name}");
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// A line of what the kernel says of a process, in KiB.
pub(crate) fn status_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process has a status");
    let line = status.lines().find(|l| l.starts_with(name)).expect("with its memory");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("in KiB")
}

/// A binary of ours, as `make test` builds it.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = root().join("target/demo").join(name);
    assert!(path.exists(), "{} is missing: run `make test`, which builds it", path.display());
    path
}

/// A tool that `tests/install.sh` put into its virtual environment.
pub(crate) fn tool(path: &str) -> PathBuf {
    let path = root().join("target/tools").join(path);
    assert!(path.exists(), "{} is missing: run `bash tests/install.sh`", path.display());
    path
}

/// The project's root folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package lies in the workspace").to_owned()
}
