//! Several replicas, of which one leads.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Pools, Weir, eventually};

const QUICK: &str = "leaderElection: {leaseDuration: 3s, renewDeadline: 2s, retryPeriod: 200ms}";

async fn replicas() -> (Pools, Weir, Weir, Weir) {
    let cluster = Pools::new().await;
    let server = Weir::sim("m");
    cluster.pool("chat", "vllm", server.port).await;
    cluster.pod("a", "vllm").await;
    let endpoints = "kubernetes: {namespace: team, pool: chat}";
    let first = Weir::serve(&cluster, endpoints, QUICK);
    eventually("the first leads", || first.readyz().0 == 200);
    let second = Weir::serve(&cluster, endpoints, QUICK);
    eventually("the second stands by", || second.readyz().1["leader"]["holder"].is_string());
    // It is warm all the same.
    eventually("it knows its endpoint", || second.readyz().1["pools"][0]["ready"] == 1);
    assert_eq!(second.readyz().0, 503);
    (cluster, server, first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_gives_its_lease_back() {
    let (cluster, _server, mut first, second) = replicas().await;
    let (_, lease) = cluster
        .fake
        .request("GET", "/apis/coordination.k8s.io/v1/namespaces/team/leases/epp-team-chat.llm-d.ai", &json!({}))
        .await;
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 3);
    first.terminate();
    let began = Instant::now();
    eventually("the second leads", || second.readyz().0 == 200);
    // Much less than the lease's duration.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_followed_within_its_lease() {
    let (_cluster, _server, mut first, second) = replicas().await;
    first.kill();
    let began = Instant::now();
    eventually("the second leads", || second.readyz().0 == 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_serves_on_until_it_sees_another_holder() {
    let (cluster, _server, first, _second) = replicas().await;
    cluster.fake.stop().await;
    let began = Instant::now();
    // Longer than the lease.
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!((first.readyz().0, first.complete("m").0), (200, 200));
    }
    // Somebody else has taken it meanwhile.
    let path = "/apis/coordination.k8s.io/v1/namespaces/team/leases/epp-team-chat.llm-d.ai";
    let taken = json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 600}});
    let (status, _) = cluster.fake.request("PATCH", path, &taken).await;
    assert_eq!(status, 200);
    cluster.fake.restart().await.unwrap();
    eventually("it stands by", || first.readyz().1["leader"]["holder"] == "somebody");
    assert_eq!(first.readyz().0, 503);
}
