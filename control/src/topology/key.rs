//! Who calls whom, as whose proxy saw it: what an edge is found by.
//!
//! # Why each reporter's view is an edge of its own
//! The caller's proxy knows the service that was asked for and often not how the connection was protected; the other proxy
//! knows the opposite. Kept apart, each stays exact. They are laid over each other where somebody looks
//! ([`mod@super::view`]).

use tidegate_xds::report_service::{EdgeKey, Protocol, Reporter, Security, Service, Workload};

use super::packed::{put, take};

/// Names of Kubernetes end at 253 bytes, and so do host names (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// What edges that found no place are counted as, here and by proxies.
pub(super) const OTHER: &str = "__other__";

/// A workload; a name that nobody knows is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) app: Box<str>,
    pub(super) version: Box<str>,
}

/// What was asked for; empty: nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) host: Box<str>,
}

/// An edge as one reporter sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) reporter: Reporter,
    pub(super) protocol: Protocol,
    pub(super) security: Security,
    pub(super) source: Who,
    pub(super) destination: Who,
    pub(super) service: Asked,
}

impl Key {
    /// As a proxy says it. `Err`: what is wrong with that.
    pub(super) fn of(said: &EdgeKey) -> Result<Self, String> {
        let reporter = match Reporter::try_from(said.reporter) {
            Ok(reporter @ (Reporter::Source | Reporter::Destination)) => reporter,
            Ok(Reporter::Unspecified) | Err(_) => return Err("no reporter that is known".to_owned()),
        };
        Ok(Self {
            reporter,
            // What a newer proxy tells apart is not known here, and counted all the same.
            protocol: Protocol::try_from(said.protocol).unwrap_or(Protocol::Unspecified),
            security: Security::try_from(said.security).unwrap_or(Security::Unspecified),
            source: said.source.as_ref().map(who).transpose()?.unwrap_or_default(),
            destination: said.destination.as_ref().map(who).transpose()?.unwrap_or_default(),
            service: said.service.as_ref().map(asked).transpose()?.unwrap_or_default(),
        })
    }

    /// Where an edge goes that has to make room.
    pub(super) fn folded(&self) -> Self {
        let other = Who { name: OTHER.into(), ..Who::default() };
        Self {
            reporter: self.reporter,
            protocol: self.protocol,
            security: Security::Unspecified,
            source: other.clone(),
            destination: other,
            service: Asked::default(),
        }
    }

    /// Whether that is this one itself. A proxy may call both ends so and tell such edges apart by all else: those are edges like any.
    pub(super) fn is_other(&self) -> bool {
        let is_other = |who: &Who| {
            *who.name == *OTHER && [&who.namespace, &who.app, &who.version].into_iter().all(|text| text.is_empty())
        };
        let Self { source, destination, security, service, .. } = self;
        is_other(source) && is_other(destination) && *security == Security::Unspecified && *service == Asked::default()
    }

    /// For the disk.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend([self.reporter as u8, self.protocol as u8, self.security as u8]);
        for text in self.texts() {
            put(bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn texts(&self) -> [&str; 11] {
        let Self { source, destination, service, .. } = self;
        let [a, b] = [source, destination].map(|who| [&*who.namespace, &*who.name, &*who.app, &*who.version]);
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], &service.namespace, &service.name, &service.host]
    }

    /// The opposite. `None`: nobody wrote this.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let ([reporter, protocol, security], rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        let mut next = || {
            let length = usize::try_from(take(bytes)?).ok()?;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(Box::from(std::str::from_utf8(text).ok()?))
        };
        let mut who = || Some(Who { namespace: next()?, name: next()?, app: next()?, version: next()? });
        let (source, destination) = (who()?, who()?);
        let service = Asked { namespace: next()?, name: next()?, host: next()? };
        Some(Self {
            reporter: Reporter::try_from(i32::from(*reporter)).ok()?,
            protocol: Protocol::try_from(i32::from(*protocol)).ok()?,
            security: Security::try_from(i32::from(*security)).ok()?,
            source,
            destination,
            service,
        })
    }
}

fn who(said: &Workload) -> Result<Who, String> {
    Ok(Who {
        namespace: name(&said.namespace)?,
        name: name(&said.name)?,
        app: name(&said.app)?,
        version: name(&said.version)?,
    })
}

fn asked(said: &Service) -> Result<Asked, String> {
    Ok(Asked { namespace: name(&said.namespace)?, name: name(&said.name)?, host: name(&said.host)? })
}

/// Control characters would move the cursor of whoever looks at a table.
fn name(text: &str) -> Result<Box<str>, String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("a name of {} bytes, and they end at {NAME_BYTES_MAX}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("a name with a control character".to_owned());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> EdgeKey {
        let workload =
            |name: &str| Workload { name: name.to_owned(), namespace: "shop".to_owned(), ..Workload::default() };
        EdgeKey {
            reporter: Reporter::Source.into(),
            source: Some(workload("web")),
            destination: Some(workload("reviews-v1")),
            service: Some(Service { host: "reviews.shop".to_owned(), ..Service::default() }),
            protocol: Protocol::Grpc.into(),
            security: Security::Mutual.into(),
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = Key::of(&said()).unwrap();
        let mut bytes = Vec::new();
        key.write(&mut bytes);

        assert_eq!(Key::read(&mut &*bytes), Some(key));
        assert_eq!(Key::read(&mut &bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn names_that_nobody_gives_are_refused() {
        let named =
            |name: &str| EdgeKey { source: Some(Workload { name: name.to_owned(), ..Workload::default() }), ..said() };

        assert!(Key::of(&named(&"x".repeat(254))).is_err_and(|why| why.contains("254 bytes")));
        assert!(Key::of(&named("\u{1b}[2J")).is_err_and(|why| why.contains("control character")));
        assert!(Key::of(&EdgeKey { reporter: 0, ..said() }).is_err_and(|why| why.contains("reporter")));
        assert!(Key::of(&EdgeKey { protocol: 99, ..said() }).is_ok_and(|key| key.protocol == Protocol::Unspecified));
    }
}
