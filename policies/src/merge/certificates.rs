//! Whether listeners may have the certificates that they refer to, and whether those are there.

use std::collections::HashMap;
use std::sync::Arc;

use super::http_routes::Grants;
use crate::diagnostic::Code;
use crate::dialect::gateway_api::certificate::CertificateRef;
use crate::dialect::{Context, Objects};
use crate::head::Head;
use crate::ir::ObjectName;

pub(super) fn look_up(objects: &Objects, grants: &Grants<'_>, cx: &mut Context<'_>) {
    let secrets = objects.secrets.iter().map(|secret| (&secret.head.name, secret.spec.is_certificate));
    let secrets: HashMap<&ObjectName, bool> = secrets.collect();
    let gateways = objects.gateways.iter().map(|gateway| (&gateway.head, &gateway.spec.listeners));
    let sets = objects.listener_sets.iter().map(|set| (&set.head, &set.spec.listeners));
    for (head, listeners) in gateways.chain(sets) {
        for reference in listeners.iter().flat_map(|listener| &listener.certificates) {
            if let Err((code, why, cure)) = resolve(head, reference, &secrets, grants) {
                cx.report.add(code, reference.name.span, why).help(cure);
            }
        }
    }
}

type Refusal = (Code, String, String);

fn resolve(
    head: &Head,
    reference: &CertificateRef,
    secrets: &HashMap<&ObjectName, bool>,
    grants: &Grants<'_>,
) -> Result<(), Refusal> {
    let CertificateRef { group, kind, name, namespace } = reference;
    if !group.is_empty() || &**kind != "Secret" {
        let why = format!("certificates of kind {kind} in group \"{group}\" are not known");
        return Err((Code::UnresolvedCertificate, why, "use a Secret of type kubernetes.io/tls".to_owned()));
    }
    let namespace = Arc::clone(namespace.as_ref().unwrap_or(&head.name.namespace));
    let secret = ObjectName { namespace, name: Arc::clone(&name.value) };
    let (from, ours) = (head.kind.as_str(), &head.name.namespace);
    if secret.namespace != *ours && !grants.allow_certificate(from, ours, &secret) {
        let why = format!(
            "namespace {} does not let {from}s of namespace {ours} refer to secret {name}",
            secret.namespace,
            name = secret.name
        );
        let cure = format!("add a ReferenceGrant in namespace {}, from {from} in {ours}, to Secret", secret.namespace);
        return Err((Code::CertificateNotGranted, why, cure));
    }
    match secrets.get(&secret) {
        Some(true) => Ok(()),
        Some(false) => Err((
            Code::UnresolvedCertificate,
            format!("secret {secret} holds no certificate with its key"),
            "put them in PEM into `tls.crt` and `tls.key`".to_owned(),
        )),
        None => Err((
            Code::UnresolvedCertificate,
            format!("there is no secret {secret} of type kubernetes.io/tls"),
            "add the Secret, or correct the name".to_owned(),
        )),
    }
}
