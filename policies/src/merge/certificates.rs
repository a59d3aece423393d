//! Whether certificates and roots may be had by whoever refers to them, whether they are there, and until when.
//!
//! # What is not usable is not handed out
//! A proxy would refuse it, and the finding would stand in a proxy's log instead of beside the line. So only what holds a
//! certificate with its key, both whole and fitting each other, gets into the set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::http_routes::Grants;
use crate::certificate::{self, Certificate, Flaw};
use crate::diagnostic::Code;
use crate::dialect::gateway_api::certificate::CertificateRef;
use crate::dialect::istio::Host;
use crate::dialect::istio::destination_rule::tls::roots_of_secret;
use crate::dialect::secret::{Roots, Secret};
use crate::dialect::{Context, Object, Objects};
use crate::head::Head;
use crate::ir::ObjectName;
use crate::ir::tls::{Credential, CredentialName};
use crate::source::Span;

/// A certificate that ends within this time is spoken of: long enough for whoever must sign a new one by hand.
const SOON: Duration = Duration::from_secs(30 * 24 * 3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What can be referred to, and what has been.
pub(super) struct Credentials<'a> {
    secrets: HashMap<&'a ObjectName, &'a Object<Secret>>,
    config_maps: HashMap<&'a ObjectName, &'a Object<Roots>>,
    grants: &'a Grants<'a>,
    /// What a reference, by its place, stands for.
    resolved: HashMap<Span, CredentialName>,
    certificates: HashMap<CredentialName, Certificate>,
    found: BTreeMap<CredentialName, Credential>,
    unusable: BTreeMap<CredentialName, String>,
}

type Refusal = (Code, String, String);

impl<'a> Credentials<'a> {
    /// Looks up what the gateways and their sets refer to.
    pub(super) fn new(objects: &'a Objects, grants: &'a Grants<'a>, cx: &mut Context<'_>) -> Self {
        let mut credentials = Self {
            secrets: objects.secrets.iter().map(|secret| (&secret.head.name, secret)).collect(),
            config_maps: objects.config_maps.iter().map(|map| (&map.head.name, map)).collect(),
            grants,
            resolved: HashMap::new(),
            certificates: HashMap::new(),
            found: BTreeMap::new(),
            unusable: BTreeMap::new(),
        };
        let gateways = objects.gateways.iter().map(|gateway| (&gateway.head, &gateway.spec.listeners));
        let sets = objects.listener_sets.iter().map(|set| (&set.head, &set.spec.listeners));
        for (head, listeners) in gateways.chain(sets) {
            for reference in listeners.iter().flat_map(|listener| listener.certificates()) {
                credentials.certificate(head, reference, cx);
            }
        }
        for Object { head, spec } in &objects.gateways {
            credentials.roots(head, &spec.frontend.default, cx);
            spec.frontend.ports.iter().for_each(|(_, references)| {
                credentials.roots(head, references, cx);
            });
        }
        for Object { head, spec } in &objects.destination_rules {
            let shapes =
                spec.traffic.iter().map(|traffic| &traffic.value).chain(spec.subsets.iter().map(|s| &s.traffic));
            let all =
                shapes.flat_map(|traffic| std::iter::once(traffic).chain(traffic.ports.iter().map(|p| &p.traffic)));
            for credential in all.filter_map(|traffic| traffic.tls.as_ref()?.credential.as_ref()) {
                credentials.roots_of_secret(head, credential, cx);
            }
        }
        credentials
    }

