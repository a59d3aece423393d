//! Changes of the certificates of a mesh.

use std::collections::BTreeMap;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::tls::{Credential, CredentialName};

use super::spoilt;
use crate::api::model::{Finding, Spot};

const WHY: &str = "secret shop/front holds the key of another certificate";

fn name() -> CredentialName {
    CredentialName("secret|shop/front".into())
}

fn usable() -> PolicySet {
    let certificate = Credential::Certificate { chain: b"chain"[..].into(), key: b"key"[..].into() };
    PolicySet { credentials: BTreeMap::from([(name(), certificate)]), ..PolicySet::default() }
}

fn unusable() -> PolicySet {
    PolicySet { unusable: BTreeMap::from([(name(), WHY.to_owned())]), ..PolicySet::default() }
}

fn said() -> Finding {
    Finding {
        code: "P0216".to_owned(),
        severity: "warning".to_owned(),
        message: WHY.to_owned(),
        file: "front.yaml".to_owned(),
        line: 9,
        column: 3,
        help: Some("take the key that was made with it".to_owned()),
        places: vec![Spot::of_line("front.yaml", 9)],
    }
}

#[test]
fn a_certificate_in_use_is_not_taken_away_and_the_finding_stands_where_the_compilers_does() {
    let findings = spoilt(&usable(), &unusable(), &[said()]);

    let [finding] = &findings[..] else { panic!("one finding: {findings:?}") };
    assert_eq!((&*finding.code, &*finding.file, finding.line), ("C0102", "front.yaml", 9));
    assert_eq!(finding.message, format!("{WHY}; the one before is in use"));
    assert_eq!(finding.help, said().help);
}

#[test]
fn one_that_never_was_and_one_that_nobody_refers_to_any_more_are_nothing() {
    assert_eq!(spoilt(&unusable(), &unusable(), &[said()]), []);
    assert_eq!(spoilt(&usable(), &PolicySet::default(), &[]), []);
}
