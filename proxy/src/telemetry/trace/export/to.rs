//! Which collectors there are, as flags name them.
//!
//! In plaintext: a collector stands on the same machine, or behind something that encrypts.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceTo {
    /// OTLP over gRPC, `HOST:PORT`.
    Otlp(String),
    /// OTLP over HTTP, protobuf.
    OtlpHttp(Uri),
    /// Zipkin's JSON, version 2.
    Zipkin(Uri),
    /// SkyWalking's segments over gRPC, `HOST:PORT`.
    SkyWalking(String),
}

impl fmt::Display for TraceTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Otlp(address) => write!(f, "otlp={address}"),
            Self::OtlpHttp(url) => write!(f, "otlp-http={url}"),
            Self::Zipkin(url) => write!(f, "zipkin={url}"),
            Self::SkyWalking(address) => write!(f, "skywalking={address}"),
        }
    }
}

const KINDS: &str = "otlp=HOST:PORT, otlp-http=URL, zipkin=URL, skywalking=HOST:PORT or control";

impl FromStr for TraceTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, address)) = text.split_once('=') else {
            return Err(format!("`{text}` is not KIND=ADDRESS; known are {KINDS}"));
        };
        match kind {
            "otlp" => host_and_port(address).map(Self::Otlp),
            "otlp-http" => url(address, "/v1/traces").map(Self::OtlpHttp),
            "zipkin" => url(address, "/api/v2/spans").map(Self::Zipkin),
            "skywalking" => host_and_port(address).map(Self::SkyWalking),
            other => Err(format!("`{other}` is no kind of collector; known are {KINDS}")),
        }
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err(format!("`{text}` is a URL; this kind of collector is named by HOST:PORT"));
    }
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port != 0);
    let authority = text.parse::<http::uri::Authority>().is_ok();
    if port.is_none() || !authority || text.contains('@') {
        return Err(format!("`{text}` is not HOST:PORT"));
    }
    Ok(text.to_owned())
}

fn url(text: &str, usual_path: &str) -> Result<Uri, String> {
    let example = format!("http://HOST:PORT{usual_path}");
    let uri: Uri = text.parse().map_err(|error| format!("`{text}` is not a URL like {example}: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if !authority.as_str().contains('@') => {}
        (Some("https"), _) => {
            return Err(format!("`{text}`: spans are sent in plaintext only; use {example} on this machine"));
        }
        _ => return Err(format!("`{text}` is not a URL like {example}")),
    }
    if uri.path() == "/" {
        return Err(format!("`{text}` names no path; the usual one is {example}"));
    }
    Ok(uri)
}

/// A share of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    percent: f64,
}

impl Default for Share {
    /// Enough to see how a mesh hangs together, and little enough not to be felt.
    fn default() -> Self {
        Self { percent: 1.0 }
    }
}

impl Share {
    /// Of 64 random bits, those below are taken.
    pub(crate) fn below(self) -> u128 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and 2^64 by construction"
        )]
        let below = (self.percent / 100.0 * 2_f64.powi(64)) as u128;
        below
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
        let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(|percent| Self { percent }).ok_or_else(|| format!("`{text}` is not a percentage between 0 and 100"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_written_as_it_is_read() {
        for text in [
            "otlp=127.0.0.1:4317",
            "otlp=[::1]:4317",
            "otlp-http=http://127.0.0.1:4318/v1/traces",
            "zipkin=http://localhost:9411/api/v2/spans",
            "skywalking=oap:11800",
        ] {
            assert_eq!(text.parse::<TraceTo>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_a_collector_is_refused_with_a_cure() {
        for (text, says) in [
            ("", "known are otlp=HOST:PORT"),
            ("127.0.0.1:4317", "known are otlp=HOST:PORT"),
            ("jaeger=127.0.0.1:4317", "`jaeger` is no kind of collector"),
            ("otlp=127.0.0.1", "not HOST:PORT"),
            ("otlp=:4317", "not HOST:PORT"),
            ("otlp=127.0.0.1:0", "not HOST:PORT"),
            ("otlp=http://127.0.0.1:4317", "named by HOST:PORT"),
            ("otlp-http=127.0.0.1:4318", "is not a URL like http://HOST:PORT/v1/traces"),
            ("otlp-http=http://127.0.0.1:4318", "the usual one is http://HOST:PORT/v1/traces"),
            ("zipkin=https://127.0.0.1/api/v2/spans", "plaintext only"),
            ("zipkin=http://user:secret@127.0.0.1/api/v2/spans", "is not a URL like"),
        ] {
            let error = text.parse::<TraceTo>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!("100".parse::<Share>().unwrap().below(), 1 << 64);
        assert_eq!("50%".parse::<Share>().unwrap().below(), 1 << 63);
        assert_eq!("0".parse::<Share>().unwrap().below(), 0);
        for wrong in ["", "-1", "100.1", "NaN", "one"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
