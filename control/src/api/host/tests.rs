//! Which names are answered, and which pages may send.

use http_body_util::BodyExt as _;

use super::*;

fn hosts(names: &[&str]) -> Hosts {
    Hosts::new(names.iter().map(|name| name.parse().unwrap()))
}

fn asking(method: Method, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri("/api/v1/policies");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn is_answered(hosts: &Hosts, host: &str) -> bool {
    hosts.judge(&asking(Method::GET, &[("host", host)])).is_ok()
}

#[test]
fn addresses_and_names_that_no_stranger_can_have_are_answered() {
    let own = [
        "127.0.0.1",
        "127.0.0.1:15014",
        "10.1.2.3:80",
        "[::1]",
        "[::1]:15014",
        "localhost",
        "LOCALHOST:15014",
        "localhost.",
        "console.localhost:8080",
        "tidegate",
        "tidegate:15014",
        "tidegate.mesh.svc:15014",
        "tidegate.mesh.svc.cluster.local",
    ];
    for host in own {
        assert!(is_answered(&Hosts::default(), host), "{host}");
    }
}

#[test]
fn names_that_a_stranger_can_have_are_not_answered() {
    let foreign = [
        "evil.example",
        "evil.example:15014",
        "127.0.0.1.nip.io",
        "localhost.evil.example",
        "svc.evil.example",
        "tidegate.svc.cluster.local.evil.example",
        "cluster.local",
        "evilsvc.example",
        "x.svc.evil",
    ];
    for host in foreign {
        assert!(!is_answered(&Hosts::default(), host), "{host}");
    }
}

#[test]
fn what_is_no_host_at_all_is_not_answered() {
    let strange = [
        "",
        ".",
        ":15014",
        "[::1",
        "[::1]x",
        "[fe80::1%25lo]",
        "a:b",
        "a:1:2",
        "evil@localhost",
        "local host",
        "localhost/x",
    ];
    for host in strange {
        assert!(!is_answered(&Hosts::default(), host), "{host:?}");
    }
    let mut request = asking(Method::GET, &[]);
    request.headers_mut().insert(HOST, HeaderValue::from_bytes(b"localhost\xff").unwrap());
    assert!(Hosts::default().judge(&request).is_err());
}

#[test]
fn a_name_that_was_given_is_answered_and_no_other() {
    let hosts = hosts(&["Mesh.Example.com."]);

    assert!(is_answered(&hosts, "mesh.example.com:443"));
    assert!(is_answered(&hosts, "MESH.example.com."));
    assert!(!is_answered(&hosts, "example.com"));
    assert!(!is_answered(&hosts, "a.mesh.example.com"));
}

#[test]
fn given_names_are_names_alone() {
    for wrong in [
        "",
        ".",
        "http://mesh.example.com",
        "mesh.example.com:443",
        "mesh.example.com/",
        "*.example.com",
        "méss.example",
    ] {
        assert!(wrong.parse::<HostName>().is_err(), "{wrong:?}");
    }
    assert!("a".repeat(254).parse::<HostName>().is_err());
}

#[test]
fn every_name_of_a_request_has_to_be_ours() {
    let twice = asking(Method::GET, &[("host", "localhost"), ("host", "evil.example")]);
    assert_eq!(Hosts::default().judge(&twice), Err(Refusal::Host("evil.example".to_owned())));

    let mut absolute = asking(Method::GET, &[("host", "localhost")]);
    *absolute.uri_mut() = "http://evil.example/api/v1/policies".parse().unwrap();
    assert_eq!(Hosts::default().judge(&absolute), Err(Refusal::Host("evil.example".to_owned())));

    // A probe that speaks HTTP/1.0.
    assert_eq!(Hosts::default().judge(&asking(Method::GET, &[])), Ok(()));
}

#[test]
fn another_page_may_not_send_but_programs_and_our_own_page_may() {
    let judge = |hosts: &Hosts, headers: &[(&str, &str)]| hosts.judge(&asking(Method::POST, headers));
    let none = Hosts::default();
    let host = ("host", "127.0.0.1:15014");

    assert_eq!(judge(&none, &[host]), Ok(()));
    assert_eq!(judge(&none, &[host, ("origin", "http://127.0.0.1:15014")]), Ok(()));
    for page in
        ["http://evil.example", "http://127.0.0.1:3000", "http://localhost:15014", "null", "127.0.0.1:15014", ""]
    {
        let refused = judge(&none, &[host, ("origin", page)]);
        assert_eq!(refused, Err(Refusal::Origin(page.to_owned())), "{page:?}");
    }
    // Behind somebody who encrypts, and may have written another name.
    let given = hosts(&["mesh.example.com"]);
    assert_eq!(judge(&given, &[host, ("origin", "https://mesh.example.com")]), Ok(()));
    assert!(judge(&given, &[host, ("origin", "https://mesh.example.com.evil.example")]).is_err());

    let read = none.judge(&asking(Method::GET, &[host, ("origin", "http://evil.example")]));
    assert_eq!(read, Ok(()), "a page that only asks cannot read the answer");
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_where_and_how_to_mend_it() {
    let long = format!("{}.example", "x".repeat(10_000));
    for (host, shown) in [("evil.example", "`evil.example`"), (long.as_str(), "`xxx")] {
        let answer = Hosts::default().refuse(&asking(Method::GET, &[("host", host)])).expect("a refusal");
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(told["error"].as_str().unwrap().contains(shown), "{told}");
        assert_eq!(told["header"], "Host");
        assert!(told["help"].as_str().unwrap().contains("--api-host"), "{told}");
        assert!(body.len() < 1_024, "{}", body.len());
    }
}

#[test]
fn the_machine_has_a_name_or_none_but_never_a_wrong_one() {
    if let Some(name) = HostName::of_this_machine() {
        assert!(is_answered(&Hosts::new([name.clone()]), &format!("{}:15014", name.0)));
    }
}