    /// The certificate that Istio's `credentialName` of a server names, and the roots of its callers.
    pub(super) fn of_server(
        &mut self,
        head: &Head,
        credential: &Host,
        mutual: bool,
        cx: &mut Context<'_>,
    ) -> Option<(CredentialName, Option<CredentialName>)> {
        let name = ObjectName { namespace: Arc::clone(&head.name.namespace), name: Arc::clone(&credential.value) };
        let refuse = |message: String, cure: &str, cx: &mut Context<'_>| {
            cx.report.add(Code::UnknownCredential, credential.span, message).help(cure);
        };
        let Some(secret) = self.secrets.get(&name) else {
            let cure = "add the Secret in the namespace of this object, or correct the name";
            refuse(format!("there is no secret {name} with a certificate"), cure, cx);
            return None;
        };
        let certificate = match certificate::pair(&secret.spec.chain, &secret.spec.key) {
            Ok(certificate) => certificate,
            Err(flaw) => {
                let (why, cure) = words(flaw);
                refuse(format!("secret {name} {why}"), cure, cx);
                return None;
            }
        };
        report_times(&certificate, &format!("certificate of secret {name}"), credential.span, secret.head.span, cx);
        let Secret { chain, key, .. } = &secret.spec;
        let (chain, key) = (Arc::clone(chain), Arc::clone(key));
        let found = of_secret(&name);
        self.found.insert(found.clone(), Credential::Certificate { chain, key });
        self.certificates.insert(found.clone(), certificate);
        if !mutual {
            return Some((found, None));
        }
        self.roots_of_secret(head, credential, cx);
        let roots = roots_of_secret(&head.name.namespace, &credential.value);
        self.found.contains_key(&roots).then_some((found, Some(roots)))
    }

    /// The roots in a Secret that Istio's `credentialName` names.
    fn roots_of_secret(&mut self, head: &Head, credential: &Host, cx: &mut Context<'_>) {
        let ObjectName { namespace, .. } = &head.name;
        // Istio looks for roots in a Secret of their own, too.
        let own = format!("{}-cacert", credential.value);
        let found = [&*credential.value, &own].into_iter().find_map(|name| {
            let secret = ObjectName { namespace: Arc::clone(namespace), name: Arc::from(name) };
            let secret = self.secrets.get(&secret)?;
            Some((secret.head.span, secret.spec.roots.clone()?))
        });
        let Some((object, roots)) = found else {
            let message = format!("there is no secret {namespace}/{} with `ca.crt` or `cacert`", credential.value);
            let finding = cx.report.add(Code::UnknownCredential, credential.span, message);
            finding.help("add the Secret in the namespace of this object, or correct the name");
            return;
        };
        let Some(certificates) = certificate::roots(&roots) else {
            let message = format!("secret {namespace}/{} holds no roots, or broken ones", credential.value);
            let finding = cx.report.add(Code::UnknownCredential, credential.span, message);
            finding.also(object, "the secret").help("put the roots in PEM into `ca.crt`");
            return;
        };
        for certificate in &certificates {
            report_times(certificate, &format!("root of secret {}", credential.value), credential.span, object, cx);
        }
        self.found.insert(roots_of_secret(namespace, &credential.value), Credential::Roots(roots));
    }

    /// What a reference that was looked up stands for.
    pub(super) fn of(&self, reference: &CertificateRef) -> Option<&CredentialName> {
        self.resolved.get(&reference.name.span)
    }

    /// Whether one of the certificates is for a host, or for all that a wildcard stands for.
    pub(super) fn cover(&self, names: &[CredentialName], host: &str) -> bool {
        names.iter().filter_map(|name| self.certificates.get(name)).any(|certificate| certificate.covers(host))
    }

    /// All that was referred to, and what of it cannot be had.
    pub(super) fn into_found(self) -> (BTreeMap<CredentialName, Credential>, BTreeMap<CredentialName, String>) {
        (self.found, self.unusable)
    }

    fn certificate(&mut self, head: &Head, reference: &CertificateRef, cx: &mut Context<'_>) {
        let span = reference.name.span;
        match self.resolve_certificate(head, reference) {
            Ok((name, secret, certificate)) => {
                report_times(
                    &certificate,
                    &format!("certificate of secret {}", secret.head.name),
                    span,
                    secret.head.span,
                    cx,
                );
                let Secret { chain, key, .. } = &secret.spec;
                let credential = Credential::Certificate { chain: Arc::clone(chain), key: Arc::clone(key) };
                self.found.insert(name.clone(), credential);
                self.certificates.insert(name.clone(), certificate);
                self.resolved.insert(span, name);
            }
            Err((code, why, cure)) => {
                if let Ok(name) = self.granted(head, reference) {
                    self.unusable.insert(of_secret(&name), why.clone());
                }
                cx.report.add(code, span, why).help(cure);
            }
        }
    }

    fn resolve_certificate(
        &self,
        head: &Head,
        reference: &CertificateRef,
    ) -> Result<(CredentialName, &'a Object<Secret>, Certificate), Refusal> {
        if !reference.group.is_empty() || &*reference.kind != "Secret" {
            let why = format!("certificates of kind {} in group \"{}\" are not known", reference.kind, reference.group);
            return Err((Code::UnresolvedCertificate, why, "use a Secret of type kubernetes.io/tls".to_owned()));
        }
        let name = self.granted(head, reference)?;
        let secret = self.secrets.get(&name).filter(|secret| secret.spec.is_tls).ok_or_else(|| {
            let why = format!("there is no secret {name} of type kubernetes.io/tls");
            (Code::UnresolvedCertificate, why, "add the Secret, or correct the name".to_owned())
        })?;
        let certificate = certificate::pair(&secret.spec.chain, &secret.spec.key).map_err(|flaw| {
            let (why, cure) = words(flaw);
            (Code::UnresolvedCertificate, format!("secret {name} {why}"), cure.to_owned())
        })?;
        Ok((of_secret(&name), secret, certificate))
    }

    /// Roots of several objects are one credential: whoever is vouched for by any of them is believed.
    pub(super) fn roots(
        &mut self,
        head: &Head,
        references: &[CertificateRef],
        cx: &mut Context<'_>,
    ) -> Option<CredentialName> {
        let first = references.first()?.name.span;
        let (mut names, mut pem) = (Vec::new(), Vec::new());
        for reference in references {
            match self.resolve_roots(head, reference) {
                Ok((name, object, roots, certificates)) => {
                    for certificate in &certificates {
                        report_times(certificate, &format!("root of {name}"), reference.name.span, object.span, cx);
                    }
                    names.push(name.replace(' ', "|"));
                    pem.extend_from_slice(&roots);
                    pem.push(b'\n');
                }
                Err((code, why, cure)) => {
                    if let Ok(name) = self.granted(head, reference) {
                        let name = format!("roots|{}|{name}", reference.kind.to_lowercase());
                        self.unusable.insert(CredentialName(name.into()), why.clone());
                    }
                    cx.report.add(code, reference.name.span, why).help(cure);
                }
            }
        }
        if names.is_empty() {
            return None;
        }
        let name = CredentialName(format!("roots|{}", names.join("+")).into());
        self.found.insert(name.clone(), Credential::Roots(pem.into()));
        self.resolved.insert(first, name.clone());
        Some(name)
    }

    fn resolve_roots(
        &self,
        head: &Head,
        reference: &CertificateRef,
    ) -> Result<(String, &'a Head, Roots, Vec<Certificate>), Refusal> {
        if !reference.group.is_empty() || !matches!(&*reference.kind, "ConfigMap" | "Secret") {
            let why = format!("roots of kind {} in group \"{}\" are not known", reference.kind, reference.group);
            return Err((Code::UnresolvedCertificate, why, "use a ConfigMap, or a Secret, with `ca.crt`".to_owned()));
        }
        let name = self.granted(head, reference)?;
        let what = if &*reference.kind == "Secret" { "secret" } else { "configmap" };
        let found = match what {
            "secret" => self.secrets.get(&name).and_then(|secret| Some((&secret.head, secret.spec.roots.clone()?))),
            _ => self.config_maps.get(&name).map(|map| (&map.head, Arc::clone(&map.spec))),
        };
        let (object, roots) = found.ok_or_else(|| {
            let why = format!("there is no {what} {name} with `ca.crt`");
            (Code::UnresolvedCertificate, why, "add it, or correct the name".to_owned())
        })?;
        let certificates = certificate::roots(&roots).ok_or_else(|| {
            let why = format!("`ca.crt` of {what} {name} holds no certificate, or a broken one");
            (Code::UnresolvedCertificate, why, "put the roots in PEM into `ca.crt`".to_owned())
        })?;
        Ok((format!("{what} {name}"), object, roots, certificates))
    }

    /// The object that is meant, if it may be referred to.
    fn granted(&self, head: &Head, reference: &CertificateRef) -> Result<ObjectName, Refusal> {
        let CertificateRef { kind, name, namespace, .. } = reference;
        let namespace = Arc::clone(namespace.as_ref().unwrap_or(&head.name.namespace));
        let object = ObjectName { namespace, name: Arc::clone(&name.value) };
        let (from, ours) = (head.kind.as_str(), &head.name.namespace);
        if object.namespace == *ours || self.grants.allow_certificate(from, ours, kind, &object) {
            return Ok(object);
        }
        let ObjectName { namespace, name } = &object;
        let word = kind.to_lowercase();
        let why = format!("namespace {namespace} does not let {from}s of namespace {ours} refer to {word} {name}");
        let cure = format!("add a ReferenceGrant in namespace {namespace}, from {from} in {ours}, to {kind}");
        Err((Code::CertificateNotGranted, why, cure))
    }
}

