//! Objects with their findings, over files that are read and compiled as they are by `tidegate serve`.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use serde_json::Value;
use tidegate_policies::ir::PolicySet;

use super::*;
use crate::changes::{ChangeLog, Entry, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::compile::{Compiled, compile};
use crate::fleet::Fleet;
use crate::source::read::SourceFile;
use crate::store::Store;
use crate::world::World;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n\
    spec:\n  ports: [{name: http, port: 9080}]\n\
    ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: reviews-1\n  namespace: shop\n\
    \x20 labels: {kubernetes.io/service-name: reviews}\naddressType: IPv4\nports: [{name: http, port: 9080}]\n\
    endpoints: [{addresses: [127.0.0.1]}]\n";
const RULES: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
    metadata: {name: reviews, namespace: shop}\nspec:\n  hosts: [reviews]\n  http:\n  - route:\n\
    \x20   - destination: {host: reviews}\n";
const BROKEN: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
    metadata: {name: reviews, namespace: shop}\nspec:\n  hosts: [reviews]\n  http:\n  - route:\n\
    \x20   - destination: {host: reviews}\n      wieght: 10\n";

fn files(rules: &str) -> Vec<SourceFile> {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), bytes: text.as_bytes().into() };
    vec![file("reviews.yaml", rules), file("services.yaml", SERVICE)]
}

fn hub() -> Arc<Hub> {
    let clock = Clock::of(|| Timestamp::from_unix_ms(1_700_000_000_000));
    let fleet = Fleet::new("/etc/mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 0);
    Arc::new(Hub::new(Arc::new(fleet)))
}

/// As the keeper does it.
fn read(hub: &Hub, files: &[SourceFile]) -> Compiled {
    let compiled = compile(files, false);
    let fleet = hub.fleet();
    fleet.compiled(compiled.policies.statuses.clone().into());
    let result = if compiled.errors == 0 { Outcome::Applied } else { Outcome::Rejected };
    let at = Timestamp::from_unix_ms(0);
    let entry = Entry { generation: fleet.next_generation(), at, what: Vec::new(), files: Vec::new(), result };
    if compiled.errors == 0 {
        hub.publish(Arc::new(World::new(Arc::<PolicySet>::clone(&compiled.policies))), entry.generation);
        fleet.loaded().applied(files);
        fleet.applied(entry, files.len(), compiled.findings.clone());
    } else {
        fleet.loaded().rejected(files);
        fleet.rejected(entry, files.len(), compiled.findings.clone());
    }
    compiled
}

async fn body(answer: Answer) -> (StatusCode, Value) {
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn named<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    list.as_array().unwrap().iter().find(|one| one[key] == value).expect("it is listed")
}

#[tokio::test]
async fn a_healthy_object_is_listed_with_its_place_and_state() {
    let hub = hub();
    read(&hub, &files(RULES));

    let (_, listed) = body(list(&hub).await).await;

    assert_eq!(listed["in_force"], true);
    let policy = named(&listed["policies"], "kind", "VirtualService");
    assert_eq!(
        (&policy["file"], &policy["line"], &policy["status"]),
        (&"reviews.yaml".into(), &3.into(), &"Accepted".into())
    );
    assert_eq!(policy["findings"], Value::Array(Vec::new()));
    assert_eq!(
        *named(&listed["files"], "path", "reviews.yaml"),
        serde_json::json!({"path": "reviews.yaml", "in_force": true, "findings": 0})
    );
}

#[tokio::test]
async fn findings_of_files_that_are_not_in_force_point_at_the_exact_place() {
    let hub = hub();
    read(&hub, &files(RULES));
    read(&hub, &files(BROKEN));

    let (_, listed) = body(list(&hub).await).await;
    let (_, shown) = body(file("path=reviews.yaml", &hub).await).await;

    assert_eq!(listed["in_force"], false);
    let policy = named(&listed["policies"], "kind", "VirtualService");
    assert_ne!(policy["status"], "Accepted");
    assert_eq!(policy["findings"], shown["findings"]);
    assert_eq!((&shown["text"], &shown["in_force"]), (&BROKEN.into(), &false.into()));
    let is_typo = |finding: &&Value| finding["message"].to_string().contains("wieght");
    let place = &shown["findings"].as_array().unwrap().iter().find(is_typo).expect("it is found")["places"][0];
    let part = |key: &str| usize::try_from(place[key].as_u64().unwrap()).unwrap();
    let line = BROKEN.lines().nth(part("line") - 1).unwrap();
    let marked: String = line.chars().skip(part("column") - 1).take(part("length")).collect();
    assert_eq!(marked, "wieght", "{place}");
    let (_, other) = body(file("path=services.yaml", &hub).await).await;
    assert_eq!((&other["in_force"], &other["findings"]), (&true.into(), &Value::Array(Vec::new())));
}

#[test]
fn an_object_begins_with_its_document_and_a_further_one_of_a_list_with_its_name() {
    // Documents at 1, 10 and 20; a list of two in the second.
    let found = starts(vec![25, 3, 12, 16], &[1, 10, 20]);

    assert_eq!(found, BTreeMap::from([(3, 1), (12, 10), (16, 16), (25, 20)]));
}

#[tokio::test]
async fn only_files_that_were_read_are_shown() {
    let hub = hub();
    read(&hub, &files(RULES));

    for path in ["/etc/passwd", "../reviews.yaml", "./reviews.yaml", "%2e%2e%2fetc%2fpasswd", "REVIEWS.yaml", "%00"] {
        assert_eq!(body(file(&format!("path={path}"), &hub).await).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for query in ["", "path", "path=", "path=%ff", "file=reviews.yaml"] {
        assert_eq!(body(file(query, &hub).await).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn a_file_with_a_secret_keeps_it() {
    let hub = hub();
    let mut files = files(RULES);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\nstringData:\n  tls.key: geheim\n";
    files.push(SourceFile { path: "secrets/s.yaml".into(), bytes: secret.as_bytes().into() });
    read(&hub, &files);

    let (_, shown) = body(file("path=secrets%2Fs.yaml", &hub).await).await;

    assert_eq!((&shown["text"], &shown["redacted"]), (&secret.replace("geheim", "******").into(), &true.into()));
}
