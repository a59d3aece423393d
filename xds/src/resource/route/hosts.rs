//! A route configuration taken apart before it is decoded: host by host.
//!
//! # Why
//! The messages of ten thousand routes take 85 MB, their bytes 12. Decoded as one, all of them are there at once, beside what is made
//! of them, and are spread over memory that was never used before. A host is decoded, put to use and forgotten before the next one,
//! which finds the same memory again.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message as _, Name as _};

use crate::proto::route;
use crate::resource::path::{At, Checked};

/// `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u32 = 2;

/// A configuration whose hosts are still bytes.
pub(super) struct Apart<'b> {
    /// Everything but the hosts.
    pub(super) message: route::RouteConfiguration,
    hosts: Vec<&'b [u8]>,
    /// Bytes that were there and mean nothing to us.
    unknown: usize,
}

impl<'b> Apart<'b> {
    pub(super) fn take(at: &At<'_>, bytes: &'b [u8]) -> Checked<Self> {
        let (rest, hosts) = split(bytes).map_err(|error| invalid(at, &error))?;
        let message = route::RouteConfiguration::decode(&*rest).map_err(|error| invalid(at, &error))?;
        let unknown = rest.len().saturating_sub(message.encoded_len());
        Ok(Self { message, hosts, unknown })
    }

    /// What is left of it, and its hosts one by one. Notes in the end that something was not known.
    pub(super) fn into_parts<'a>(
        self,
        at: &'a At<'a>,
    ) -> (route::RouteConfiguration, impl ExactSizeIterator<Item = Checked<route::VirtualHost>>) {
        let Self { message, hosts, unknown } = self;
        if unknown > 0 {
            at.ignore(UNKNOWN);
        }
        // Said once, whatever number of hosts has some.
        let mut is_said = unknown > 0;
        let hosts = hosts.into_iter().map(move |bytes| {
            let host = route::VirtualHost::decode(bytes).map_err(|error| invalid(at, &error))?;
            if !is_said && host.encoded_len() < bytes.len() {
                at.ignore(UNKNOWN);
                is_said = true;
            }
            Ok(host)
        });
        (message, hosts)
    }
}

/// As for every other message.
const UNKNOWN: &str = "(unknown fields)";

fn invalid(at: &At<'_>, error: &DecodeError) -> crate::resource::FieldError {
    at.error(format_args!("is not a valid {}: {error}", route::RouteConfiguration::full_name()))
}

/// All fields but the hosts, and the hosts.
fn split(bytes: &[u8]) -> Result<(Vec<u8>, Vec<&[u8]>), DecodeError> {
    let (mut rest, mut hosts) = (Vec::new(), Vec::new());
    let mut left = bytes;
    while !left.is_empty() {
        let field = left;
        let (tag, wire_type) = decode_key(&mut left)?;
        if tag == VIRTUAL_HOSTS && wire_type == WireType::LengthDelimited {
            let mut behind = left;
            let length = decode_varint(&mut behind)?;
            let host = usize::try_from(length).ok().and_then(|length| behind.split_at_checked(length));
            if let Some((host, next)) = host {
                hosts.push(host);
                left = next;
                continue;
            }
        }
        // A host that is cut off goes this way, too, and is refused like any other field.
        skip_field(wire_type, tag, &mut left, DecodeContext::default())?;
        rest.extend_from_slice(&field[..field.len() - left.len()]);
    }
    Ok((rest, hosts))
}

#[cfg(test)]
mod tests {
    use prost::encoding::encoded_len_varint;

    use super::*;

    fn host(name: &str) -> route::VirtualHost {
        route::VirtualHost { name: name.to_owned(), domains: vec![name.to_owned()], ..Default::default() }
    }

    #[test]
    fn nothing_is_lost_when_it_is_taken_apart() {
        let whole = route::RouteConfiguration {
            name: "routes".to_owned(),
            virtual_hosts: vec![host("a"), host(""), host(&"b".repeat(1_000))],
            request_headers_to_remove: vec!["x".to_owned(), "y".to_owned()],
            ignore_port_in_host_matching: true,
            ..Default::default()
        };
        let bytes = whole.encode_to_vec();

        let (rest, hosts) = split(&bytes).expect("valid");

        let mut again = route::RouteConfiguration::decode(&*rest).expect("valid");
        assert!(again.virtual_hosts.is_empty());
        again.virtual_hosts = hosts.iter().map(|host| route::VirtualHost::decode(*host).expect("valid")).collect();
        assert_eq!(again, whole);
        let keys: usize = hosts.iter().map(|host| 1 + encoded_len_varint(host.len() as u64)).sum();
        assert_eq!(rest.len() + hosts.iter().map(|host| host.len()).sum::<usize>() + keys, bytes.len());
    }

    #[test]
    fn what_is_cut_off_anywhere_is_refused_as_the_message_crate_refuses_it() {
        let whole = route::RouteConfiguration {
            name: "routes".to_owned(),
            virtual_hosts: vec![host("a"), host("b")],
            ignore_port_in_host_matching: true,
            ..Default::default()
        };
        let bytes = whole.encode_to_vec();

        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert_eq!(split(cut).is_err(), route::RouteConfiguration::decode(cut).is_err(), "cut at {length}");
        }
    }
}