fn of_secret(name: &ObjectName) -> CredentialName {
    CredentialName(format!("secret|{name}").into())
}

/// What is wrong, after the name of the secret, and the cure.
fn words(flaw: Flaw) -> (&'static str, &'static str) {
    match flaw {
        Flaw::NoCertificate => ("holds no certificate with its key", "put them in PEM into `tls.crt` and `tls.key`"),
        Flaw::Malformed => ("holds a certificate that cannot be read", "put it in PEM, whole, into `tls.crt`"),
        Flaw::NoKey => ("holds no key for its certificate", "put the private key in PEM, whole, into `tls.key`"),
        Flaw::Encrypted => ("holds a key that is encrypted", "decrypt it: nobody is there to type its password"),
        Flaw::KeyOfAnother => {
            ("holds the key of another certificate", "put the certificate and the key that were made together into it")
        }
    }
}

/// Says when a certificate has ended, will soon, or has not begun.
fn report_times(certificate: &Certificate, what: &str, at: Span, object: Span, cx: &mut Context<'_>) {
    let Some(now) = cx.now else { return };
    let days = |between: Duration| between.as_secs() / DAY.as_secs();
    let since = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    let (code, message, cure) = if now >= certificate.until {
        let days = days(since(certificate.until, now));
        (Code::CertificateExpired, format!("{what} has expired {days} days ago"), "renew it: everybody refuses it")
    } else if now < certificate.from {
        let days = days(since(now, certificate.from));
        let message = format!("{what} is not valid yet, but in {days} days");
        (Code::CertificateExpired, message, "look at the clock of this machine, or of the one that made it")
    } else if since(now, certificate.until) < SOON {
        let days = days(since(now, certificate.until));
        (Code::CertificateEnds, format!("{what} expires in {days} days"), "renew it: afterwards everybody refuses it")
    } else {
        return;
    };
    cx.report.add(code, at, message).also(object, "it is kept here").help(cure);
}
