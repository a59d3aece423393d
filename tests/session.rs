//! Promise: who has a session stays where it is, while the shares of versions move under it.

use std::collections::BTreeMap;

use http::Request;

use crate::harness::{Client, Mesh};

const USERS: usize = 200;

/// A canary of reviews as an HTTPRoute with a session cookie.
fn canary(v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: reviews, namespace: shop}}
spec:
  parentRefs:
  - {{group: \"\", kind: Service, name: reviews, port: 9080}}
  rules:
  - sessionPersistence: {{sessionName: whose, type: Cookie, absoluteTimeout: 1h}}
    backendRefs:
    - {{group: tidegate.io, kind: Version, name: reviews/v1, port: 9080, weight: {v1}}}
    - {{group: tidegate.io, kind: Version, name: reviews/v2, port: 9080, weight: {v2}}}
"
    )
}

/// A browser: it keeps the cookies it was given.
#[derive(Default)]
struct User {
    cookies: BTreeMap<String, String>,
}

impl User {
    /// Which version serves it now.
    async fn ask(&mut self, client: &mut Client) -> String {
        let mut request = Request::get("/").header("host", "reviews:9080");
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", pairs.join("; "));
        }
        let answer = client.send(request).await.expect("the mesh answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().expect("text");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer.version().to_owned()
    }
}

#[tokio::test]
async fn a_user_never_moves_back_while_the_candidate_grows() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &canary(100, 0)).start().await;
    let mut client = mesh.client("web-v1");
    let mut users: Vec<User> = (0..USERS).map(|_| User::default()).collect();
    let mut on_v2 = vec![false; USERS];
    let mut grown = Vec::new();
    for weight in [1, 10, 25, 50, 75, 90, 100] {
        mesh.apply("reviews.yaml", &canary(100 - weight, weight)).await;
        for (user, was) in users.iter_mut().zip(&mut on_v2) {
            let version = user.ask(&mut client).await;
            assert!(!*was || version == "v2", "a user of v2 came back to {version} at {weight} %");
            // A session stays where it is within a step, too.
            assert_eq!(user.ask(&mut client).await, version, "{weight} %");
            *was = version == "v2";
        }
        grown.push((weight, on_v2.iter().filter(|on| **on).count()));
    }
    println!("users of {USERS} on the candidate, by its weight in %: {grown:?}");
    assert_eq!(grown.last(), Some(&(100, USERS)));
    let half = grown.iter().find(|(weight, _)| *weight == 50).expect("it was a step").1;
    assert!(half.abs_diff(USERS / 2) <= 22, "{half} of {USERS} at 50 %: three sigma are 21");
}

#[tokio::test]
async fn a_session_keeps_its_endpoint_while_it_lives() {
    let policy = "apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: sticky, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: reviews}
  sessionPersistence: {type: Cookie, sessionName: whose}
";
    let mesh = Mesh::plan().service("reviews", &["v1", "v2", "v3"]).policy("sticky.yaml", policy).start().await;
    let mut client = mesh.client("web-v1");
    let mut seen = BTreeMap::new();
    for _ in 0..30 {
        let mut user = User::default();
        let first = user.ask(&mut client).await;
        for _ in 0..5 {
            assert_eq!(user.ask(&mut client).await, first);
        }
        *seen.entry(first).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "sessions are spread: {seen:?}");
}
