//! Next hops: the same bytes, read in every way a careless server might.
//!
//! # Why a model of its own
//! Whether a forwarded message is dangerous must not be judged by what the case expects, nor by the proxy's own parser: both may
//! share a mistake. So the bytes that reached the backend are read by a dozen deliberately careless readers. A message is safe when
//! all of them see the same requests, for the same host, with the same bodies, and when no path among them changes its meaning with
//! the order in which a server decodes and resolves it.

/// How a reader deals with what it should refuse.
#[derive(Clone, Copy, Debug)]
struct Reading {
    name: &'static str,
    line_end: LineEnd,
    names: Names,
    framing: Framing,
    repeated: Repeated,
    coding: Coding,
    number: Number,
    folds: bool,
    nul_ends_a_value: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LineEnd {
    Crlf,
    Lf,
    CrOrLf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Names {
    Exact,
    /// White space and control characters around a name do not matter.
    Trimmed,
    /// An underscore is a hyphen, as in CGI.
    Folded,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    LengthFirst,
    CodingFirst,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Repeated {
    First,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    /// The value is `chunked` and nothing else.
    Exact,
    /// It is in there somewhere.
    Contained,
    /// It is the last of a list.
    LastOfList,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    /// Digits and nothing else.
    Strict,
    /// Leading white space, a sign, a prefix, then digits until something else comes; wraps.
    Careless,
}

const STRICT: Reading = Reading {
    name: "strict",
    line_end: LineEnd::Crlf,
    names: Names::Exact,
    framing: Framing::CodingFirst,
    repeated: Repeated::First,
    coding: Coding::Exact,
    number: Number::Strict,
    folds: false,
    nul_ends_a_value: false,
};

const READINGS: [Reading; 14] = [
    STRICT,
    Reading { name: "length first", framing: Framing::LengthFirst, ..STRICT },
    Reading { name: "coding anywhere", coding: Coding::Contained, ..STRICT },
    Reading { name: "coding last of a list", coding: Coding::LastOfList, repeated: Repeated::Last, ..STRICT },
    Reading { name: "last field wins", repeated: Repeated::Last, framing: Framing::LengthFirst, ..STRICT },
    Reading { name: "bare LF ends a line", line_end: LineEnd::Lf, ..STRICT },
    Reading { name: "bare CR ends a line", line_end: LineEnd::CrOrLf, ..STRICT },
    Reading { name: "names are trimmed", names: Names::Trimmed, ..STRICT },
    Reading { name: "names are trimmed, length first", names: Names::Trimmed, framing: Framing::LengthFirst, ..STRICT },
    Reading { name: "underscores are hyphens", names: Names::Folded, ..STRICT },
    Reading {
        name: "underscores are hyphens, length first",
        names: Names::Folded,
        framing: Framing::LengthFirst,
        ..STRICT
    },
    Reading { name: "numbers are careless", number: Number::Careless, ..STRICT },
    Reading { name: "folds are joined", folds: true, ..STRICT },
    Reading {
        name: "NUL ends a value",
        nul_ends_a_value: true,
        number: Number::Careless,
        coding: Coding::Contained,
        ..STRICT
    },
];

/// Fields by which servers find out whom and what a request is for, besides its framing.
const TELLING: &[&str] = &[
    "host",
    "connection",
    "upgrade",
    "http2-settings",
    "te",
    "expect",
    "authorization",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "traceparent",
    "x-request-id",
];

/// A request as a reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    line: Vec<u8>,
    telling: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// Its end has arrived.
    pub(crate) whole: bool,
}

/// What all readers agree on; or why these bytes are dangerous.
pub(crate) fn agree(bytes: &[u8]) -> Result<Vec<Request>, String> {
    let agreed = read(bytes, STRICT);
    for reading in READINGS {
        let seen = read(bytes, reading);
        if seen != agreed {
            return Err(format!("read with `{}` it is {seen:?}, read strictly {agreed:?}", reading.name));
        }
    }
    for request in &agreed {
        check(request)?;
    }
    Ok(agreed)
}

/// What no server may be sent, whoever reads it how.
fn check(request: &Request) -> Result<(), String> {
    let line = String::from_utf8_lossy(&request.line).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Err(format!("the request line {line:?} has not three parts"));
    };
    if !line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Err(format!("the request line {line:?} is not visible ASCII"));
    }
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(format!("{method} was forwarded"));
    }
    let values = |name: &str| {
        request.telling.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    match &values("host")[..] {
        [host] if !host.is_empty() && !host.iter().any(|byte| b" ,/@?#\\".contains(byte)) => {}
        hosts => return Err(format!("the hosts are {hosts:?}")),
    }
    if let [upgrade, ..] = &values("upgrade")[..]
        && !upgrade.eq_ignore_ascii_case(b"websocket")
    {
        return Err(format!("an upgrade to {:?}", String::from_utf8_lossy(upgrade)));
    }
    if !values("http2-settings").is_empty() {
        return Err("settings for an upgrade to HTTP/2".into());
    }
    let path = target.split('?').next().unwrap_or_default();
    if path == "*" && method == "OPTIONS" { Ok(()) } else { check_path(path) }
}

