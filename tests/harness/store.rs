//! A real Redis of the test's own: on an address of the test's network, without persistence.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::Process;
use super::wait;

/// It starts in some hundredths of a second.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A running `redis-server`. Killed when dropped.
pub(crate) struct Redis {
    address: SocketAddr,
    process: Process,
    folder: TempDir,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub(crate) async fn start(address: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let process = spawn(address, &folder);
        let redis = Self { address, process, folder };
        redis.ready().await;
        redis
    }

    /// As it stands on the command line of a control plane.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, empty.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.address, &self.folder);
        self.ready().await;
    }

    /// Sends one command of single words and gives the first lines of the answer.
    pub(crate) async fn command(&self, words: &str) -> io::Result<String> {
        let mut connection = TcpStream::connect(self.address).await?;
        connection.write_all(format!("{words}\r\n").as_bytes()).await?;
        let mut answer = vec![0; 64 * 1024];
        let read = connection.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    /// Runs a script; the numbers and texts of its answer, which is a list of them.
    pub(crate) async fn eval(&self, script: &str, keys: &[&str], arguments: &[String]) -> Vec<String> {
        let count = keys.len().to_string();
        let words = ["EVAL", script, &count].into_iter().chain(keys.iter().copied());
        let words: Vec<&str> = words.chain(arguments.iter().map(String::as_str)).collect();
        let mut message = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| message.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        let mut connection = TcpStream::connect(self.address).await.expect("Redis listens");
        connection.write_all(message.as_bytes()).await.expect("Redis reads");
        let mut answer = vec![0; 4 * 1024];
        let read = connection.read(&mut answer).await.expect("Redis answers");
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with('*'), "{answer}");
        let is_content = |line: &&str| !line.starts_with(['*', '$']);
        answer.lines().filter(is_content).map(|line| line.trim_start_matches(':').to_owned()).collect()
    }

    async fn ready(&self) {
        wait::until("Redis is ready", READY_LIMIT, || async {
            self.command("PING").await.is_ok_and(|answer| answer == "+PONG\r\n")
        })
        .await;
    }
}

fn spawn(address: SocketAddr, folder: &TempDir) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder.path());
    Process::start("redis", folder.path(), &mut command)
}
