//! Who is copied, and what the copy says.

use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, HeaderAddition, HeaderMutations, HostRewrite, RouteAction,
};

use super::*;
use crate::route::{CompiledAction, RouteTable};
use crate::testing::{Head, Request, forward_to, prefix, route, routes};

fn compile(mirror: &Mirror) -> CompiledMirror {
    CompiledMirror::compile(mirror).unwrap()
}

fn to(change: impl FnOnce(&mut Mirror)) -> CompiledMirror {
    let mut mirror = Mirror::to("m".into());
    change(&mut mirror);
    compile(&mirror)
}

#[test]
fn a_share_of_requests_is_copied_and_tunnels_are_not() {
    let tenth = to(|m| m.fraction = Fraction { numerator: 10, denominator: 100 });
    let all = to(|_| {});

    assert_eq!((0..100).filter(|draw| tenth.takes(&Request::get("/"), *draw)).count(), 10);
    assert!(all.takes(&Request::get("/").method("POST"), u64::MAX));
    assert!(!all.takes(&Request::get("").method("CONNECT"), 0));
}

#[test]
fn the_host_stays_unless_the_resource_says_otherwise() {
    let suffixed = to(|m| m.shadow_host_suffix = true);
    let literal = to(|m| {
        m.shadow_host_suffix = true;
        m.host_rewrite = Some("copy.example".into());
    });

    assert_eq!(to(|_| {}).authority("reviews:9080"), None);
    assert_eq!(literal.authority("reviews:9080").as_deref(), Some("copy.example"));
    for (host, expected) in [
        ("reviews", "reviews-shadow"),
        ("reviews:9080", "reviews-shadow:9080"),
        ("[::1]:80", "[::1]-shadow:80"),
        ("[::1]", "[::1]-shadow"),
        ("10.0.0.1:80", "10.0.0.1-shadow:80"),
    ] {
        assert_eq!(suffixed.authority(host).as_deref(), Some(expected));
    }
}

#[test]
fn a_copy_is_marked_only_where_the_resource_says_so() {
    let mut forward = forward_to(ClusterSpecifier::Cluster("c".into()));
    let mark = HeaderAddition {
        name: "x-mirrored".into(),
        value: "%REQ(x-id)%".into(),
        append: AppendAction::OverwriteIfExistsOrAdd,
        keep_empty: false,
    };
    let mut marked = Mirror::to("marked".into());
    marked.request_headers = HeaderMutations { remove: vec!["cookie".into()], add: vec![mark] };
    forward.mirrors = vec![Mirror::to("plain".into()), marked];
    forward.host_rewrite = HostRewrite::Keep;
    let mut own = route("r", prefix("/"));
    own.action = RouteAction::Forward(Box::new(forward));
    let table = RouteTable::compile(&routes(vec![own])).unwrap();
    let request = Request::get("/").with("cookie", "a=b").with("x-id", "7");
    let found = table.find(&request, 0).unwrap();
    let CompiledAction::Forward(forward) = &found.action else { panic!("it forwards") };

    let heads: Vec<Head> = forward
        .mirrors
        .iter()
        .map(|mirror| {
            let mut head = request.headers.clone();
            mirror.apply(found, &request, &Context::default(), &mut head);
            head
        })
        .collect();

    assert_eq!(heads[0], request.headers);
    assert_eq!(heads[1], Head::of(&[("x-id", "7"), ("x-mirrored", "7")]));
    let names: Vec<_> = table.clusters().map(|name| name.as_ref()).collect();
    assert_eq!(names, ["c", "plain", "marked"]);
}