/// Every server comes to the same file, in whatever order it decodes, resolves and strips parameters.
fn check_path(path: &str) -> Result<(), String> {
    let as_bytes = path.as_bytes().to_vec();
    let ways = [
        resolved(&decoded(&as_bytes)),
        decoded(&resolved(&as_bytes)),
        resolved(&decoded(&with_slashes(&as_bytes))),
        resolved(&with_slashes(&decoded(&as_bytes))),
    ];
    let stripped = [
        resolved(&decoded(&without_parameters(&as_bytes))),
        without_parameters(&resolved(&decoded(&as_bytes)))
            .split(|byte| *byte == b'/')
            .filter(|segment| !segment.is_empty())
            .collect::<Vec<_>>()
            .join(&b'/'),
        resolved(&without_parameters(&decoded(&as_bytes))),
    ];
    let all_same = |ways: &[Vec<u8>]| ways.windows(2).all(|pair| pair[0] == pair[1]);
    // An escaped semicolon begins a parameter for who decodes first: names differ then, and only dots are a danger.
    let hides_dots = |segment: &[u8]| segment.starts_with(b".;") || segment.starts_with(b"..;");
    let stripped_agree = match path.to_ascii_lowercase().contains("%3b") {
        true => !decoded(&as_bytes).split(|byte| *byte == b'/').any(hides_dots),
        false => all_same(&stripped),
    };
    if !path.starts_with('/') || path.contains('\\') || !all_same(&ways) || !stripped_agree {
        return Err(format!("the path {path:?} has several meanings"));
    }
    if decoded(&as_bytes).contains(&0) {
        return Err(format!("the path {path:?} holds a NUL"));
    }
    Ok(())
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let digits = path.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn with_slashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'/')
        .map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(&b'/')
}

/// Dots resolved and slashes merged.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.join(&b'/')
}

/// Reads request after request until the bytes are used up or make no sense.
fn read(bytes: &[u8], reading: Reading) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (request, next) = read_one(bytes, at, reading);
        let go_on = request.whole;
        requests.push(request);
        if !go_on {
            break;
        }
        at = next;
    }
    requests
}

fn read_one(bytes: &[u8], start: usize, reading: Reading) -> (Request, usize) {
    let mut request = Request { line: Vec::new(), telling: Vec::new(), body: Vec::new(), whole: false };
    let Some((line, mut at)) = next_line(bytes, start, reading.line_end) else {
        request.line = bytes[start..].to_vec();
        return (request, bytes.len());
    };
    request.line = line.to_vec();
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let Some((line, next)) = next_line(bytes, at, reading.line_end) else { return (request, bytes.len()) };
        at = next;
        if line.is_empty() {
            break;
        }
        if reading.folds && line.starts_with(b" ") | line.starts_with(b"\t") {
            if let Some((_, value)) = fields.last_mut() {
                value.extend_from_slice(line);
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let name = name_of(&line[..colon], reading.names);
        let mut value = trimmed(line.get(colon + 1..).unwrap_or_default()).to_vec();
        if reading.nul_ends_a_value {
            value.truncate(value.iter().position(|byte| *byte == 0).unwrap_or(value.len()));
        }
        fields.push((name, value));
    }
    request.telling = fields.iter().filter(|(name, _)| TELLING.contains(&name.as_str())).cloned().collect();
    let end = body(bytes, at, &fields, reading, &mut request.body);
    request.whole = end.is_some();
    (request, end.unwrap_or(bytes.len()))
}

/// Reads the body; gives the position behind it if it has arrived.
fn body(bytes: &[u8], at: usize, fields: &[(String, Vec<u8>)], reading: Reading, into: &mut Vec<u8>) -> Option<usize> {
    let value = |name: &str| {
        let mut values = fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        if reading.repeated == Repeated::First { values.next() } else { values.next_back() }
    };
    let is_chunked = value("transfer-encoding").is_some_and(|coding| is_chunked(coding, reading.coding));
    let length = value("content-length").and_then(|text| number(text, 10, reading.number));
    match (is_chunked, length) {
        (true, Some(length)) if reading.framing == Framing::LengthFirst => counted(bytes, at, length, into),
        (true, _) => chunks(bytes, at, reading, into),
        (false, Some(length)) => counted(bytes, at, length, into),
        (false, None) => Some(at),
    }
}

fn counted(bytes: &[u8], at: usize, length: u64, into: &mut Vec<u8>) -> Option<usize> {
    let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length)).unwrap_or(usize::MAX);
    into.extend_from_slice(&bytes[at..end.min(bytes.len())]);
    (end <= bytes.len()).then_some(end)
}

