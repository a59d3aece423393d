//! Answers and bodies: written and read again, whole and in pieces.

use tidegate_http1::{
    BodyReader, CHUNK_END, ConnectionField, Framing, HeadEdits, Limits, Parsed, Refusal, parse_response,
    write_chunk_head, write_last_chunk, write_response,
};

/// The request that an answer is for decides whether it can have a body.
const METHODS: [&str; 3] = ["GET", "HEAD", "CONNECT"];

/// The first byte chooses the request's method and where pieces end; the rest is what an upstream sends.
pub(crate) fn codec(bytes: &[u8]) {
    let Some((&choice, sent)) = bytes.split_first() else { return };
    let method = METHODS[usize::from(choice) % METHODS.len()];
    let limits = Limits::default();
    let Ok(Parsed::Complete { head, consumed }) = parse_response(sent, method, &limits) else { return };
    assert!(consumed <= sent.len());

    let mut written = Vec::new();
    write_response(&mut written, &head, &HeadEdits::default(), head.framing(), ConnectionField::None, false)
        .expect("what was read can be written");
    let Ok(Parsed::Complete { head: again, consumed: whole }) = parse_response(&written, method, &limits) else {
        panic!("what was written is refused: {:?}", String::from_utf8_lossy(&written));
    };
    assert_eq!(whole, written.len(), "nothing splits an answer");
    assert_eq!((again.status(), again.reason()), (head.status(), head.reason()));
    assert_eq!(again.framing(), head.framing());

    bodies(&sent[consumed..], head.framing(), usize::from(choice / 3) + 1);
}

/// A body reads the same whatever the pieces are in which it comes, and its payload survives chunks of our own.
fn bodies(sent: &[u8], framing: Framing, piece: usize) {
    let whole = read(sent, framing, sent.len().max(1));
    let pieces = read(sent, framing, piece);
    assert_eq!(whole, pieces, "pieces of {piece} bytes");

    let Ok(Body { payload, done: true, .. }) = whole else { return };
    let mut chunked = Vec::new();
    for chunk in payload.chunks(piece) {
        write_chunk_head(&mut chunked, chunk.len());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(CHUNK_END);
    }
    write_last_chunk(&mut chunked, []);
    let again = read(&chunked, Framing::Chunked, chunked.len()).expect("our own chunks are read");
    assert_eq!((again.payload, again.done, again.consumed), (payload, true, chunked.len()));
}

#[derive(Debug, PartialEq)]
struct Body {
    payload: Vec<u8>,
    relayed: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    consumed: usize,
    done: bool,
    may_end_here: bool,
}

fn read(sent: &[u8], framing: Framing, piece: usize) -> Result<Body, Refusal> {
    let mut reader = BodyReader::new(framing);
    let (mut payload, mut relayed, mut consumed) = (Vec::new(), Vec::new(), 0);
    for piece in sent.chunks(piece) {
        let progress = reader.advance(piece, |range| payload.extend_from_slice(&piece[range]))?;
        assert!(progress.relay <= progress.consumed && progress.consumed <= piece.len());
        relayed.extend_from_slice(&piece[..progress.relay]);
        consumed += progress.consumed;
        assert_eq!(progress.done, reader.is_done());
        if progress.done {
            break;
        }
    }
    reader.write_trailers(&mut relayed);
    let done = reader.is_done();
    let may_end_here = reader.end_of_input().is_ok();
    Ok(Body { payload, relayed, trailers: reader.trailers().to_vec(), consumed, done, may_end_here })
}
