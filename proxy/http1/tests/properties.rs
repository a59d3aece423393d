//! What holds for every message, shown on generated ones: pieces change nothing, writing loses nothing, nothing panics.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidegate_http1::{
    BodyReader, ConnectionField, EscapedSlashes, Framing, HeadEdits, HeadMemory, Limits, Parsed, Refusal, RequestHead,
    ResponseHead, canonical_path, parse_request, parse_request_in, parse_response, parse_response_in,
    without_parameters, write_request, write_response,
};

/// Field lines of which most are honest and some are not, so that both verdicts are reached.
fn field_line() -> impl Strategy<Value = String> {
    let honest = prop_oneof![
        ("[A-Za-z][A-Za-z0-9-]{0,12}", "[ -~]{0,24}").prop_map(|(name, value)| format!("X-{name}: {}", value.trim())),
        Just("Connection: keep-alive".to_owned()),
        Just("Connection: close, X-Hop".to_owned()),
        Just("X-Hop: 1".to_owned()),
        Just("TE: trailers, deflate".to_owned()),
        Just("Accept:*/*  ".to_owned()),
        Just("Upgrade: WebSocket".to_owned()),
        Just("Connection: Upgrade".to_owned()),
        Just("Keep-Alive: timeout=5".to_owned()),
        Just("Transfer_Encoding: chunked".to_owned()),
        Just("Cookie: a=1; b=2".to_owned()),
    ];
    let doubtful = prop_oneof![
        "[ -~]{0,24}",
        Just("Content-Length: 5".to_owned()),
        Just("Content-Length: 007".to_owned()),
        Just("Content-Length: +5".to_owned()),
        Just("Transfer-Encoding: chunked".to_owned()),
        Just("Transfer-Encoding: gzip, chunked".to_owned()),
        Just("Host: other".to_owned()),
        Just("Expect: 100-continue".to_owned()),
        Just("Name : value".to_owned()),
        Just(" folded".to_owned()),
        Just("X: a\rb".to_owned()),
        Just("X: a\n".to_owned()),
    ];
    prop_oneof![8 => honest, 1 => doubtful]
}

fn path() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![
            4 => "[a-z0-9._~!$&'()*+,;=:@-]{0,8}",
            1 => Just("..".to_owned()),
            1 => Just(".".to_owned()),
            1 => Just("%2e%2E".to_owned()),
            1 => Just("%61%c3%A9".to_owned()),
            1 => Just("%252e".to_owned()),
            1 => Just("a;v=..".to_owned()),
        ],
        1..6,
    )
    .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn request() -> impl Strategy<Value = String> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("OPTIONS"), Just("DELETE"), Just("x-method")];
    let target = prop_oneof![
        6 => path(),
        2 => (path(), "[a-z0-9=&%/?]{0,12}").prop_map(|(path, query)| format!("{path}?{query}")),
        1 => path().prop_map(|path| format!("http://absolute:81{path}")),
        1 => Just("*".to_owned()),
    ];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2")];
    (method, target, version, vec(field_line(), 0..24), 0..4usize).prop_map(
        |(method, target, version, mut lines, at)| {
            lines.insert(at.min(lines.len()), "Host: reviews:9080".to_owned());
            format!("{method} {target} {version}\r\n{}\r\n\r\n", lines.join("\r\n"))
        },
    )
}

fn response() -> impl Strategy<Value = String> {
    let status = prop_oneof![4 => Just(200u16), 1 => 100..600u16];
    (status, "[ -~]{0,12}", vec(field_line(), 0..24)).prop_map(|(status, reason, lines)| {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("HTTP/1.1 {status} {reason}\r\n{lines}\r\n")
    })
}

