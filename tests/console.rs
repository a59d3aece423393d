//! Promise: what a console shows is what proxies do: weights as they are taken, mistakes where they are written, and both at once.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::moving::canary;
use crate::harness::{Client, Mesh, wait};

const LIMIT: Duration = Duration::from_secs(20);

/// Wanted, acknowledged, and by how many of how many, of the second destination of `reviews` inside the mesh.
fn second(splits: &Value) -> (f64, Option<f64>, u64, u64) {
    let all = splits["splits"].as_array().expect("a list");
    let of_reviews = all.iter().find(|split| split["host"] == "reviews.shop.svc.cluster.local");
    let v2 = &of_reviews.expect("reviews is split")["destinations"][1];
    let count = |key: &str| v2[key].as_u64().expect("a count");
    (v2["desired"].as_f64().expect("a share"), v2["acknowledged"].as_f64(), count("acknowledged_by"), count("of"))
}

#[tokio::test]
async fn a_weight_is_shown_as_wanted_and_then_as_taken_by_every_proxy() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &canary(90, 10)).start().await;
    assert_eq!(second(&mesh.control.get("/api/v1/splits").await), (0.1, Some(0.1), 3, 3));

    let mut stream = Stream::open(&mesh).await;
    assert_eq!(second(&stream.next("splits").await), (0.1, Some(0.1), 3, 3));
    mesh.control.write("reviews.yaml", canary(25, 75));

    let mut seen = Vec::new();
    while seen.last() != Some(&(0.75, Some(0.75), 3, 3)) {
        seen.push(second(&stream.next("splits").await));
    }
    println!("{seen:?}");
    assert!(seen.iter().all(|(_, acknowledged, by, of)| acknowledged.is_some_and(|share| share == 0.1 || by == of)));
}

#[tokio::test]
async fn a_mistake_is_shown_where_it_is_written_while_the_last_good_configuration_stays() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &canary(90, 10)).start().await;
    let broken = canary(90, 10).replace("weight: 10", "wieght: 10");

    mesh.control.write("reviews.yaml", &broken);
    wait::until("the mistake is found", LIMIT, || async {
        mesh.control.get("/api/v1/policies").await["in_force"] == false
    })
    .await;

    let file = mesh.control.get("/api/v1/files?path=reviews.yaml").await;
    assert_eq!((&file["text"], &file["in_force"]), (&Value::from(broken.clone()), &Value::from(false)));
    // Without the weight of one destination the others do not add up, which is found as well.
    let findings = file["findings"].as_array().expect("a list");
    let typo = findings.iter().find(|finding| finding["message"].to_string().contains("wieght"));
    let place = &typo.expect("it is found")["places"][0];
    let part = |key: &str| usize::try_from(place[key].as_u64().expect("a number")).expect("a small one");
    let line = broken.lines().nth(part("line") - 1).expect("it is a line of the file");
    let marked: String = line.chars().skip(part("column") - 1).take(part("length")).collect();
    assert_eq!(marked, "wieght");
    assert_eq!(second(&mesh.control.get("/api/v1/splits").await), (0.1, Some(0.1), 3, 3));
}

#[tokio::test]
async fn the_root_leads_to_a_page_that_loads_nothing_from_elsewhere() {
    let mesh = Mesh::plan().start().await;
    let mut client = Client::new(mesh.control.api);

    let root = client.get("localhost", "/").await.expect("the API answers");
    let page = client.get("localhost", "/console/anything").await.expect("the API answers");

    assert_eq!((root.status.as_u16(), &root.headers["location"]), (302, &http::HeaderValue::from_static("/console/")));
    assert_eq!(page.status, 200);
    let header = |name: &str| page.headers[name].to_str().expect("plain").to_owned();
    assert!(header("content-type").starts_with("text/html") && header("content-security-policy").contains("'self'"));
    assert_eq!(header("x-content-type-options"), "nosniff");
    let outside = page.text().matches("src=\"http").count() + page.text().matches("href=\"http").count();
    assert_eq!(outside, 0);
}

#[tokio::test]
async fn kiali_reads_that_every_proxy_is_in_sync() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).start().await;

    let proxies = mesh.control.get("/debug/syncz").await;

    let proxies = proxies.as_array().expect("an array");
    assert_eq!(proxies.len(), 3);
    for proxy in proxies {
        for part in ["cluster", "listener", "route", "endpoint"] {
            let (sent, acked) = (&proxy[format!("{part}_sent")], &proxy[format!("{part}_acked")]);
            assert!(sent == acked && sent != "", "{part} of {proxy}");
        }
    }
}

/// A stream of events, read as a browser does.
struct Stream {
    socket: TcpStream,
    unread: String,
}

impl Stream {
    async fn open(mesh: &Mesh) -> Self {
        let mut socket = TcpStream::connect(mesh.control.api).await.expect("the API accepts");
        let request = "GET /api/v1/stream HTTP/1.0\r\nhost: localhost\r\n\r\n";
        socket.write_all(request.as_bytes()).await.expect("the API reads");
        Self { socket, unread: String::new() }
    }

    /// The data of the next event of this name; others are passed over.
    async fn next(&mut self, name: &str) -> Value {
        let wanted = format!("event: {name}\ndata: ");
        loop {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let data = event.split_once(&wanted).map(|(_, data)| data.to_owned());
                self.unread = rest.to_owned();
                if let Some(data) = data {
                    return serde_json::from_str(&data).expect("an event is JSON");
                }
            }
            let mut buffer = vec![0; 64 * 1024];
            let read =
                timeout(LIMIT, self.socket.read(&mut buffer)).await.expect("an event comes").expect("it is open");
            assert_ne!(read, 0, "the stream ended");
            self.unread.push_str(std::str::from_utf8(&buffer[..read]).expect("the events of a test are ASCII"));
        }
    }
}
