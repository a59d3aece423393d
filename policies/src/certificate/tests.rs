//! Made with `openssl req -x509 -newkey ... -days 36500` for these tests alone; nobody trusts them.

use super::*;

const EC: [&[u8]; 2] = [include_bytes!("testdata/ec.crt"), include_bytes!("testdata/ec.key")];
const RSA_PAIR: [&[u8]; 2] = [include_bytes!("testdata/rsa.crt"), include_bytes!("testdata/rsa.key")];
const ED: [&[u8]; 2] = [include_bytes!("testdata/ed.crt"), include_bytes!("testdata/ed.key")];
const OTHER: [&[u8]; 2] = [include_bytes!("testdata/other.crt"), include_bytes!("testdata/other.key")];

#[test]
fn a_certificate_and_its_key_fit_whatever_form_the_key_has() {
    let keys: [([&[u8]; 2], &[u8]); 5] = [
        (EC, EC[1]),
        (EC, include_bytes!("testdata/ec.sec1")),
        (RSA_PAIR, RSA_PAIR[1]),
        (RSA_PAIR, include_bytes!("testdata/rsa.pkcs1")),
        (ED, ED[1]),
    ];
    for (number, ([chain, _], key)) in keys.into_iter().enumerate() {
        assert!(pair(chain, key).is_ok(), "key {number}: {:?}", pair(chain, key));
    }
}

#[test]
fn what_does_not_fit_or_is_not_whole_is_told_apart() {
    let encrypted: &[u8] = include_bytes!("testdata/enc.key");
    let cut = &EC[0][..EC[0].len() / 2];
    let broken = String::from_utf8_lossy(EC[0]).replacen("MII", "AAA", 1);
    for (chain, key, flaw) in [
        (EC[0], OTHER[1], Flaw::KeyOfAnother),
        (RSA_PAIR[0], EC[1], Flaw::KeyOfAnother),
        (EC[0], RSA_PAIR[1], Flaw::KeyOfAnother),
        (EC[0], encrypted, Flaw::Encrypted),
        (EC[0], EC[0], Flaw::NoKey),
        (EC[0], b"", Flaw::NoKey),
        (EC[1], EC[1], Flaw::NoCertificate),
        (cut, EC[1], Flaw::NoCertificate),
        (broken.as_bytes(), EC[1], Flaw::Malformed),
    ] {
        assert_eq!(pair(chain, key), Err(flaw));
    }
}

#[test]
fn names_and_times_are_read() {
    let certificate = pair(EC[0], EC[1]).unwrap();
    let names: Vec<&str> = certificate.names.iter().map(|name| &**name).collect();

    assert_eq!(names, ["shop.example.com", "*.shop.example.com", "127.0.0.1"]);
    assert_eq!(pair(RSA_PAIR[0], RSA_PAIR[1]).unwrap().names[1], "spiffe://cluster.local/ns/a/sa/b".into());
    let lifetime = certificate.until.duration_since(certificate.from).unwrap();
    assert_eq!(lifetime, Duration::from_secs(36_500 * 86_400));
    let seconds =
        |tag, text: &str| time((tag, text.as_bytes())).map(|t| t.duration_since(UNIX_EPOCH).unwrap().as_secs());
    assert_eq!(seconds(UTC_TIME, "260228120000Z"), Some(1_772_280_000));
    assert_eq!(seconds(GENERALIZED_TIME, "20260228120000Z"), Some(1_772_280_000));
    for bad in ["260228120000", "26022812Z", "261328120000Z", "26x228120000Z", "Z", ""] {
        assert_eq!(seconds(UTC_TIME, bad), None, "{bad}");
    }
}

#[test]
fn a_wildcard_is_for_one_label() {
    let certificate = pair(EC[0], EC[1]).unwrap();

    for host in ["shop.example.com", "a.shop.example.com", "*.shop.example.com"] {
        assert!(certificate.covers(host), "{host}");
    }
    for host in ["example.com", "a.b.shop.example.com", ".shop.example.com", "*", "*.example.com", "xshop.example.com"]
    {
        assert!(!certificate.covers(host), "{host}");
    }
}

#[test]
fn bytes_that_were_bent_or_cut_are_no_certificate_and_do_no_harm() {
    let der = &blocks(EC[0])[0].der;
    for at in 0..der.len() {
        assert_eq!(read(&der[..at]), None, "cut at {at}");
        for bit in 0..8 {
            let mut bent = der.clone();
            bent[at] ^= 1 << bit;
            let _whatever = read(&bent);
            let _whatever = public_of("PRIVATE KEY", &bent);
        }
    }
    assert!(roots(EC[0]).is_some_and(|found| found.len() == 1));
    assert_eq!(roots(b""), None);
    assert_eq!(roots(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None);
}

#[test]
fn base64_is_read_with_padding_and_line_breaks_and_nothing_else_is() {
    assert_eq!(base64("SGVsbG8gd29ybGQK").as_deref(), Some(&b"Hello world\n"[..]));
    assert_eq!(base64("SGVs\nbG8=").as_deref(), Some(&b"Hello"[..]));
    assert_eq!(base64("SGU=").as_deref(), Some(&b"He"[..]));
    assert_eq!(base64("/+8=").as_deref(), Some(&[0xff, 0xef][..]));
    assert_eq!(base64("").as_deref(), Some(&b""[..]));
    assert_eq!(base64("SGVs!G8="), None);
}
