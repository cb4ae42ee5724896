//! What the API server does to its clients.

use serde_json::json;
use weir_kubernetes::{Trouble, WatchState};

use crate::cluster::{Cluster, default_rules, eventually};

scenarios! {
    while_the_api_server_is_away_everything_stays;
    what_is_forbidden_is_reported_and_tried_again;
}

async fn while_the_api_server_is_away_everything_stays(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    cluster.pod("b", "10.0.0.2", json!({"app": "vllm"})).await;
    let chat = cluster.follow("chat");
    let both = ["a-rank-0 http://10.0.0.1:8000", "b-rank-0 http://10.0.0.2:8000"];
    chat.until(&both).await;
    let before = chat.pool.load().generation;
    cluster.stop().await;
    let is_away = || cluster.watches.list().iter().all(|one| one.state == WatchState::Failing(Trouble::Unreachable));
    eventually("it is noticed", is_away).await;
    assert_eq!(chat.endpoints(), both);
    assert!(chat.is_synced());
    cluster.restart().await;
    eventually("it works again", || cluster.watches.failing().is_empty()).await;
    assert_eq!((chat.pool.load().generation, chat.endpoints()), (before, both.map(str::to_owned).to_vec()));
    // Watches of before are of no use: what happens now is seen all the same.
    cluster.delete("v1", "Pod", "b").await;
    cluster.pod("c", "10.0.0.3", json!({"app": "vllm"})).await;
    chat.until(&[both[0], "c-rank-0 http://10.0.0.3:8000"]).await;
}

async fn what_is_forbidden_is_reported_and_tried_again(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    let pools_only = json!([default_rules()[2]]);
    cluster.grant(pools_only).await;
    let chat = cluster.follow("chat");
    let refused = || cluster.watches.failing().into_iter().find(|one| one.resource == "pods");
    eventually("it is reported", || refused().is_some()).await;
    let refused = refused().unwrap();
    assert_eq!(refused.state, WatchState::Failing(Trouble::Forbidden));
    let error = refused.error.unwrap();
    assert!(error.contains("\"weir\"") && error.contains("pods"), "{error}");
    assert!(!chat.is_synced());
    cluster.grant(default_rules()).await;
    chat.until(&["a-rank-0 http://10.0.0.1:8000"]).await;
    assert!(chat.is_synced() && cluster.watches.failing().is_empty());
}
