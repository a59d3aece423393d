//! The envelopes: alike to those of the public API, and safe to read from anybody.

use proptest::prelude::*;

use super::*;
use crate::proto::discovery;

#[test]
fn a_node_keeps_what_it_says_of_itself() {
    let node = Node {
        id: "web-1.shop".into(),
        cluster: "web".into(),
        metadata: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        locality: Locality { region: "r".into(), zone: "z".into(), sub_zone: "".into() },
        user_agent: "tidegate-proxy".into(),
        user_agent_version: "0.1.0".into(),
        client_features: vec!["a.b".into()],
    };

    let bytes = WireNode::from(&node).encode_to_vec();

    assert_eq!(Node::from(&WireNode::decode(&*bytes).unwrap()), node);
}

/// Reads our bytes with the public API's messages and theirs with ours.
fn exchange<Ours, Theirs>(ours: &Ours)
where
    Ours: Message + Default + PartialEq + std::fmt::Debug,
    Theirs: Message + Default + std::fmt::Debug,
{
    let theirs = Theirs::decode(&*ours.encode_to_vec()).unwrap();
    assert_eq!(theirs.encoded_len(), ours.encoded_len(), "nothing was skipped as unknown: {theirs:?}");
    assert_eq!(&Ours::decode(&*theirs.encode_to_vec()).unwrap(), ours);
}

#[test]
fn the_envelopes_are_those_of_the_public_api() {
    let text = |s: &str| s.to_owned();
    let status = || Some(RpcStatus { code: 3, message: text("no") });
    let node = WireNode {
        id: text("id"),
        cluster: text("cluster"),
        metadata: Some(Struct { fields: BTreeMap::from([(text("k"), Value { kind: Some(ValueKind::Bool(true)) })]) }),
        locality: Some(WireLocality { region: text("r"), zone: text("z"), sub_zone: text("s") }),
        user_agent_name: text("envoy"),
        user_agent_version: Some(UserAgentVersion::Build(BuildVersion {
            version: Some(SemanticVersion { major: 1, minor: 2, patch: 3 }),
        })),
        client_features: vec![text("f")],
    };
    let any = Any { type_url: text("t"), value: Bytes::from_static(b"v") };
    let error = ResourceError { resource_name: Some(ResourceName { name: text("n") }), error_detail: status() };
    exchange::<_, discovery::DiscoveryRequest>(&DiscoveryRequest {
        version_info: text("v"),
        node: Some(Box::new(node.clone())),
        resource_names: vec![text("a"), text("b")],
        type_url: text("t"),
        response_nonce: text("n"),
        error_detail: status(),
    });
    exchange::<_, discovery::DeltaDiscoveryRequest>(&DeltaDiscoveryRequest {
        node: Some(Box::new(node)),
        type_url: text("t"),
        resource_names_subscribe: vec![text("a")],
        resource_names_unsubscribe: vec![text("b")],
        initial_resource_versions: BTreeMap::from([(text("a"), text("1"))]),
        response_nonce: text("n"),
        error_detail: status(),
    });
    exchange::<_, discovery::DiscoveryResponse>(&DiscoveryResponse {
        version_info: text("v"),
        resources: vec![any.encode_to_vec().into()],
        type_url: text("t"),
        nonce: text("n"),
        resource_errors: vec![error.clone()],
    });
    exchange::<_, discovery::DeltaDiscoveryResponse>(&DeltaDiscoveryResponse {
        system_version_info: text("v"),
        resources: vec![WrappedResource {
            version: text("1"),
            resource: Some(any.encode_to_vec().into()),
            name: text("a"),
        }],
        type_url: text("t"),
        nonce: text("n"),
        removed_resources: vec![text("b")],
        resource_errors: vec![error],
    });
}

#[test]
fn metadata_that_is_not_text_is_read_as_json() {
    let value = |kind| Value { kind: Some(kind) };
    let list = ListValue { values: vec![value(ValueKind::Number(1.0)), value(ValueKind::Null(0)), Value::default()] };
    let fields = BTreeMap::from([
        ("list".to_owned(), value(ValueKind::List(list))),
        ("say".to_owned(), value(ValueKind::Text("a \"b\"\n\u{1}".to_owned()))),
        ("yes".to_owned(), value(ValueKind::Bool(true))),
    ]);
    let metadata = Some(Struct { fields: BTreeMap::from([("x".into(), value(ValueKind::Object(Struct { fields })))]) });
    let build = BuildVersion { version: Some(SemanticVersion { major: 1, minor: 40, patch: 2 }) };
    let user_agent_version = Some(UserAgentVersion::Build(build));

    let node = Node::from(&WireNode { metadata, user_agent_version, ..WireNode::default() });

    assert_eq!(node.metadata["x"], r#"{"list":[1,null,null],"say":"a \"b\"\n\u0001","yes":true}"#);
    assert_eq!(&*node.user_agent_version, "1.40.2");
}

#[test]
fn metadata_that_is_nested_without_end_is_refused_and_not_followed() {
    // A list in a list in a list, written from the inside: a value that deep could not even be dropped.
    let nested = |depth: usize| {
        let mut bytes = Vec::new();
        for field in std::iter::repeat_n([1, 6], depth).flatten() {
            let mut outer = Vec::with_capacity(bytes.len() + 8);
            prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut outer);
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
        bytes
    };

    assert!(Value::decode(&*nested(20)).is_ok());
    assert!(Value::decode(&*nested(5_000)).is_err());
}

proptest! {
    #[test]
    fn random_bytes_are_read_or_refused_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        for mode in [Mode::Delta, Mode::StateOfTheWorld] {
            if let Ok(request) = Request::decode(mode, &*bytes) {
                request.node().map(Node::from);
            }
            if let Ok(response) = Response::decode(mode, Bytes::from(bytes.clone())) {
                prop_assert!(response.frame().len() >= FRAME_HEADER_BYTES);
            }
        }
    }
}
