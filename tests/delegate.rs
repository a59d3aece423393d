//! Promise: one team owns a host and gives paths of it to others, whose rules act there and nowhere else, and are named.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::binary;
use crate::harness::{Backend, Client, Mesh, wait};

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 9080;

/// The host's owner: `/ratings` is the team's, the rest its own.
fn root(delegate: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews]
  http:
  - match: [{{uri: {{prefix: /ratings}}}}]
    headers: {{response: {{set: {{x-owner: shop}}}}}}
    delegate: {{name: {delegate}, namespace: team}}
  - route: [{{destination: {{host: reviews}}}}]
"
    )
}

/// The team: two paths, the second with a new answer at each edit. Its `ratings` are not those of the shop.
fn team(address: Ipv4Addr, teapot: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: ratings, namespace: team}}
spec:
  selector: {{app: ratings}}
  ports: [{{name: http, port: {PORT}}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: ratings, namespace: team}}
spec: {{address: {address}, labels: {{app: ratings}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: ratings, namespace: team}}
spec:
  http:
  - match: [{{uri: {{prefix: /ratings/list}}, method: {{exact: GET}}}}]
    route: [{{destination: {{host: ratings}}}}]
  - match: [{{uri: {{exact: /ratings/pot}}}}]
    directResponse: {{status: {teapot}, body: {{string: pot}}}}
"
    )
}

async fn statuses(client: &mut Client) -> Vec<(u16, String)> {
    let mut seen = Vec::new();
    for path in ["/ratings/list/1", "/ratings/pot", "/ratings", "/reviews/0"] {
        let answer = client.get("reviews:9080", path).await.expect("the mesh answers");
        seen.push((answer.status.as_u16(), answer.version().to_owned()));
    }
    seen
}

fn explained(mesh: &Mesh, url: &str) -> String {
    let api = mesh.control.api.to_string();
    let output = Command::new(binary("tidegate"))
        .args(["explain", "--from", "shop/web-v1", "--url", url, "--api", &api])
        .output()
        .expect("the command starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Which VirtualServices proxies say that they have.
async fn programmed(mesh: &Mesh) -> Vec<String> {
    let status = mesh.control.status().await;
    let objects = status["objects"].as_array().expect("a list of objects");
    let routes = objects.iter().filter(|object| object["kind"] == "VirtualService");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    routes
        .map(|object| {
            let conditions = object["conditions"].as_array().expect("a list of conditions");
            let said = conditions.iter().find(|condition| condition["type"] == "Programmed").expect("it is said");
            format!("{}/{} {}", text(&object["namespace"]), text(&object["name"]), text(&said["status"]))
        })
        .collect()
}

#[tokio::test]
async fn a_delegate_has_the_paths_that_it_was_given() {
    let plan = Mesh::plan().service("reviews", &["v1"]).service("ratings", &["v1"]);
    let address = plan.spare_host(200);
    let _ratings = Backend::echo(SocketAddr::from((address, PORT)), "team").await;
    let plan = plan.policy("root.yaml", &root("ratings")).policy("team.yaml", &team(address, 418));
    let mesh = plan.start().await;
    let mut client = mesh.client("web-v1");

    let own = |status: u16, version: &str| (status, version.to_owned());
    // What the root gives away and the delegate does not take goes on to the next rule.
    let expected = [own(200, "team"), own(418, ""), own(200, "v1"), own(200, "v1")];
    assert_eq!(statuses(&mut client).await, expected);
    let answer = client.get("reviews:9080", "/ratings/list/1").await.expect("the mesh answers");
    assert_eq!(answer.headers["x-owner"], "shop", "what the delegate leaves open is the root's");

    let text = explained(&mesh, "http://reviews:9080/ratings/list/1");
    assert!(text.contains("team.yaml:18") && text.contains("[shop/reviews root.yaml:7]"), "{text}");
    assert_eq!(programmed(&mesh).await, ["shop/reviews True", "team/ratings True"]);

    // The team edits its own file.
    mesh.apply("team.yaml", &team(address, 404)).await;
    assert_eq!(statuses(&mut client).await[1].0, 404, "on the connection that was open");

    // A delegate that is not there costs nothing: what was in force stays.
    mesh.control.write("root.yaml", root("rating"));
    wait::until("the misspelt delegate is reported", LIMIT, || async {
        mesh.control.status().await.to_string().contains("there is no VirtualService team/rating to delegate to")
    })
    .await;
    let expected = [own(200, "team"), own(404, ""), own(200, "v1"), own(200, "v1")];
    assert_eq!(statuses(&mut client).await, expected);
}
