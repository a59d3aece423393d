//! The console's files, from memory and from disk.

use std::fs;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use tempfile::TempDir;

use super::*;

fn embedded() -> Arc<Console> {
    let files: [(&str, &[u8]); 2] = [(INDEX, b"<p>page"), ("assets/app.js", b"run()")];
    let assets = files.into_iter().map(|(name, bytes)| (name, Asset::new(Bytes::from_static(bytes))));
    Arc::new(Console { source: Source::Embedded(assets.collect()) })
}

/// A console in `dist` with a secret beside it.
fn disk() -> (TempDir, Arc<Console>) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    let dist = folder.path().join("dist");
    fs::create_dir_all(dist.join("assets")).unwrap();
    fs::write(dist.join(INDEX), "<p>page").unwrap();
    fs::write(dist.join("assets/app.js"), "run()").unwrap();
    fs::write(dist.join(".hidden"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret.txt", dist.join("link.txt")).unwrap();
    (folder, Arc::new(Console::on_disk(dist)))
}

fn asking(etag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, HeaderValue::from_str(etag).unwrap());
    headers
}

async fn get(console: &Arc<Console>, path: &str) -> (StatusCode, HeaderMap, String) {
    get_with(console, path, &HeaderMap::new()).await
}

async fn get_with(console: &Arc<Console>, path: &str, headers: &HeaderMap) -> (StatusCode, HeaderMap, String) {
    let (head, body) = console.answer(path, headers).await.expect("a path of the console").into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn files_have_their_type_and_the_page_may_load_nothing_from_elsewhere() {
    let (_folder, on_disk) = disk();
    for console in [embedded(), on_disk] {
        let (status, headers, body) = get(&console, "/console/assets/app.js").await;

        assert_eq!((status, body.as_str()), (StatusCode::OK, "run()"));
        assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(headers[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'self'"));
        assert_eq!(get(&console, "/console/").await.2, "<p>page");
    }
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let console = embedded();
    let (_, headers, _) = get(&console, "/console/").await;
    let etag = headers[ETAG].to_str().unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag} is not a strong tag");

    for known in [etag.to_owned(), format!("\"other\", W/{etag}"), "*".to_owned()] {
        let (status, headers, body) = get_with(&console, "/console/", &asking(&known)).await;

        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
        assert_eq!(headers[ETAG], etag);
    }
    assert_eq!(get_with(&console, "/console/", &asking("\"other\"")).await.0, StatusCode::OK);
    assert_eq!(get_with(&console, "/console/assets/app.js", &asking(etag)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn unknown_paths_below_the_console_are_the_page_and_the_root_leads_there() {
    let console = embedded();

    assert_eq!(get(&console, "/console/graph/shop").await.2, "<p>page");
    for path in ["/", "/console"] {
        let (status, headers, _) = get(&console, path).await;
        assert_eq!((status, &headers[LOCATION]), (StatusCode::FOUND, &HeaderValue::from_static("/console/")));
    }
    assert!(console.answer("/consoles", &HeaderMap::new()).await.is_none());
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let (_folder, console) = disk();
    for path in [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "%2E%2E%2Fsecret.txt",
        "..\\secret.txt",
        "assets/../../secret.txt",
        "assets/%2e%2e/%2e%2e/secret.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "//etc/passwd",
        ".hidden",
        "link.txt",
        "assets/app.js%00.html",
        "%zz",
    ] {
        let (status, _, body) = get(&console, &format!("/console/{path}")).await;

        assert_eq!((status, body.as_str()), (StatusCode::OK, "<p>page"), "{path}");
    }
}

#[tokio::test]
async fn a_page_that_is_built_later_is_served_then() {
    let folder = TempDir::new().unwrap();
    let console = Arc::new(Console::on_disk(folder.path().join("dist")));
    assert_eq!(get(&console, "/console/").await.0, StatusCode::NOT_FOUND);

    fs::create_dir(folder.path().join("dist")).unwrap();
    fs::write(folder.path().join("dist").join(INDEX), "<p>new").unwrap();

    assert_eq!(get(&console, "/console/").await.2, "<p>new");
}

#[tokio::test]
async fn without_a_console_there_is_a_page_that_says_how_to_build_one() {
    let console = Arc::new(Console { source: Source::None });

    let (status, headers, body) = get(&console, "/console/").await;

    assert_eq!(
        (status, &headers[CONTENT_TYPE]),
        (StatusCode::OK, &HeaderValue::from_static("text/html; charset=utf-8"))
    );
    assert!(body.contains("make console") && body.contains("href=\"/api/v1/status\""));
}
