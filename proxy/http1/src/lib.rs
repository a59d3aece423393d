//! HTTP/1.1 heads and framing, sans I/O, strict by construction.
//!
//! # Why our own
//! A proxy's codec is where request smuggling is possible or not. This one refuses whatever two recipients could read differently,
//! keeps what it accepts byte for byte, and costs a fraction of a general one because it never builds a map of headers: a head is one
//! buffer and a list of positions in it. It does no I/O: bytes come in as slices and leave in a `Vec<u8>`.
//!
//! # The way of a message
//! [`parse_request`] gives a [`RequestHead`] that passed every rule. Policy asks it questions and collects
//! [`HeadEdits`]; [`write_request`] applies them once. [`BodyReader`] follows the body while its bytes are relayed raw. Responses go
//! the same way back. HTTP/2 streams enter through [`HeadBuilder`] and leave through [`EditedFields`].
//!
//! ```
//! use tidegate_http1::{HeadEdits, Limits, Parsed, parse_request, write_request};
//!
//! let received = b"GET /reviews//0 HTTP/1.1\r\nHost: reviews\r\nConnection: keep-alive\r\nuser-AGENT: x\r\n\r\n";
//! let Parsed::Complete { head, consumed } = parse_request(received, &Limits::default())? else { panic!("incomplete") };
//! assert_eq!((head.path(), consumed), ("/reviews/0", received.len()));
//!
//! let mut edits = HeadEdits::new();
//! edits.set("x-request-id", b"7");
//! let mut out = Vec::new();
//! write_request(&mut out, &head, &edits, head.framing(), None)?;
//! assert_eq!(out, b"GET /reviews/0 HTTP/1.1\r\nHost: reviews\r\nuser-AGENT: x\r\nx-request-id: 7\r\n\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Byte fidelity: everything that changes between what is received and what is written
//! Names, their case, the order of lines, duplicates, values, reason phrases and chunk bounds are kept. What changes is this:
//!
//! | what | change | why |
//! |---|---|---|
//! | request line | absolute-form becomes origin-form; path in its canonical form ([`canonical_path`]); version becomes HTTP/1.1 | RFC 9112 3.2.2, 2.3; RFC 3986 6.2 |
//! | status line | version becomes HTTP/1.1 (HTTP/1.0 on request); the space before an empty reason is supplied | RFC 9112 4 |
//! | white space around a value | one space or none before it stays; anything else becomes one space before, none behind | RFC 9112 5.1 |
//! | one empty line before a request | dropped | RFC 9112 2.2 |
//! | Host | value replaced by the authority of an absolute-form target; `:` without a port dropped; added when HTTP/1.0 lacked it | RFC 9112 3.2.2; RFC 3986 3.2.3 |
//! | Connection | replaced by our own: `close`, `keep-alive`, `Upgrade`, `TE`, or nothing; in place, or at the end | RFC 9110 7.6.1 |
//! | fields nominated by Connection | dropped | RFC 9110 7.6.1 |
//! | Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, HTTP2-Settings | dropped | RFC 9110 7.6.1, 11.7; RFC 7540 3.2.1 |
//! | Upgrade | dropped unless the writer is told to keep it | RFC 9110 7.8 |
//! | TE | `trailers` if that is in it, else dropped | RFC 9110 10.1.4 |
//! | Transfer-Encoding, Content-Length | written from the framing, in place when there was one; `Chunked` becomes `chunked`, `007` becomes `7`; dropped from 1xx and 204 | RFC 9112 6 |
//! | Expect | dropped from HTTP/1.0 requests | RFC 9110 10.1.1 |
//! | names with an underscore that alias framing, routing or identity fields | dropped | look-alikes are read as the real field by CGI-like servers |
//! | trailers | dropped, except `grpc-*` | RFC 9110 6.5.1 |
//! | cookie crumbs of HTTP/2 | joined into one field | RFC 9113 8.2.3 |
//! | fields set or appended by policy | at the end of the head | |
//!
//! Nothing else is added: no Date, no Via, no Server.

mod body;
mod builder;
mod edits;
mod fields;
mod head;
mod host;
mod limits;
mod line;
mod meaning;
mod octets;
mod overwrite;
mod path;
mod refusal;
mod request;
mod response;
mod target;
mod write;

pub use body::{BodyReader, Progress, is_forwardable_trailer};
pub use builder::{HeadBuilder, ResponseBuilder};
pub use edits::{EditedFields, HeadEdits};
pub use fields::{Fields, Names, Span};
pub use head::HeadMemory;
pub use limits::{EscapedSlashes, Limits, Underscores};
pub use meaning::{Framing, Version};
pub use path::{canonical_path, without_parameters};
pub use refusal::{Refusal, Torn};
pub use request::{Parsed, RequestHead, parse_request, parse_request_in};
pub use response::{ResponseHead, parse_response, parse_response_in};
pub use target::TargetForm;
pub use write::{
    CHUNK_END, CONTINUE, ConnectionField, Unwritable, write_chunk_head, write_last_chunk, write_request, write_response,
};