fn chunks(bytes: &[u8], mut at: usize, reading: Reading, into: &mut Vec<u8>) -> Option<usize> {
    loop {
        let (line, next) = next_line(bytes, at, reading.line_end)?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = number(digits, 16, reading.number)?;
        at = next;
        if size == 0 {
            loop {
                let (trailer, next) = next_line(bytes, at, reading.line_end)?;
                at = next;
                if trailer.is_empty() {
                    return Some(at);
                }
            }
        }
        at = counted(bytes, at, size, into)?;
        // Whatever stands behind the data is taken for the end of its line.
        at = next_line(bytes, at, reading.line_end)?.1;
    }
}

fn is_chunked(value: &[u8], coding: Coding) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    match coding {
        Coding::Exact => text == "chunked",
        Coding::Contained => text.contains("chunked"),
        Coding::LastOfList => text.rsplit(',').map(str::trim).find(|element| !element.is_empty()) == Some("chunked"),
    }
}

fn number(text: &[u8], radix: u32, care: Number) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if care == Number::Strict {
        return u64::from_str_radix(text, radix).ok().filter(|_| text.chars().all(|c| c.is_digit(radix)));
    }
    let text = text.trim_start().trim_start_matches(['+', '-']).trim_start_matches("0x");
    let digits = text.chars().map_while(|c| c.to_digit(radix));
    let wrapped = digits
        .fold((0_u64, 0), |(sum, count), digit| (sum.wrapping_mul(radix.into()).wrapping_add(digit.into()), count + 1));
    (wrapped.1 > 0).then_some(wrapped.0)
}

fn name_of(raw: &[u8], names: Names) -> String {
    let text = String::from_utf8_lossy(raw).to_ascii_lowercase();
    match names {
        Names::Exact => text,
        Names::Trimmed => text.trim_matches(|c: char| c.is_whitespace() || c.is_control()).to_owned(),
        Names::Folded if text.contains('_') => text.replace('_', "-").trim_matches('-').to_owned(),
        Names::Folded => text,
    }
}

fn trimmed(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

fn next_line(bytes: &[u8], at: usize, end: LineEnd) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let position = match end {
        LineEnd::Crlf => rest.windows(2).position(|window| window == b"\r\n")?,
        LineEnd::Lf => rest.iter().position(|byte| *byte == b'\n')?,
        LineEnd::CrOrLf => rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?,
    };
    let line = &rest[..position];
    let line = if end == LineEnd::Lf { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    let marks = if end != LineEnd::Lf && rest[position..].starts_with(b"\r\n") { 2 } else { 1 };
    Some((line, at + position + marks))
}

#[test]
fn careless_next_hops_are_seen_through() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    let dangerous = [
        format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5;a\nGET /smuggled HTTP/1.1\r\n\r\n0\r\n\r\n"),
        format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        format!("{head}Content-Length: +5\r\n\r\nhello"),
        format!("{head}Content-Length: 5\0\r\n\r\nhello"),
        format!("{head}X: a\nContent-Length: 5\r\n\r\nhello"),
        format!("{head}X: a\rContent-Length: 5\r\n\r\nhello"),
        format!("{head}Content-Length:\r\n 5\r\n\r\nhello"),
        format!("{head}Host: b\r\n\r\n"),
        format!("{head}X_Forwarded_For: 1.2.3.4\r\n\r\n"),
        format!("{head}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned(),
        "GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a/..%3b/b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /caf\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ];
    let safe = [
        format!("{head}Content-Length: 5\r\n\r\nhello{head}\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"),
        format!("{head}X: y\r\n\r\n"),
        "GET /a;v=1/b%20c?d=../e HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned(),
    ];

    for message in &dangerous {
        assert!(agree(message.as_bytes()).is_err(), "not seen through: {message:?}");
    }
    for message in &safe {
        assert!(agree(message.as_bytes()).is_ok_and(|seen| seen.iter().all(|request| request.whole)), "{message:?}");
    }
}