/// All that can be asked of a request head.
#[derive(Debug, PartialEq)]
struct Facts {
    target: (String, String, Option<String>, String),
    framing: Framing,
    connection: (bool, bool, Option<String>),
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

fn facts(head: &RequestHead) -> Facts {
    Facts {
        target: (
            head.method().to_owned(),
            head.path().to_owned(),
            head.query().map(str::to_owned),
            head.authority().to_owned(),
        ),
        framing: head.framing(),
        connection: (head.keep_alive(), head.expects_continue(), head.upgrade().map(str::to_owned)),
        fields: head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
    }
}

/// The verdict on a request: its facts and how much was consumed.
fn verdict(bytes: &[u8]) -> Result<Option<(Facts, usize)>, Refusal> {
    match parse_request(bytes, &Limits::default())? {
        Parsed::Complete { head, consumed } => Ok(Some((facts(&head), consumed))),
        Parsed::Partial => Ok(None),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn written(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    write_request(&mut out, head, &HeadEdits::new(), head.framing(), head.upgrade()).expect("writable without edits");
    out
}

fn answered(head: &ResponseHead) -> Vec<u8> {
    let mut out = Vec::new();
    let connection = if head.upgrade().is_some() { ConnectionField::Upgrade } else { ConnectionField::None };
    write_response(&mut out, head, &HeadEdits::new(), head.framing(), connection, false)
        .expect("writable without edits");
    out
}

/// A chunked body as it may be sent, and the payload in it.
fn chunked_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = prop_oneof![4 => Just(""), 1 => Just(";a"), 1 => Just(";a=b;c=\"d \\\" ;\"")];
    let chunk = (vec(any::<u8>(), 1..40), extension, any::<bool>(), 0..3usize);
    vec(chunk, 0..6).prop_map(|chunks| {
        let (mut body, mut payload) = (Vec::new(), Vec::new());
        for (data, extension, upper, zeros) in chunks {
            let size = if upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
            body.extend_from_slice(format!("{}{size}{extension}\r\n", "0".repeat(zeros)).as_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
            payload.extend_from_slice(&data);
        }
        body.extend_from_slice(b"0\r\n\r\n");
        (body, payload)
    })
}

/// Cuts bytes at the given places, in order.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

#[derive(Debug, PartialEq)]
struct Relayed {
    raw: Vec<u8>,
    payload: Vec<u8>,
    consumed: usize,
    end: Result<bool, Refusal>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Relays a body that arrives in these pieces.
fn relay(framing: Framing, pieces: &[&[u8]]) -> Relayed {
    let mut reader = BodyReader::new(framing);
    let mut relayed =
        Relayed { raw: Vec::new(), payload: Vec::new(), consumed: 0, end: Ok(reader.is_done()), trailers: Vec::new() };
    for piece in pieces {
        if relayed.end == Ok(true) {
            break;
        }
        let payload = &mut relayed.payload;
        match reader.advance(piece, |range| payload.extend_from_slice(&piece[range])) {
            Ok(progress) => {
                relayed.raw.extend_from_slice(&piece[..progress.relay]);
                relayed.consumed += progress.consumed;
                relayed.end = Ok(progress.done);
            }
            Err(refusal) => {
                // How much of a refused body was seen before depends on its pieces; the verdict does not.
                return Relayed {
                    raw: Vec::new(),
                    payload: Vec::new(),
                    consumed: 0,
                    end: Err(refusal),
                    trailers: Vec::new(),
                };
            }
        }
    }
    reader.write_trailers(&mut relayed.raw);
    relayed.trailers = reader.trailers().to_vec();
    relayed
}

/// How many of 500 generated values satisfy `fits`; always the same ones.
fn share<S: Strategy>(strategy: S, fits: impl Fn(S::Value) -> bool) -> usize {
    let mut runner = TestRunner::deterministic();
    (0..500).filter(|_| fits(strategy.new_tree(&mut runner).expect("a value").current())).count()
}

#[test]
fn generated_messages_reach_both_verdicts_often() {
    let limits = Limits::default();
    let requests = share(request(), |m| matches!(parse_request(m.as_bytes(), &limits), Ok(Parsed::Complete { .. })));
    let responses =
        share(response(), |m| matches!(parse_response(m.as_bytes(), "GET", &limits), Ok(Parsed::Complete { .. })));
    let rewritten = share(path(), |p| matches!(canonical_path(&p, EscapedSlashes::Refuse), Ok(Cow::Owned(_))));

    for count in [requests, responses, rewritten] {
        assert!((100..400).contains(&count), "{requests} requests, {responses} responses, {rewritten} paths of 500");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_that_arrives_in_pieces_gets_the_verdict_of_the_whole(message in request()) {
        let whole = verdict(message.as_bytes());
        for cut in 0..message.len() {
            let part = verdict(&message.as_bytes()[..cut]);
            // Before the end a head is incomplete, or refused as the whole will be; complete only if the whole ends there too.
            prop_assert!(matches!(part, Ok(None)) || part == whole, "cut at {}: {:?} but {:?}", cut, part, whole);
        }
    }

    #[test]
    fn a_response_that_arrives_in_pieces_gets_the_verdict_of_the_whole(message in response()) {
        let judged = |bytes: &[u8]| match parse_response(bytes, "GET", &Limits::default()) {
            Ok(Parsed::Complete { head, consumed }) => Ok(Some((answered(&head), consumed))),
            Ok(Parsed::Partial) => Ok(None),
            Err(refusal) => Err(refusal),
        };
        let whole = judged(message.as_bytes());
        for cut in 0..message.len() {
            let part = judged(&message.as_bytes()[..cut]);
            prop_assert!(part == Ok(None) || part == whole, "cut at {}", cut);
        }
    }

    #[test]
    fn a_head_does_not_remember_the_one_whose_memory_it_has(before in request(), message in request()) {
        let mut memory = match parse_request(before.as_bytes(), &Limits::default()) {
            Ok(Parsed::Complete { head, .. }) => head.into_memory(),
            Ok(Parsed::Partial) | Err(_) => HeadMemory::default(),
        };

        // Twice, so that it also comes behind itself, and then with another line in front.
        let moved = message.replacen(" /", " /moved/", 1);
        for message in [&message, &message, &moved] {
            match (verdict(message.as_bytes()), parse_request_in(&mut memory, message.as_bytes(), &Limits::default())) {
                (Ok(Some((fresh, consumed))), Ok(Parsed::Complete { head, consumed: again })) => {
                    prop_assert_eq!((fresh, consumed), (facts(&head), again));
                    let Ok(Parsed::Complete { head: fresh, .. }) = parse_request(message.as_bytes(), &Limits::default()) else {
                        panic!("it was complete: {message:?}");
                    };
                    prop_assert_eq!(text(&written(&head)), text(&written(&fresh)));
                    memory = head.into_memory();
                }
                (Err(fresh), Err(again)) => prop_assert_eq!(fresh, again),
                (Ok(None), Ok(Parsed::Partial)) => {}
                (fresh, again) => prop_assert!(false, "{:?} but {:?}", fresh, again),
            }
        }
    }

    #[test]
    fn an_answer_does_not_remember_the_one_whose_memory_it_has(before in response(), message in response()) {
        let mut memory = HeadMemory::default();
        for message in [&before, &message, &message] {
            let limits = Limits::default();
            let again = parse_response_in(&mut memory, message.as_bytes(), "GET", &limits);
            match (parse_response(message.as_bytes(), "GET", &limits), again) {
                (Ok(Parsed::Complete { head: fresh, consumed }), Ok(Parsed::Complete { head, consumed: again })) => {
                    prop_assert_eq!((answered(&fresh), consumed), (answered(&head), again));
                    prop_assert_eq!((fresh.status(), fresh.keep_alive()), (head.status(), head.keep_alive()));
                    memory = head.into_memory();
                }
                (Err(fresh), Err(again)) => prop_assert_eq!(fresh, again),
                (Ok(Parsed::Partial), Ok(Parsed::Partial)) => {}
                (fresh, again) => prop_assert!(false, "{:?} but {:?}", fresh, again),
            }
        }
    }

    #[test]
    fn a_head_that_is_copied_in_one_run_reads_as_one_that_is_written_line_by_line(message in request()) {
        let Ok(Parsed::Complete { head, .. }) = parse_request(message.as_bytes(), &Limits::default()) else { return Ok(()) };
        let mut edits = HeadEdits::new();
        // Takes nothing away, but what it takes away may be there for all that the writer knows at first.
        head.fields().for_each(|(name, _)| edits.remove(&format!("{}-", String::from_utf8_lossy(name).to_lowercase())));
        // A method that stays the same is written anew all the same.
        edits.method(head.method());
        let mut line_by_line = Vec::new();
        write_request(&mut line_by_line, &head, &edits, head.framing(), head.upgrade()).expect("writable");

        prop_assert_eq!(text(&line_by_line), text(&written(&head)));
    }

    #[test]
    fn what_is_written_parses_to_the_same_and_is_written_the_same(message in request()) {
        let Ok(Parsed::Complete { head, .. }) = parse_request(message.as_bytes(), &Limits::default()) else { return Ok(()) };
        let once = written(&head);

        let Ok(Parsed::Complete { head: again, consumed }) = parse_request(&once, &Limits::default()) else {
            panic!("not readable: {:?}", String::from_utf8_lossy(&once));
        };

        prop_assert_eq!(consumed, once.len());
        prop_assert_eq!(text(&written(&again)), text(&once));
        prop_assert_eq!((head.method(), head.path_and_query()), (again.method(), again.path_and_query()));
        prop_assert_eq!((head.authority(), head.framing(), head.upgrade()), (again.authority(), again.framing(), again.upgrade()));
        let edits = HeadEdits::new();
        let end_to_end = |head: &RequestHead| -> Vec<(Vec<u8>, Vec<u8>)> {
            let lengthless = head.edited(&edits).iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"content-length"));
            lengthless.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
        };
        prop_assert_eq!(end_to_end(&head), end_to_end(&again));
    }

    #[test]
    fn a_written_response_parses_to_the_same(message in response(), method in prop_oneof![Just("GET"), Just("HEAD")]) {
        let Ok(Parsed::Complete { head, .. }) = parse_response(message.as_bytes(), method, &Limits::default()) else {
            return Ok(());
        };
        let once = answered(&head);

        let Ok(Parsed::Complete { head: again, consumed }) = parse_response(&once, method, &Limits::default()) else {
            panic!("not readable: {:?}", String::from_utf8_lossy(&once));
        };

        prop_assert_eq!(consumed, once.len());
        prop_assert_eq!((head.status(), head.reason(), head.framing()), (again.status(), again.reason(), again.framing()));
        prop_assert_eq!(text(&answered(&again)), text(&once));
    }

    #[test]
    fn a_chunked_relay_neither_loses_nor_adds_a_byte(
        (body, payload) in chunked_body(),
        behind in vec(any::<u8>(), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let connection = [&body[..], &behind].concat();

        let relayed = relay(Framing::Chunked, &pieces(&connection, &cuts));

        prop_assert_eq!(relayed.end, Ok(true));
        prop_assert_eq!(relayed.consumed, body.len());
        prop_assert_eq!(relayed.raw, body);
        prop_assert_eq!(relayed.payload, payload);
    }

    #[test]
    fn pieces_change_nothing_about_a_body_good_or_bad(
        (mut body, _) in chunked_body(),
        trailers in prop_oneof![Just("\r\n"), Just("grpc-status: 0\r\nX: 1\r\n\r\n"), Just("bad trailer\r\n\r\n")],
        wrong in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        counted in prop::option::of(0..60u64),
    ) {
        body.truncate(body.len() - 2);
        body.extend_from_slice(trailers.as_bytes());
        if let Some((at, byte)) = wrong {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let framing = counted.map_or(Framing::Chunked, Framing::Length);

        let whole = relay(framing, &[&body]);
        let single_bytes: Vec<&[u8]> = body.chunks(1).collect();

        prop_assert_eq!(&relay(framing, &pieces(&body, &cuts)), &whole);
        prop_assert_eq!(&relay(framing, &single_bytes), &whole);
    }

    #[test]
    fn a_canonical_path_is_its_own_canonical_form(path in path()) {
        let Ok(once) = canonical_path(&path, EscapedSlashes::Refuse) else { return Ok(()) };

        let twice = canonical_path(&once, EscapedSlashes::Refuse).expect("canonical paths are accepted");
        prop_assert_eq!(&*twice, &*once);
        prop_assert!(matches!(twice, Cow::Borrowed(_)));
        // No hiding place is left, with or without parameters.
        let matched = without_parameters(&once);
        for seen in [&*once, &*matched] {
            prop_assert!(!seen.contains("//") && seen.starts_with('/'), "{}", seen);
            prop_assert!(!seen.split('/').any(|segment| segment == "." || segment == ".."), "{}", seen);
        }
        prop_assert_eq!(&*without_parameters(&matched), &*matched);
    }

    #[test]
    fn arbitrary_text_is_never_a_canonical_path_with_a_hiding_place(path in "/[ -~]{0,24}") {
        if let Ok(canonical) = canonical_path(&path, EscapedSlashes::Keep) {
            let segments: Vec<&str> = canonical.split('/').skip(1).collect();
            let (last, inner) = segments.split_last().expect("a path has a slash");
            prop_assert!(inner.iter().all(|s| !s.is_empty() && *s != "." && *s != ".."), "{}", canonical);
            prop_assert!(*last != "." && *last != "..", "{}", canonical);
            prop_assert!(!canonical.contains('\\') && !canonical.contains("%2e") && !canonical.contains("%2E"));
            prop_assert_eq!(&*canonical_path(&canonical, EscapedSlashes::Keep).expect("accepted"), &*canonical);
        }
    }

    #[test]
    fn mutated_messages_never_panic_and_never_smuggle(
        message in request(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        answer in response(),
    ) {
        for message in [message, answer] {
            let mut bytes = message.into_bytes();
            for (at, byte) in &mutations {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Ok(Parsed::Complete { head, consumed }) = parse_request(&bytes, &Limits::default()) {
                prop_assert!(consumed <= bytes.len());
                let out = written(&head);
                // Whatever was accepted leaves as one head: one empty line, no stray CR or LF, one Host, at most one framing.
                prop_assert!(is_one_head(&out));
                let count = |name: &[u8]| lines_of(&out).iter().filter(|l| is_field(l, name)).count();
                prop_assert_eq!(count(b"host"), 1);
                prop_assert!(count(b"content-length") + count(b"transfer-encoding") <= 1);
            }
            if let Ok(Parsed::Complete { head, .. }) = parse_response(&bytes, "GET", &Limits::default()) {
                prop_assert!(is_one_head(&answered(&head)));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let limits = Limits::default();
        let request = matches!(parse_request(&bytes, &limits), Ok(Parsed::Complete { .. }));
        let response = matches!(parse_response(&bytes, "GET", &limits), Ok(Parsed::Complete { .. }));
        let canonical = canonical_path(&text(&bytes), EscapedSlashes::Keep).is_ok();
        prop_assert!(u8::from(request) + u8::from(response) + u8::from(canonical) <= 1, "no bytes are two of these");
        let relayed = relay(Framing::Chunked, &[&bytes]);
        prop_assert!(relayed.consumed <= bytes.len() && relayed.payload.len() <= relayed.consumed);
    }
}

/// The lines of a head without their ends; the last is the empty one.
fn lines_of(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    assert_eq!(rest, b"", "ends with CRLF");
    lines
}

/// One empty line, at the end, and no CR or LF inside a line.
fn is_one_head(bytes: &[u8]) -> bool {
    let lines = lines_of(bytes);
    let clean = lines.iter().all(|line| !line.contains(&b'\r') && !line.contains(&b'\n'));
    clean && lines.iter().position(|line| line.is_empty()) == Some(lines.len() - 1)
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.split(|&b| b == b':').next().is_some_and(|n| n.eq_ignore_ascii_case(name))
}
