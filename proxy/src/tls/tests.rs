//! Keys, roots and first messages, without sockets.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use tidegate_xds::resource::secret::{Secret, SecretKind};
use tidegate_xds::resource::tls::{CertificateSource, DownstreamTls, PemSource, TlsVersions};

use super::hello::{Hello, Seen, look};
use super::material::Keyring;
use super::server::ServerTls;
use super::{provider, validity};

struct Made {
    chain: String,
    key: String,
}

fn made(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    change(&mut params);
    let certificate = params.self_signed(&key).expect("signed");
    Made { chain: certificate.pem(), key: key.serialize_pem() }
}

fn secret(name: &str, chain: &str, key: &str) -> Secret {
    let kind = SecretKind::Certificate { chain_pem: chain.as_bytes().into(), key_pem: key.as_bytes().into() };
    Secret { name: name.into(), kind }
}

fn by_secret(name: &str) -> DownstreamTls {
    DownstreamTls {
        certificate: CertificateSource::Sds(name.into()),
        validation: None,
        require_client_certificate: false,
        require_sni: false,
        alpn_protocols: vec!["h2".into()],
        versions: TlsVersions::default(),
        resumption: true,
    }
}

/// What a client of the same library says first.
fn hello(name: &str, protocols: &[&str]) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertifiedIssuer::self_signed(
        {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params
        },
        KeyPair::generate().expect("a key"),
    );
    roots.add(root.expect("signed").der().clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory takes everything");
    bytes
}

#[test]
fn a_hello_is_read_when_it_is_whole_and_not_before() {
    let bytes = hello("Shop.Test", &["h2", "http/1.1"]);

    for end in 0..bytes.len() {
        assert_eq!(look(&bytes[..end]), Seen::More, "at {end}");
    }
    let expected =
        Hello { server_name: Some("shop.test".to_owned()), protocols: vec!["h2".to_owned(), "http/1.1".to_owned()] };
    assert_eq!(look(&bytes), Seen::Hello(expected));
}

#[test]
fn what_only_begins_like_a_hello_is_garbage_and_never_a_panic() {
    let whole = hello("a.test", &[]);
    assert_eq!(look(b"GET / HTTP/1.1\r\n"), Seen::Plaintext);
    assert_eq!(look(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), Seen::Garbage);
    assert_eq!(look(b"\x16\x07\x01\x00\x05"), Seen::Garbage);
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0x55;
        // Any answer will do but none at all.
        drop(look(&bent));
    }
}

#[test]
fn a_key_that_does_not_belong_to_its_certificate_is_refused_and_the_old_one_stays() {
    let (a, b) = (made("a.test", |_| ()), made("b.test", |_| ()));
    let mut keyring = Keyring::default();
    keyring.accept(&secret("web", &a.chain, &a.key)).expect("a good pair");
    let before = keyring.of_chain(&by_secret("web")).expect("there");

    let error = keyring.accept(&secret("web", &b.chain, &a.key)).expect_err("not a pair");

    assert!(error.contains("does not belong"), "{error}");
    for (chain, key) in [("-----BEGIN CERTIFICATE-----\nxx", &*a.key), (&*a.chain, "-----BEGIN PRIVATE KEY-----")] {
        let error = keyring.accept(&secret("web", chain, key)).expect_err("broken");
        assert!(!error.contains("BEGIN"), "{error}");
    }
    assert!(keyring.of_chain(&by_secret("web")).expect("still there").same(&before));
}

#[test]
fn a_handle_stays_as_long_as_its_material_does() {
    let (a, b) = (made("a.test", |_| ()), made("a.test", |_| ()));
    let mut keyring = Keyring::default();
    assert!(keyring.of_chain(&by_secret("web")).expect_err("nothing yet").contains("has not arrived"));
    keyring.accept(&secret("web", &a.chain, &a.key)).expect("a good pair");
    let source = by_secret("web");
    let tls = ServerTls::new(&source, keyring.of_chain(&source).expect("there")).expect("a handle");

    keyring.accept(&secret("web", &a.chain, &a.key)).expect("the same again");
    assert!(tls.is_made_of(&source, &keyring.of_chain(&source).expect("there")));
    keyring.accept(&secret("web", &b.chain, &b.key)).expect("a good pair");

    let parts = keyring.of_chain(&source).expect("there");
    assert!(!tls.is_made_of(&source, &parts));
    let next = ServerTls::new(&source, parts).expect("a handle");
    assert!(tls.admits_like(&next), "a new certificate of ours changes nothing about callers");
}

#[test]
fn a_file_that_turns_bad_leaves_what_was_good_in_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = |file: &str| -> Arc<str> { directory.path().join(file).to_string_lossy().into() };
    let write = |file: &str, text: &str| std::fs::write(&*name(file), text).expect("written");
    let (a, b) = (made("a.test", |_| ()), made("b.test", |_| ()));
    let file = |file: &str| PemSource::File(name(file));
    let source = DownstreamTls {
        certificate: CertificateSource::Pem { chain: file("chain"), key: file("key") },
        ..by_secret("")
    };
    let mut keyring = Keyring::default();
    assert!(keyring.of_chain(&source).expect_err("no file").contains("cannot be read"));
    write("chain", &a.chain);
    write("key", &a.key);
    assert!(keyring.look(), "the files have come");
    let before = keyring.of_chain(&source).expect("a good pair");

    // Half of a change: the chain is new, the key is not yet.
    write("chain", &b.chain);
    assert!(keyring.look());
    assert!(keyring.of_chain(&source).expect("the old pair").same(&before));
    write("key", &b.key);
    assert!(keyring.look());

    assert!(!keyring.of_chain(&source).expect("the new pair").same(&before));
    assert!(!keyring.look(), "nothing has changed since");
}

#[test]
fn the_end_of_a_certificate_is_read_in_both_spellings() {
    for (year, seconds) in [(2031, 1_924_992_000), (2061, 2_871_763_200)] {
        let made = made("a.test", |params| params.not_after = date_time_ymd(year, 1, 1));
        let der = rustls_pki_types::pem::PemObject::from_pem_slice(made.chain.as_bytes());
        let der: rustls_pki_types::CertificateDer<'_> = der.expect("PEM");

        assert_eq!(validity::not_after(&der), Some(UNIX_EPOCH + Duration::from_secs(seconds)), "{year}");
    }
}
