//! What a caller says first: the name it wants and what it would speak, before anything is decided.

use rustls::server::Acceptor;

use crate::limits::CLIENT_HELLO_BYTES_MAX;

/// The first byte of a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Type, version and length of a record.
const RECORD_HEAD: usize = 5;

/// A caller's first message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Lower-case.
    pub(crate) server_name: Option<String>,
    pub(crate) protocols: Vec<String>,
}

/// What the first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Something else than TLS.
    Plaintext,
    Hello(Hello),
    /// It is not known yet.
    More,
    /// They begin like TLS and are none.
    Garbage,
}

/// Looks at a connection's first bytes.
pub(crate) fn look(bytes: &[u8]) -> Seen {
    match bytes.first() {
        None => return Seen::More,
        Some(&HANDSHAKE) => {}
        Some(_) => return Seen::Plaintext,
    }
    let Some(head) = bytes.get(..RECORD_HEAD) else { return Seen::More };
    // Nothing is parsed before the first record is whole, so that bytes that trickle in are not parsed again each time.
    let record = RECORD_HEAD + usize::from(u16::from_be_bytes([head[3], head[4]]));
    if head[1] != 3 || record > CLIENT_HELLO_BYTES_MAX {
        return Seen::Garbage;
    }
    if bytes.len() < record {
        return Seen::More;
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        // Reading from memory ends when nothing is left, or when the library's own buffer is full.
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => return Seen::Garbage,
            Ok(_) => {}
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => {
            let hello = accepted.client_hello();
            let protocols = hello.alpn().into_iter().flatten();
            Seen::Hello(Hello {
                server_name: hello.server_name().map(str::to_ascii_lowercase),
                protocols: protocols.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            })
        }
        Ok(None) if bytes.len() < CLIENT_HELLO_BYTES_MAX => Seen::More,
        Ok(None) | Err(_) => Seen::Garbage,
    }
}
