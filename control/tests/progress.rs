//! Progress of the real command, on a terminal (of `script`, which every Debian has) and elsewhere, before a control plane that takes
//! its time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in what several tests share")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A busy machine starts processes slowly.
const DEADLINE: Duration = Duration::from_secs(60);
/// After this a command that says something would have said it: lines come after two seconds.
const SILENCE: Duration = Duration::from_secs(4);
const WORDS: &str = "waiting for the control plane at 127.0.0.1:";

/// A control plane that answers when the test says so.
struct Slow(TcpListener);

impl Slow {
    fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The question, once it is there.
    fn asked(&self) -> TcpStream {
        let (stream, _) = self.0.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("GET /api/v3/trace-summaries?"), "{line}");
        stream
    }
}

fn answer(mut stream: TcpStream) {
    let body = r#"{"summaries":[]}"#;
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
}

/// What a process writes, piece by piece.
struct Written {
    pieces: Receiver<String>,
    all: String,
}

impl Written {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1_024];
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                if sender.send(String::from_utf8_lossy(&buffer[..read]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { pieces, all: String::new() }
    }

    fn until(&mut self, wanted: &str) {
        while !self.all.contains(wanted) {
            match self.pieces.recv_timeout(DEADLINE) {
                Ok(piece) => self.all.push_str(&piece),
                Err(end) => panic!("{end} before {wanted:?}: {:?}", self.all),
            }
        }
    }

    fn rest(mut self) -> String {
        self.all.extend(self.pieces.iter());
        self.all
    }
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn tidegate(slow: &Slow, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["trace", "list", "--api", &slow.address().to_string()]).args(more);
    command
}

#[test]
fn a_terminal_shows_a_bar_while_it_waits_and_nothing_of_it_afterwards() {
    let slow = Slow::start();
    let line = format!("{} trace list --api {}", env!("CARGO_BIN_EXE_tidegate"), slow.address());
    let mut child = start(Command::new("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm"));
    let mut terminal = Written::of(child.stdout.take().unwrap());
    let asked = slow.asked();

    terminal.until(WORDS);
    answer(asked);

    let all = terminal.rest();
    let bar = all.rfind(WORDS).expect("it was shown");
    assert!(all[bar..].contains("\u{1b}[2K"), "the line of the bar is cleared: {all:?}");
    assert!(all.trim_end().ends_with("no traces were found"), "{all:?}");
    child.wait().unwrap();
}

#[test]
fn elsewhere_there_are_plain_lines_on_standard_error_alone() {
    let slow = Slow::start();
    let mut child = start(&mut tidegate(&slow, &[]));
    let (out, mut err) = (child.stdout.take().unwrap(), Written::of(child.stderr.take().unwrap()));
    let asked = slow.asked();

    err.until("\n");
    answer(asked);

    let all = err.rest();
    assert_eq!(
        all,
        format!("waiting for the control plane at {}, 2 s\ntidegate trace: no traces were found\n", slow.address())
    );
    assert_eq!(Written::of(out).rest(), "");
    child.wait().unwrap();
}

#[test]
fn programs_and_quiet_people_are_told_nothing() {
    let waiting = [&["-o", "json"][..], &["--quiet"][..]].map(|more| {
        let slow = Slow::start();
        let mut child = start(&mut tidegate(&slow, more));
        let err = Written::of(child.stderr.take().unwrap());
        let asked = slow.asked();
        (child, err, asked)
    });
    for (mut child, err, asked) in waiting {
        assert_eq!(err.pieces.recv_timeout(SILENCE), Err(RecvTimeoutError::Timeout));
        answer(asked);
        child.wait().unwrap();
    }
}
