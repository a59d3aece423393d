//! Copies of requests as the mirrors of a route.

use tidegate_policies::ir::Stated;
use tidegate_policies::ir::mirror::Mirror;
use tidegate_policies::ir::share::Share;
use tidegate_xds::resource::route::{Mirror as XdsMirror, Policies};

use super::header::{Values, header_mutations};
use super::origin;
use super::share::fraction;
use super::split::cluster_of;
use crate::world::Reader;

/// The copies that a route makes. One of nothing, or to nobody, is not made; the host stays as it is.
pub(super) fn mirrors(
    mirrors: &[Stated<Mirror>],
    values: Values,
    policies: &mut Policies,
    reader: &Reader<'_>,
) -> Vec<XdsMirror> {
    let wanted = mirrors.iter().filter(|stated| stated.value.share != Share::NONE);
    let made = wanted.filter_map(|stated| Some((stated, cluster_of(&stated.value.backend, reader)?)));
    made.map(|(stated, cluster)| {
        origin::note(policies, "mirror", stated);
        let Mirror { backend: _, share, request_headers, host_rewrite } = &*stated.value;
        XdsMirror {
            fraction: fraction(*share),
            request_headers: header_mutations(request_headers, values),
            host_rewrite: host_rewrite.clone(),
            ..XdsMirror::to(cluster)
        }
    })
    .collect()
}
