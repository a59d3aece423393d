//! What a caller carries, who wrote it, and whether it is obeyed.

use proptest::prelude::*;
use tidegate_xds::resource::endpoint::Health;

use super::*;
use crate::EndpointHealth;
use crate::testing::{Request, locality};

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn by_cookie(ttl_s: u64, path: &str, strict: bool) -> Sessions {
    let ttl = Some(Duration::from_secs(ttl_s));
    let carrier = SessionCarrier::Cookie { name: "session".into(), path: path.into(), ttl };
    Sessions::compile(&StatefulSession { carrier, strict }).unwrap()
}

fn by_header() -> Sessions {
    let carrier = SessionCarrier::Header { name: "X-Session".into() };
    Sessions::compile(&StatefulSession { carrier, strict: false }).unwrap()
}

fn with_cookie(value: &str) -> Request {
    Request::get("/").with("cookie", &format!("session={value}"))
}

fn served(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// The value between the quotes of a `set-cookie`.
fn value_of(set_cookie: &str) -> &str {
    set_cookie.split('"').nth(1).unwrap()
}

struct Tried(Option<usize>);

impl Load for Tried {
    fn in_flight(&self, _index: usize) -> u32 {
        0
    }
    fn usable(&self, index: usize) -> bool {
        self.0 != Some(index)
    }
}

#[test]
fn a_cookie_brings_back_the_address_that_was_written() {
    for ttl_s in [0, 120] {
        let sessions = by_cookie(ttl_s, "/", false);
        let (name, field) = sessions.write(None, served(8080), NOW).unwrap();
        assert_eq!(name, "set-cookie");

        let carried = sessions.read(&with_cookie(value_of(&field)), NOW);

        assert_eq!(carried, Some(served(8080)));
        // Whoever carries the right address already gets no further cookie.
        assert_eq!(sessions.write(carried, served(8080), NOW), None);
        assert!(sessions.write(carried, served(8081), NOW).is_some());
    }
}

#[test]
fn a_cookie_is_the_message_that_envoy_writes() {
    let (_, field) = by_cookie(0, "/shop", false).write(None, served(80), NOW).unwrap();
    // {1: "127.0.0.1:80"}
    assert_eq!(field, format!("session=\"{}\"; Path=/shop; HttpOnly", STANDARD.encode(b"\x0a\x0c127.0.0.1:80")));

    let (_, field) = by_cookie(60, "", false).write(None, served(80), Duration::from_secs(240)).unwrap();
    // {1: "127.0.0.1:80", 2: 300}
    let message = STANDARD.encode(b"\x0a\x0c127.0.0.1:80\x10\xac\x02");
    assert_eq!(field, format!("session=\"{message}\"; Max-Age=60; HttpOnly"));
}

#[test]
fn a_cookie_that_is_the_address_alone_is_read_too() {
    let sessions = by_cookie(0, "/", false);

    assert_eq!(sessions.read(&with_cookie(&STANDARD.encode("127.0.0.1:81")), NOW), Some(served(81)));
    let v6 = sessions.read(&with_cookie(&STANDARD.encode("[::1]:81")), NOW);
    assert_eq!(v6, Some("[::1]:81".parse().unwrap()));
}

#[test]
fn an_expired_cookie_is_none() {
    let sessions = by_cookie(60, "/", false);
    let (_, field) = sessions.write(None, served(80), NOW).unwrap();
    let at = |after_s| sessions.read(&with_cookie(value_of(&field)), NOW + Duration::from_secs(after_s));

    assert_eq!(at(60), Some(served(80)));
    assert_eq!(at(61), None);
}

#[test]
fn what_is_malformed_is_no_session() {
    let sessions = by_cookie(0, "/", true);
    let long = STANDARD.encode([b'1'; 400]);
    let messages: [&[u8]; 8] = [
        b"localhost:80",
        b"\x0a\x0c127.0",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x1a\x0c127.0.0.1:80",
        b"\x10\x05",
        b"\x0a\x03a:1",
        b"",
    ];
    let encoded = messages.iter().map(|message| STANDARD.encode(message));
    for value in encoded.chain(["".to_owned(), "!!".to_owned(), "MTI3".to_owned(), long]) {
        assert_eq!(sessions.read(&with_cookie(&value), NOW), None, "{value}");
    }
    assert_eq!(sessions.read(&Request::get("/"), NOW), None);
}

#[test]
fn a_header_carries_the_address_in_both_directions() {
    let sessions = by_header();
    let (name, value) = sessions.write(None, served(80), NOW).unwrap();
    assert_eq!((name, value.as_str()), ("x-session", "MTI3LjAuMC4xOjgw"));

    assert_eq!(sessions.read(&Request::get("/").with("x-session", &value), NOW), Some(served(80)));
    // Messages are the cookie's.
    let message = STANDARD.encode(b"\x0a\x0c127.0.0.1:80");
    assert_eq!(sessions.read(&Request::get("/").with("x-session", &message), NOW), None);
}

#[test]
fn a_session_holds_while_its_endpoint_is_usable() {
    let set = EndpointSet::build(&[locality(
        0,
        &[(1, Health::Healthy), (1, Health::Degraded), (1, Health::Unhealthy), (1, Health::Draining)],
    )]);
    let locate = |strict, port: Option<u16>, tried| {
        let carried = port.map(served);
        by_cookie(0, "/", strict).locate(&set, carried, &Tried(tried))
    };

    for strict in [false, true] {
        assert_eq!(locate(strict, None, None), Override::Free);
        assert_eq!(locate(strict, Some(1), None), Override::Endpoint(0));
        assert_eq!(locate(strict, Some(2), None), Override::Endpoint(1));
        // A retry was asked to go elsewhere.
        assert_eq!(locate(strict, Some(1), Some(0)), Override::Free);
        for lost in [3, 4, 99] {
            assert_eq!(locate(strict, Some(lost), None), if strict { Override::Gone } else { Override::Free });
        }
    }
    let ejected = set.with_health(|i, _| EndpointHealth { ejected: i == 0, ..EndpointHealth::default() });
    assert_eq!(by_cookie(0, "/", false).locate(&ejected, Some(served(1)), &Tried(None)), Override::Free);
}

#[test]
fn a_session_applies_to_paths_that_its_cookie_is_sent_to() {
    let applies = |cookie_path: &str, path: &str| by_cookie(0, cookie_path, false).applies_to(path);

    assert!(applies("", "/x") && applies("/", "/x"));
    assert!(applies("/foo", "/foo") && applies("/foo", "/foo/bar"));
    assert!(!applies("/foo", "/foobar") && !applies("/foo", "/"));
    assert!(applies("/foo/", "/foo/bar") && !applies("/foo/", "/foo"));
    assert!(by_header().applies_to("/anything"));
}

#[test]
fn a_name_that_cannot_stand_in_a_head_is_refused() {
    let carrier = SessionCarrier::Header { name: "a b".into() };
    assert!(Sessions::compile(&StatefulSession { carrier, strict: false }).is_err());
    let carrier = SessionCarrier::Cookie { name: "a;".into(), path: "".into(), ttl: None };
    let refused = Sessions::compile(&StatefulSession { carrier, strict: false }).unwrap_err();
    assert_eq!(refused.path, "cookie.name");
}

proptest! {
    #[test]
    fn any_carried_bytes_are_an_address_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let sessions = by_cookie(0, "/", false);
        // Nothing that a caller sends may panic.
        let _read = sessions.read(&with_cookie(&STANDARD.encode(&bytes)), NOW);
        let mut head = Request::get("/");
        head.headers.0.push(("cookie".to_owned(), [b"session=".as_slice(), &bytes].concat()));
        let _read = sessions.read(&head, NOW);
    }

    #[test]
    fn any_address_and_expiry_survive(port in any::<u16>(), ip in any::<u128>(), ttl_s in 0_u64..1_000_000) {
        let address = SocketAddr::from((std::net::Ipv6Addr::from(ip), port));
        let sessions = by_cookie(ttl_s, "/", false);
        let (_, field) = sessions.write(None, address, NOW).unwrap();
        prop_assert_eq!(sessions.read(&with_cookie(value_of(&field)), NOW), Some(address));
    }
}
