//! Which of a listener's chains takes a connection, and what is done with its TLS.
//!
//! # Whose name
//! A caller's TLS asks for the host of its URL, so the host of a question stands for the server's name as well.

use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::listener::{FilterChain, HttpConnectionManager, Listener, ListenerKind, NetworkFilter};
use tidegate_xds::resource::matcher::StringMatcher;
use tidegate_xds::resource::tls::{CertificateSource, DownstreamTls, PemSource, TlsVersion, TlsVersions, TrustedRoots};

use super::{Question, words};

/// The HTTP that takes a connection, and its chain where it is told by the server's name.
pub(super) struct Chosen<'l> {
    pub(super) manager: &'l HttpConnectionManager,
    pub(super) encrypted: Option<&'l FilterChain>,
}

/// The chain of a listener for a question; `Err` with the reason when no HTTP is spoken there.
pub(super) fn choose<'l>(listener: &'l Listener, question: &Question) -> Result<Chosen<'l>, String> {
    let ListenerKind::Socket(socket) = &listener.kind else {
        return manager(listener).map(|manager| Chosen { manager, encrypted: None }).ok_or_else(String::new);
    };
    let is_named = |chain: &&FilterChain| &*chain.matches.transport_protocol == "tls";
    if !socket.filter_chains.iter().any(|chain| is_named(&chain)) {
        return manager(listener).map(|manager| Chosen { manager, encrypted: None }).ok_or_else(String::new);
    }
    let name = host(&question.authority);
    if question.scheme != "https" {
        return Err(format!("{} speaks TLS: write https://{}", words::listener(listener), question.authority));
    }
    let named = socket.filter_chains.iter().filter(is_named);
    let fitting = named.filter_map(|chain| Some((how_well(chain, &name)?, chain)));
    let Some((_, chain)) = fitting.max_by_key(|(how_well, _)| *how_well) else {
        return Err(format!("{} has no certificate for {name} and closes the connection", words::listener(listener)));
    };
    match &chain.filter {
        NetworkFilter::Http(manager) => Ok(Chosen { manager, encrypted: Some(chain) }),
        NetworkFilter::Tcp(proxy) => {
            let clusters: Vec<&str> = proxy.clusters.iter().map(|(cluster, _)| &**cluster).collect();
            let read = if chain.tls.is_some() { "TLS ends here and its bytes go" } else { "TLS goes through, unread," };
            Err(format!("not HTTP: for {name}, {read} to {}", clusters.join(", ")))
        }
    }
}

/// How specific a chain is for a name: the length of what it says of it.
fn how_well(chain: &FilterChain, name: &str) -> Option<usize> {
    let names = &chain.matches.server_names;
    if names.is_empty() {
        return Some(0);
    }
    let fits = |pattern: &&str| match pattern.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => *pattern == name,
    };
    // An exact name goes before any wildcard.
    let weight = |pattern: &str| if pattern.starts_with('*') { pattern.len() } else { usize::MAX };
    names.iter().map(|name| &**name).filter(fits).map(weight).max()
}

fn host(authority: &str) -> String {
    let without_port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(authority, |(h, _)| h);
    without_port.to_ascii_lowercase()
}

/// The first HTTP of a listener.
pub(super) fn manager(listener: &Listener) -> Option<&HttpConnectionManager> {
    match &listener.kind {
        ListenerKind::Api(manager) => Some(manager),
        ListenerKind::Socket(socket) => {
            let chains = socket.filter_chains.iter().chain(&socket.default_filter_chain);
            chains.map(|chain| &chain.filter).find_map(|filter| match filter {
                NetworkFilter::Http(manager) => Some(&**manager),
                NetworkFilter::Tcp(_) => None,
            })
        }
    }
}

/// What a chain does with TLS, in words.
pub(super) fn downstream(chain: &FilterChain) -> Option<String> {
    let DownstreamTls { certificate, validation, require_client_certificate, versions, .. } = chain.tls.as_ref()?;
    let mut text = format!("{}, certificate {}", self::versions(*versions), source(certificate));
    if let Some(validation) = validation {
        let must = if *require_client_certificate { "must show" } else { "may show" };
        text.push_str(&format!(", callers {must} a certificate that leads to {}", roots(&validation.roots)));
    }
    if !chain.matches.server_names.is_empty() {
        text.push_str(&format!(", for {}", chain.matches.server_names.join(", ")));
    }
    Some(text)
}

/// How endpoints are called, in words.
pub(super) fn upstream(cluster: &Cluster) -> Option<String> {
    let tls = cluster.tls.as_ref()?;
    let mut text = versions(tls.versions);
    if !tls.sni.is_empty() {
        text.push_str(&format!(", asks for {}", tls.sni));
    }
    text.push_str(&format!(", verified by {}", roots(&tls.validation.roots)));
    let names = tls.validation.subject_names.iter().map(|name| match &name.matcher {
        StringMatcher::Exact { value, .. } => value.to_string(),
        other => format!("{other:?}"),
    });
    match names.collect::<Vec<_>>() {
        names if !names.is_empty() => text.push_str(&format!(", for {}", names.join(" or "))),
        _ if tls.auto_sni_san_validation => text.push_str(" for that name"),
        _ => text.push_str(" for any name"),
    }
    if let Some(certificate) = &tls.certificate {
        text.push_str(&format!(", shows {}", source(certificate)));
    }
    Some(text)
}

fn versions(TlsVersions { min, max }: TlsVersions) -> String {
    let word = |version| match version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    };
    if min == max { format!("TLS {}", word(min)) } else { format!("TLS {} or {}", word(min), word(max)) }
}

fn source(certificate: &CertificateSource) -> String {
    match certificate {
        CertificateSource::Sds(name) => name.to_string(),
        CertificateSource::Pem { chain, .. } => pem(chain),
    }
}

fn roots(roots: &TrustedRoots) -> String {
    match roots {
        TrustedRoots::System => "the roots that its machine trusts".to_owned(),
        TrustedRoots::Sds(name) => name.to_string(),
        TrustedRoots::Pem(source) => pem(source),
    }
}

fn pem(source: &PemSource) -> String {
    match source {
        PemSource::Inline(_) => "what is written in its configuration".to_owned(),
        PemSource::File(name) => format!("file {name}"),
    }
}
