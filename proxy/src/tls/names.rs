//! Whether a certificate is for whom it should be.

use regex::Regex;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, ServerName};
use tidegate_xds::resource::matcher::StringMatcher;
use tidegate_xds::resource::tls::{SubjectNameKind, SubjectNameMatcher};
use webpki::EndEntityCert;

/// The names of a peer of which its certificate must show one.
#[derive(Debug)]
pub(super) struct Names(Vec<Name>);

#[derive(Debug)]
enum Name {
    /// A host name, which the certificate's wildcards may cover.
    Host(ServerName<'static>),
    Text(SubjectNameKind, Test),
}

#[derive(Debug)]
enum Test {
    Exact(String, bool),
    Prefix(String, bool),
    Suffix(String, bool),
    Contains(String, bool),
    Regex(Regex),
}

impl Names {
    pub(super) fn compile(matchers: &[SubjectNameMatcher]) -> Result<Self, String> {
        matchers.iter().map(Name::compile).collect::<Result<_, _>>().map(Self)
    }

    /// `Ok` without names: any will do.
    pub(super) fn verify(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let entity = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let fits = self.0.iter().any(|name| match name {
            Name::Host(host) => verify_server_name(&parsed, host).is_ok(),
            Name::Text(SubjectNameKind::Dns, test) => entity.valid_dns_names().any(|name| test.fits(name)),
            Name::Text(SubjectNameKind::Uri, test) => entity.valid_uri_names().any(|name| test.fits(name)),
        });
        if fits { Ok(()) } else { Err(CertificateError::NotValidForName.into()) }
    }
}

/// The names that a certificate is for.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(entity) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    entity.valid_dns_names().chain(entity.valid_uri_names()).map(str::to_owned).collect()
}

impl Name {
    fn compile(matcher: &SubjectNameMatcher) -> Result<Self, String> {
        let test = match &matcher.matcher {
            StringMatcher::Exact { value, ignore_case } => {
                if matcher.kind == SubjectNameKind::Dns
                    && let Ok(host) = ServerName::try_from(value.to_string())
                {
                    return Ok(Self::Host(host));
                }
                Test::Exact(value.to_string(), *ignore_case)
            }
            StringMatcher::Prefix { value, ignore_case } => Test::Prefix(cased(value, *ignore_case), *ignore_case),
            StringMatcher::Suffix { value, ignore_case } => Test::Suffix(cased(value, *ignore_case), *ignore_case),
            StringMatcher::Contains { value, ignore_case } => Test::Contains(cased(value, *ignore_case), *ignore_case),
            StringMatcher::Regex(pattern) => {
                let whole = Regex::new(&format!("^(?:{pattern})$"));
                Test::Regex(whole.map_err(|error| format!("match_typed_subject_alt_names: {error}"))?)
            }
        };
        Ok(Self::Text(matcher.kind, test))
    }
}

impl Test {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exact(value, true) => name.eq_ignore_ascii_case(value),
            Self::Exact(value, false) => name == value,
            Self::Prefix(value, ignore_case) => cased(name, *ignore_case).starts_with(value),
            Self::Suffix(value, ignore_case) => cased(name, *ignore_case).ends_with(value),
            Self::Contains(value, ignore_case) => cased(name, *ignore_case).contains(value),
            Self::Regex(pattern) => pattern.is_match(name),
        }
    }
}

fn cased(text: &str, ignore_case: bool) -> String {
    if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() }
}
