//! Messages as bytes that are the same in every process.
//!
//! # Why sorting afterwards
//! The message crate keeps protobuf's maps in hash maps, whose order changes from run to run, and versions are hashes of
//! these bytes. A mirror of every message above a map (a route, its host, their configuration) would have to be kept
//! equal to the message crate by hand. Instead the bytes are written as they come and the entries of each map are put
//! in order where they lie: order is the only thing that differs, so no length changes and nothing moves but entries.
//!
//! What is inside a `google.protobuf.Any` is bytes to the message around it; it went through [`encode`] when it was
//! packed.

use std::ops::Range;

use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{Message, Name};

/// Where below a message maps are: fields by number.
type Shape = &'static [(u32, Part)];

/// A field on the way to a map.
enum Part {
    /// A message with maps in it.
    Within(&'static Shape),
    /// A map; its values may have maps in them.
    Map(Option<&'static Shape>),
}

// Only maps that may get a second entry from our own writers need to be found.
static ROUTE_CONFIGURATION: Shape = &[(2, Part::Within(&VIRTUAL_HOST)), (16, Part::Map(None))];
static VIRTUAL_HOST: Shape = &[(3, Part::Within(&ROUTE)), (15, Part::Map(None)), (24, Part::Within(&METADATA))];
static ROUTE: Shape = &[(2, Part::Within(&ROUTE_ACTION)), (4, Part::Within(&METADATA)), (13, Part::Map(None))];
static ROUTE_ACTION: Shape = &[(3, Part::Within(&WEIGHTED_CLUSTER))];
static WEIGHTED_CLUSTER: Shape = &[(1, Part::Within(&CLUSTER_WEIGHT))];
static CLUSTER_WEIGHT: Shape = &[(10, Part::Map(None))];
static MANAGER: Shape = &[(4, Part::Within(&ROUTE_CONFIGURATION))];
static CLUSTER: Shape = &[(25, Part::Within(&METADATA))];
static LISTENER: Shape = &[(6, Part::Within(&METADATA))];
static HTTP_FAULT: Shape = &[(16, Part::Within(&STRUCT))];
static METADATA: Shape = &[(1, Part::Map(Some(&STRUCT)))];
static STRUCT: Shape = &[(1, Part::Map(Some(&VALUE)))];
static VALUE: Shape = &[(5, Part::Within(&STRUCT)), (6, Part::Within(&LIST))];
static LIST: Shape = &[(1, Part::Within(&VALUE))];

/// The bytes of `message`, the same for equal messages.
pub(super) fn encode<M: Message + Name>(message: &M) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    let shape: Option<Shape> = match M::full_name().as_str() {
        "envoy.config.route.v3.RouteConfiguration" => Some(ROUTE_CONFIGURATION),
        "envoy.config.cluster.v3.Cluster" => Some(CLUSTER),
        "envoy.config.listener.v3.Listener" => Some(LISTENER),
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => Some(HTTP_FAULT),
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => Some(MANAGER),
        _ => None,
    };
    if let Some(shape) = shape {
        sort(&mut bytes, shape);
    }
    bytes
}

/// Puts the entries of all maps of the message in `bytes` in order.
fn sort(bytes: &mut [u8], shape: Shape) {
    // Entries of one map follow each other, because prost writes field by field: their number, and where each begins and
    // the last one ends.
    let mut run: Option<(u32, Vec<usize>)> = None;
    let mut start = 0;
    while let Some(field) = Field::read(bytes, start) {
        let part = field.payload.clone().and_then(|payload| {
            let (_, part) = shape.iter().find(|(number, _)| *number == field.number)?;
            Some((part, payload))
        });
        match part {
            Some((Part::Within(shape), payload)) => sort(&mut bytes[payload], shape),
            Some((Part::Map(values), payload)) => {
                if let Some(values) = values {
                    value(&mut bytes[payload], values);
                }
                match &mut run {
                    Some((number, bounds)) if *number == field.number && bounds.last() == Some(&start) => {
                        bounds.push(field.end);
                    }
                    _ => {
                        if let Some((_, bounds)) = run.replace((field.number, vec![start, field.end])) {
                            reorder(bytes, &bounds);
                        }
                    }
                }
            }
            None => {}
        }
        start = field.end;
    }
    if let Some((_, bounds)) = run {
        reorder(bytes, &bounds);
    }
}

/// Sorts what is inside the value (field 2) of one entry of a map.
fn value(entry: &mut [u8], shape: Shape) {
    let mut start = 0;
    while let Some(field) = Field::read(entry, start) {
        if let (2, Some(payload)) = (field.number, field.payload) {
            sort(&mut entry[payload], shape);
        }
        start = field.end;
    }
}

/// Writes the entries between these bounds in the order of their bytes.
fn reorder(bytes: &mut [u8], bounds: &[usize]) {
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else { return };
    let mut sorted: Vec<&[u8]> = bounds.windows(2).map(|bound| &bytes[bound[0]..bound[1]]).collect();
    sorted.sort_unstable();
    let sorted = sorted.concat();
    bytes[*first..*last].copy_from_slice(&sorted);
}

/// One field of a message.
struct Field {
    number: u32,
    /// Of a length-delimited field.
    payload: Option<Range<usize>>,
    end: usize,
}

impl Field {
    /// The field that starts at `start`; `None` at the end. (And at something that is no field, which prost does not
    /// write: what follows it then stays as it is.)
    fn read(bytes: &[u8], start: usize) -> Option<Self> {
        let mut rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let (payload, end) = match wire_type {
            WireType::Varint => {
                decode_varint(&mut rest).ok()?;
                (None, bytes.len() - rest.len())
            }
            WireType::SixtyFourBit => (None, bytes.len() - rest.len() + 8),
            WireType::ThirtyTwoBit => (None, bytes.len() - rest.len() + 4),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let payload = bytes.len() - rest.len();
                let end = payload.checked_add(length)?;
                (Some(payload..end), end)
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        (end <= bytes.len()).then_some(Self { number, payload, end })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::proto::{Any, Struct, Value, core, fault, route, value::Kind};

    fn shuffled<V: Clone>(names: &[&str], value: &V) -> HashMap<String, V> {
        // Each map draws its own order.
        names.iter().map(|name| ((*name).to_owned(), value.clone())).collect()
    }

    fn structure() -> Struct {
        let leaf = Value { kind: Some(Kind::StringValue("v".into())) };
        let inner = Struct { fields: shuffled(&["d", "e", "f", "g"], &leaf) };
        Struct { fields: shuffled(&["a", "b", "c", ""], &Value { kind: Some(Kind::StructValue(inner)) }) }
    }

    fn configuration() -> route::RouteConfiguration {
        use route::{route::Action, route_action::ClusterSpecifier, weighted_cluster::ClusterWeight};
        let filters = || shuffled(&["f", "g", "h", "i"], &Any { type_url: "t".into(), value: vec![1, 2] });
        let weight = ClusterWeight { typed_per_filter_config: filters(), ..Default::default() };
        let weighted = route::WeightedCluster { clusters: vec![weight.clone(), weight], ..Default::default() };
        let action = route::RouteAction {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
            ..Default::default()
        };
        let metadata =
            core::Metadata { filter_metadata: shuffled(&["m", "n", "o"], &structure()), ..Default::default() };
        let route = route::Route {
            typed_per_filter_config: filters(),
            metadata: Some(metadata.clone()),
            action: Some(Action::Route(action)),
            ..Default::default()
        };
        let host = route::VirtualHost {
            routes: vec![route],
            typed_per_filter_config: filters(),
            metadata: Some(metadata),
            ..Default::default()
        };
        route::RouteConfiguration {
            name: "n".into(),
            virtual_hosts: vec![host],
            typed_per_filter_config: filters(),
            ..Default::default()
        }
    }

    #[test]
    fn equal_messages_are_equal_bytes_whatever_order_their_maps_have() {
        let (routes, fault) = (
            encode(&configuration()),
            encode(&fault::HttpFault { filter_metadata: Some(structure()), ..Default::default() }),
        );

        for _ in 0..100 {
            let again = fault::HttpFault { filter_metadata: Some(structure()), ..Default::default() };
            assert_eq!(encode(&configuration()), routes);
            assert_eq!(encode(&again), fault);
        }
        // Without sorting some order would have differed, or this test could not fail.
        assert!((0..100).any(|_| configuration().encode_to_vec() != configuration().encode_to_vec()));
    }

    #[test]
    fn sorting_changes_nothing_but_order() {
        let message = configuration();

        assert_eq!(route::RouteConfiguration::decode(&encode(&message)[..]).expect("valid"), message);
        assert_eq!(encode(&message).len(), message.encoded_len());
    }

    #[test]
    fn bytes_that_are_no_message_stay_as_they_are() {
        for bytes in [&[0xff_u8, 0xff][..], &[0x12, 0x7f, 0x01], &[0x0b, 0x0c], &[0x12, 0x80], &[]] {
            let mut sorted = bytes.to_vec();
            sort(&mut sorted, ROUTE_CONFIGURATION);

            assert_eq!(sorted, bytes);
        }
    }
}
