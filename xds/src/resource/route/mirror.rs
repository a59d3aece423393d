//! Protobuf to mirror and back.

use std::collections::HashSet;
use std::sync::Arc;

use super::{HeaderMutations, Mirror};
use crate::proto::mutation_rules::{self, header_mutation::Action};
use crate::proto::route::route_action;
use crate::resource::header::{addition, encode_additions, header_value, mutable_name};
use crate::resource::matcher::Fraction;
use crate::resource::path::{At, Checked, each, ignored, refused};
use crate::resource::scalar::{encode_fraction, name, runtime_fraction};

/// The mirrors in the field of that name.
pub(super) fn decode(at: &At<'_>, policies: Vec<route_action::RequestMirrorPolicy>) -> Checked<Vec<Mirror>> {
    each(at, "request_mirror_policies", policies, mirror)
}

fn mirror(at: &At<'_>, policy: route_action::RequestMirrorPolicy) -> Checked<Mirror> {
    let route_action::RequestMirrorPolicy {
        cluster,
        cluster_header,
        runtime_fraction: fraction,
        trace_sampled,
        disable_shadow_host_suffix_append,
        request_headers_mutations,
        host_rewrite_literal,
    } = policy;
    refused!(at; cluster_header);
    ignored!(at; trace_sampled);
    header_value(&at.field("host_rewrite_literal"), &host_rewrite_literal)?;
    Ok(Mirror {
        cluster: name(at, "cluster", cluster)?,
        fraction: match fraction {
            Some(fraction) => runtime_fraction(&at.field("runtime_fraction"), fraction)?,
            None => Fraction::ALL,
        },
        shadow_host_suffix: !disable_shadow_host_suffix_append,
        request_headers: mutations(at, request_headers_mutations)?,
        host_rewrite: Some(host_rewrite_literal).filter(|host| !host.is_empty()).map(Arc::from),
    })
}

/// Mutations in order, as removals that come first. That is the same as long as nothing is removed that was added.
fn mutations(at: &At<'_>, messages: Vec<mutation_rules::HeaderMutation>) -> Checked<HeaderMutations> {
    let mut mutations = HeaderMutations::default();
    let mut added = HashSet::new();
    for (i, message) in messages.into_iter().enumerate() {
        let at = &at.item("request_headers_mutations", i);
        let mutation_rules::HeaderMutation { action } = message;
        match action.ok_or_else(|| at.error("has no action"))? {
            Action::Remove(header) => {
                let at = &at.field("remove");
                mutable_name(at, &header)?;
                let header = header.to_ascii_lowercase();
                if added.contains(&header) {
                    return Err(at.error(format_args!("{header:?} is removed after it was added, not supported yet")));
                }
                mutations.remove.push(header.into());
            }
            Action::Append(option) => {
                let addition = addition(&at.field("append"), option)?;
                added.insert(addition.name.to_ascii_lowercase());
                mutations.add.push(addition);
            }
            Action::RemoveOnMatch(_) => return Err(at.field("remove_on_match").unsupported()),
        }
    }
    Ok(mutations)
}

pub(super) fn encode(value: &Mirror) -> route_action::RequestMirrorPolicy {
    let removals = value.request_headers.remove.iter().map(|header| Action::Remove(header.to_string()));
    let additions = encode_additions(&value.request_headers).into_iter().map(Action::Append);
    let mutation = |action| mutation_rules::HeaderMutation { action: Some(action) };
    route_action::RequestMirrorPolicy {
        cluster: value.cluster.to_string(),
        runtime_fraction: Some(encode_fraction(value.fraction)),
        disable_shadow_host_suffix_append: !value.shadow_host_suffix,
        request_headers_mutations: removals.chain(additions).map(mutation).collect(),
        host_rewrite_literal: value.host_rewrite.as_deref().unwrap_or_default().to_owned(),
        ..Default::default()
    }
}
