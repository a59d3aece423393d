//! Promise: a split sends each version the share that its weight says, and a new weight acts at once.

mod grpc;
mod tcp;

use crate::harness::Mesh;
use crate::harness::load::assert_share;
pub(crate) use crate::harness::moving::{canary, canary_of};

/// From nothing to everything, and what is nearly one of them.
const WEIGHTS: [u32; 5] = [0, 1, 50, 99, 100];

#[tokio::test]
async fn shares_follow_the_weights_and_an_edit_acts_on_open_connections() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &canary(90, 10)).start().await;
    let mut client = mesh.client("web-v1");

    let mut v2 = 0;
    for _ in 0..1_000 {
        let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        v2 += u64::from(answer.version() == "v2");
    }
    assert_share("v2 of 90/10", v2, 1_000, 0.10);

    mesh.apply("reviews.yaml", &canary(0, 100)).await;
    for _ in 0..100 {
        let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
        assert_eq!(answer.version(), "v2", "the same connection uses the new weights");
    }
}

#[tokio::test]
async fn every_weight_is_kept_from_none_to_all() {
    let mesh = Mesh::plan().service("reviews", &["v1", "v2"]).policy("reviews.yaml", &canary(1, 2)).start().await;
    let mut client = mesh.client("web-v1");
    for weight in WEIGHTS {
        mesh.apply("reviews.yaml", &canary(100 - weight, weight)).await;
        let mut v2 = 0;
        for _ in 0..2_000 {
            let answer = client.get("reviews:9080", "/reviews/0").await.expect("the mesh answers");
            assert_eq!(answer.status, 200, "{}", answer.text());
            v2 += u64::from(answer.version() == "v2");
        }
        println!("weight {weight}: {v2} of 2000 by v2");
        assert_share("v2", v2, 2_000, f64::from(weight) / 100.0);
    }
}
