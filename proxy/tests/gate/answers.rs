//! Answers of upstreams: what is relayed, what is a 502, what is torn, and what is never kept for the next request.

use std::net::SocketAddr;

use tidegate_xds::resource::cluster::UpstreamProtocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::case::find;
use crate::client::{Client, answer_in};
use crate::requests::{in_front_of, shown};
use crate::{PATIENCE, Tally};

/// What must become of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// The proxy answers in its place.
    Status(u16),
    /// The caller gets exactly this.
    Bytes(&'static str),
    /// The caller gets this beginning, and a connection that ends without an end of the message.
    Torn(&'static str),
}

/// Which request it is given to, and how the upstream goes on.
#[derive(Clone, Copy, Debug)]
struct Answer {
    name: &'static str,
    rfc: &'static str,
    method: &'static str,
    said: &'static [u8],
    wanted: Wanted,
}

macro_rules! answers {
    ($($method:ident $name:ident $rfc:literal: $said:expr => $wanted:expr;)+) => {
        const ANSWERS: &[Answer] = &[$(Answer {
            name: stringify!($name),
            rfc: $rfc,
            method: stringify!($method),
            said: $said,
            wanted: $wanted,
        }),+];
    };
}

use Wanted::{Bytes, Status, Torn};

answers! {
    // Relayed.
    GET a_plain_answer "RFC 9112 4": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    GET chunks "RFC 9112 7.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    GET a_body_until_the_end "RFC 9112 6.3": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi" => Bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    GET an_http10_answer "RFC 9112 2.3": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    GET an_empty_reason "RFC 9112 4": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n");
    GET no_space_before_no_reason "RFC 9112 4": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n");
    GET an_unknown_status "RFC 9110 15": b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n");
    GET an_early_hint "RFC 8297 2": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    GET framing_in_an_interim_answer "RFC 9112 6.2": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    GET hop_by_hop_fields "RFC 9110 7.6.1": b"HTTP/1.1 200 OK\r\nConnection: X-One\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    GET an_offer_to_upgrade "RFC 9110 7.8": b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    GET a_look_alike "RFC 9110 5.1": b"HTTP/1.1 200 OK\r\nContent_Length: 9\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    GET two_cookies "RFC 6265 3": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n");
    GET a_trailer "RFC 9110 6.5.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSet-Cookie: a=1\r\ngrpc-status: 0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 0\r\n\r\n");
    GET a_padded_length "RFC 9110 8.6": b"HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nhi" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");

    // Without a body, whatever they say, and nothing of it for the next request.
    GET extra_bytes "RFC 9112 6.3": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    GET extra_bytes_behind_chunks "RFC 9112 7.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" => Bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    GET a_204_with_a_body "RFC 9110 15.3.5": b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil" => Bytes("HTTP/1.1 204 No Content\r\n\r\n");
    GET a_204_with_a_length_alone "RFC 9110 8.6": b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n" => Bytes("HTTP/1.1 204 No Content\r\n\r\n");
    GET a_204_with_chunks "RFC 9112 6.1": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n" => Bytes("HTTP/1.1 204 No Content\r\n\r\n");
    GET a_304_with_a_body "RFC 9110 15.4.5": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil" => Bytes("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n");
    HEAD an_answer_to_head_with_a_body "RFC 9110 9.3.2": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    HEAD an_answer_to_head_with_chunks "RFC 9110 9.3.2": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    HEAD an_answer_to_head "RFC 9110 9.3.2": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" => Bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");

    // Refused.
    GET nothing "RFC 9110 15.6.4": b"" => Status(503);
    GET half_a_status_line "RFC 9112 8": b"HTTP/1.1 20" => Status(502);
    GET half_a_head "RFC 9112 8": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" => Status(502);
    GET no_http_at_all "RFC 9112 4": b"hello\r\n\r\n" => Status(502);
    GET an_empty_line_first "RFC 9112 4": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_request_in_place_of_an_answer "RFC 9112 4": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" => Status(502);
    GET a_version_of_2 "RFC 9112 2.3": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_version_in_lower_case "RFC 9112 2.3": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_status_of_four_digits "RFC 9112 4": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_status_of_two_digits "RFC 9112 4": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_status_with_a_sign "RFC 9112 4": b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_status_below_100 "RFC 9110 15": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_status_in_letters "RFC 9112 4": b"HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET two_spaces_before_the_status "RFC 9112 4": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_nul_in_the_reason "RFC 9112 4": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_bare_cr_in_the_reason "RFC 9112 2.2": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_bare_lf "RFC 9112 2.2": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n" => Status(502);
    GET a_fold "RFC 9112 5.2": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_space_before_the_colon "RFC 9112 5.1": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n" => Status(502);
    GET a_nul_in_a_value "RFC 9110 5.5": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET a_line_without_a_colon "RFC 9112 5": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n" => Status(502);
    GET two_lengths "RFC 9112 6.3": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!" => Status(502);
    GET two_equal_lengths "RFC 9112 6.3": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi" => Status(502);
    GET a_list_of_lengths "RFC 9110 8.6": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi" => Status(502);
    GET a_negative_length "RFC 9110 8.6": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" => Status(502);
    GET a_length_that_overflows "RFC 9110 8.6": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\nh" => Status(502);
    GET both_framings "RFC 9112 6.3": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => Status(502);
    GET an_unknown_coding "RFC 9112 6.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi" => Status(502);
    GET chunked_twice "RFC 9112 6.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => Status(502);
    GET chunked_before_gzip "RFC 9112 6.3": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" => Status(502);
    GET chunks_on_http10 "RFC 9112 6.1": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => Status(502);
    GET an_unasked_switch "RFC 9110 15.2.2": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" => Status(502);
    GET an_unasked_switch_to_http2 "RFC 9110 15.2.2": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" => Status(502);
    GET a_switch_without_a_protocol "RFC 9110 15.2.2": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" => Status(502);

    // Torn.
    GET less_than_the_length "RFC 9112 8": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel" => Torn("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    GET chunks_without_an_end "RFC 9112 8": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    GET half_a_chunk "RFC 9112 8": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    GET a_last_chunk_without_its_line "RFC 9112 8": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    GET a_bad_size "RFC 9112 7.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    GET a_bare_lf_behind_a_size "RFC 9112 7.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    GET more_data_than_the_size "RFC 9112 7.1": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    GET a_bad_trailer "RFC 9112 7.1.2": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n" => Torn("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

