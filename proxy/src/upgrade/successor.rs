//! Processes that this one has started to take its place, and the duties of a container's first process.
//!
//! SIGUSR2 starts the program again, from the path it was started from, with the same arguments: the new process takes over
//! through the upgrade socket. Where this process is the first of a container it may not leave with its last connection,
//! because the container would end with it: it stays, passes signals on, collects children and ends as the last one ended.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use tracing::{info, warn};

/// Started at once and not ended: one that serves, one that drains, and some that drain still.
const SUCCESSORS_MAX: usize = 8;

/// Started processes that have not ended yet.
#[derive(Debug)]
pub struct Successors {
    program: PathBuf,
    arguments: Vec<OsString>,
    running: Vec<Child>,
    /// How the last one ended.
    code: Option<u8>,
}

impl Successors {
    /// `program`: the path as it was when this process started. A new file may have been put there since, which is the point.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments, running: Vec::new(), code: None }
    }

    /// Starts one more.
    pub fn start(&mut self) -> io::Result<()> {
        if self.running.len() >= SUCCESSORS_MAX {
            return Err(io::Error::other("too many processes started by this one have not ended yet"));
        }
        let child = Command::new(&self.program).args(&self.arguments).spawn()?;
        info!(process = child.id(), program = %self.program.display(), "started a process to take over");
        self.running.push(child);
        Ok(())
    }

    /// Whether nobody is there to wait for.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// How the one that ended last ended: its exit code, or 128 and the number of its signal.
    pub fn code(&self) -> Option<u8> {
        self.code
    }

    /// Passes a signal on to all.
    pub fn tell(&self, signal: Signal) {
        for child in &self.running {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
                warn!(process = child.id(), %error, "a signal could not be passed on");
            }
        }
    }

    /// Collects who has ended: its own, and, as the first process of a container, whoever was left to it.
    pub fn reap(&mut self) {
        if is_first() {
            loop {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some((pid, status))) => {
                        let id = pid.as_raw_nonzero().get();
                        let ours = self.running.iter().position(|child| i32::try_from(child.id()) == Ok(id));
                        if let Some(index) = ours {
                            drop(self.running.swap_remove(index));
                            self.ended(id, code(status.exit_status(), status.terminating_signal()));
                        }
                    }
                    Ok(None) | Err(Errno::CHILD) => return,
                    Err(Errno::INTR) => {}
                    Err(error) => return warn!(%error, "cannot wait for children"),
                }
            }
        }
        let mut ended = Vec::new();
        self.running.retain_mut(|child| match child.try_wait() {
            Ok(Some(status)) => {
                ended.push((child.id(), status));
                false
            }
            Ok(None) => true,
            Err(_) => false,
        });
        for (id, status) in ended {
            self.ended(i32::try_from(id).unwrap_or_default(), code(status.code(), status.signal()));
        }
    }

    fn ended(&mut self, process: i32, code: u8) {
        info!(process, code, "a process that was started to take over has ended");
        self.code = Some(code);
    }
}

/// Whether this is the first process of its container.
pub fn is_first() -> bool {
    getpid() == Pid::INIT
}

fn code(exit: Option<i32>, signal: Option<i32>) -> u8 {
    let number = exit.unwrap_or_else(|| 128 + signal.unwrap_or_default());
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_killed_is_told_from_one_that_ended_by_itself() {
        assert_eq!(code(Some(0), None), 0);
        assert_eq!(code(Some(3), None), 3);
        assert_eq!(code(None, Some(9)), 137);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_leaves_nobody_to_wait_for() {
        let mut successors = Successors::new("/nonexistent/program".into(), Vec::new());

        assert!(successors.start().is_err());
        successors.reap();

        assert!(successors.is_empty());
        assert_eq!(successors.code(), None);
    }
}
