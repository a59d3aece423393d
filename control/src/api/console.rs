//! The web console: `/` and everything below `/console/`.
//!
//! # Why the page may not load anything from elsewhere
//! It shows what a mesh does to whoever sits at this machine. `default-src 'self'` keeps a string that found its way from
//! traffic into the page from becoming a script, and the page from talking to anybody but this control plane.
//!
//! # Where the files are
//! In the binary, when the console was built before it. `--assets-dir` serves them from disk while the console is being worked
//! on. With neither there is a plain page that lists what the API answers.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};

use super::explain::decode;
use super::{Answer, Body, text, with_type};

/// What `console/dist` held when this was built: path and content.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/console.rs"));
/// The page of the console, for every path that is no file.
const INDEX: &str = "index.html";
/// A file on disk that is larger is not part of a page.
const ASSET_BYTES_MAX: u64 = 16 << 20;
/// Of the hash in an `ETag`: enough that no two files of a page share one.
const ETAG_BYTES: usize = 16;
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Answers when there is no console.
const PLAIN: &str = include_str!("console/plain.html");

/// Where the console's files come from.
#[derive(Debug)]
pub struct Console {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// None were there when this was built.
    None,
    Embedded(BTreeMap<&'static str, Asset>),
    /// Looked up anew for each request.
    Disk(PathBuf),
}

#[derive(Clone, Debug)]
struct Asset {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Asset {
    fn new(bytes: Bytes) -> Self {
        let hash = Sha256::digest(&bytes);
        let digits: String = hash.iter().take(ETAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{digits}\"")).expect("digits in quotes are a header value");
        Self { bytes, etag }
    }
}

impl Default for Console {
    /// The one in the binary.
    fn default() -> Self {
        if EMBEDDED.is_empty() {
            return Self { source: Source::None };
        }
        let assets = EMBEDDED.iter().map(|(name, bytes)| (*name, Asset::new(Bytes::from_static(bytes))));
        Self { source: Source::Embedded(assets.collect()) }
    }
}

impl Console {
    /// One on disk. The folder need not hold anything yet.
    pub fn on_disk(directory: PathBuf) -> Self {
        Self { source: Source::Disk(directory) }
    }

    /// Whether there are files to serve.
    pub fn is_there(&self) -> bool {
        !matches!(self.source, Source::None)
    }

    /// Answers `/`, `/console` and what is below; `None` for other paths.
    pub(super) async fn answer(self: &Arc<Self>, path: &str, headers: &HeaderMap) -> Option<Answer> {
        let within = match path {
            "/" | "/console" => return Some(redirect()),
            _ => path.strip_prefix("/console/")?,
        };
        let found = match &self.source {
            Source::None => return Some(secured(with_type(StatusCode::OK, "text/html; charset=utf-8", PLAIN))),
            Source::Embedded(assets) => {
                let name = decode_path(within);
                let known = name.and_then(|name| assets.get_key_value(&*name)).or_else(|| assets.get_key_value(INDEX));
                known.map(|(name, asset)| ((*name).to_owned(), asset.clone()))
            }
            Source::Disk(directory) => {
                let (directory, name) = (directory.clone(), decode_path(within));
                tokio::task::spawn_blocking(move || on_disk(&directory, name.as_deref())).await.ok().flatten()
            }
        };
        Some(match found {
            Some((name, asset)) => secured(served(&name, asset, headers)),
            None => text(StatusCode::NOT_FOUND, "there is no console in the folder of --assets-dir: npm run build\n"),
        })
    }
}

/// The file of this name, else the page.
fn on_disk(directory: &Path, name: Option<&str>) -> Option<(String, Asset)> {
    let of = |name: &str| Some((name.to_owned(), Asset::new(read_within(directory, name)?)));
    name.and_then(of).or_else(|| of(INDEX))
}

/// Reads a file that is really below `directory`, whatever links stand on the way.
fn read_within(directory: &Path, name: &str) -> Option<Bytes> {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    if !name.split('/').all(is_plain) {
        return None;
    }
    let root = directory.canonicalize().ok()?;
    let path = root.join(name).canonicalize().ok()?;
    if !path.starts_with(&root) || !path.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(ASSET_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= ASSET_BYTES_MAX).then(|| bytes.into())
}

/// Percent-encoding is undone once and before the path is looked at, so that `%2e%2e` is what it says. A plus sign is one.
fn decode_path(path: &str) -> Option<String> {
    decode(&path.replace('+', "%2B"))
}

fn served(name: &str, asset: Asset, headers: &HeaderMap) -> Answer {
    let mut response = if matches(headers, &asset.etag) {
        let mut response = Response::new(Body::Left(Full::default()));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        with_type(StatusCode::OK, content_type(name), asset.bytes)
    };
    // Kept, and asked for again: a control plane that was replaced has another page under the same name.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(ETAG, asset.etag);
    response
}

/// RFC 9110 §13.1.2: any of the list, compared weakly.
fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = lists.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one).as_bytes() == etag.as_bytes())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    }
}

fn redirect() -> Answer {
    let mut response = text(StatusCode::FOUND, "see /console/\n");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console/"));
    response
}

fn secured(mut response: Answer) -> Answer {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests;