pub(crate) async fn run() -> Tally {
    let (proxy, address) = in_front_of(UpstreamProtocol::Http1, backend().await).await;
    let mut tally = Tally::default();
    for (index, answer) in ANSWERS.iter().enumerate() {
        tally.cases += 1;
        match answer.wanted {
            Bytes(wanted) if wanted.as_bytes() == answer.said => tally.as_sent += 1,
            Bytes(_) => tally.mended += 1,
            Status(_) => tally.refused += 1,
            Torn(_) => tally.torn += 1,
        }
        let judged = tokio::time::timeout(PATIENCE, exchange(address, index, answer)).await;
        let fault = match judged {
            Ok(judged) => judged.err(),
            Err(_elapsed) => Some("no end in sight".into()),
        };
        tally.faults.extend(fault.map(|fault| format!("answer {} ({}): {fault}", answer.name, answer.rfc)));
        let next = tokio::time::timeout(PATIENCE, good(&mut Client::connect(address).await)).await;
        if next != Ok(true) {
            tally.dangerous += 1;
            tally.faults.push(format!("answer {} ({}) poisons the next request", answer.name, answer.rfc));
        }
    }
    drop(proxy);
    tally
}

async fn exchange(address: SocketAddr, index: usize, answer: &Answer) -> Result<(), String> {
    let mut client = Client::connect(address).await;
    client.say(format!("{} /{index} HTTP/1.1\r\nHost: a.test\r\n\r\n", answer.method).as_bytes()).await;
    match answer.wanted {
        Bytes(wanted) => {
            let got = client.bytes(wanted.len()).await;
            if got != wanted.as_bytes() {
                return Err(format!("relayed {}, wanted {wanted:?}", shown(&got)));
            }
            // The caller's connection goes on, and nothing stands between this answer and the next.
            if good(&mut client).await { Ok(()) } else { Err("the caller's next answer is another one".into()) }
        }
        Status(status) => match client.answer().await {
            Ok(answer) if answer.status == status && answer.head.contains("x-mesh-error") => Ok(()),
            answer => Err(format!("answered {answer:?}, wanted {status}")),
        },
        Torn(beginning) => {
            let all = client.rest().await;
            let clean = all.ends_with(b"0\r\n\r\n");
            let begins = all.starts_with(beginning.as_bytes()) && answer_in(&all).is_some();
            if begins && !clean { Ok(()) } else { Err(format!("got {}, wanted {beginning:?} and no end", shown(&all))) }
        }
    }
}

/// The next request on this connection gets the answer that is meant for it, and nothing else.
async fn good(client: &mut Client) -> bool {
    client.say(b"GET /good HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    client.bytes(GOOD.len()).await == GOOD.as_bytes()
}

/// Says to each path the answer with its number, and to `/good` a good one. What is said without an end of its own ends with the
/// connection.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut held = Vec::new();
    loop {
        while let Some(end) = find(&held, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..end]).into_owned();
            held.drain(..end + 4);
            let path = head.split(' ').nth(1).and_then(|path| path.strip_prefix('/')).unwrap_or_default().to_owned();
            let asked = path.parse().ok().and_then(|index: usize| ANSWERS.get(index));
            let said = asked.map_or(GOOD.as_bytes(), |answer| answer.said);
            if stream.write_all(said).await.is_err() {
                return;
            }
            let unended = asked.is_some_and(|answer| {
                matches!(answer.wanted, Status(_) | Torn(_)) || answer.name.ends_with("until_the_end")
            });
            if unended {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
            return;
        }
    }
}
