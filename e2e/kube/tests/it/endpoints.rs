//! Where requests may go.

use std::collections::BTreeSet;

use serde_json::json;
use weir_crds::Bundle;
use weir_kubernetes::{PoolGroup, Source};

use crate::cluster::{Cluster, LEGACY, POOL, eventually};

scenarios! {
    pods_of_a_pool_become_endpoints_and_leave;
    a_change_takes_less_than_100_ms;
    another_selector_lists_other_pods;
    ports_come_and_go;
    annotations_restrict_ports;
    a_deleted_pool_has_no_endpoints_until_it_is_there_again;
    a_pool_that_is_not_there_yet_is_not_synced;
    definitions_may_be_installed_later;
    the_pool_of_before_is_read_too;
    pods_by_selector_need_no_pool;
    a_service_s_slices_are_endpoints;
    pools_by_label;
}

async fn pods_of_a_pool_become_endpoints_and_leave(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    cluster.pod("other", "10.0.0.9", json!({"app": "other"})).await;
    let chat = cluster.follow("chat");
    chat.until(&["a-rank-0 http://10.0.0.1:8000"]).await;
    assert!(chat.is_synced());
    assert_eq!(chat.watch.state().borrow().app_protocol, "http");

    cluster.pod("b", "10.0.0.2", json!({"app": "vllm", "llm-d.ai/role": "decode"})).await;
    chat.until(&["a-rank-0 http://10.0.0.1:8000", "b-rank-0 http://10.0.0.2:8000"]).await;
    assert_eq!(chat.pool.load().endpoints[1].label("llm-d.ai/role"), Some("decode"));

    // Only what changed is replaced.
    let before = chat.pool.snapshot();
    cluster.pod_is("b", "10.0.0.2", false).await;
    chat.until(&["a-rank-0 http://10.0.0.1:8000"]).await;
    assert!(std::sync::Arc::ptr_eq(&before.endpoints[0], &chat.pool.load().endpoints[0]));
    assert!(before.endpoints[1].health.is_draining());

    cluster.pod_is("b", "10.0.0.2", true).await;
    cluster.delete("v1", "Pod", "a").await;
    chat.until(&["b-rank-0 http://10.0.0.2:8000"]).await;
    // It leaves by its labels, too.
    cluster.patch("v1", "Pod", "b", json!({"metadata": {"labels": {"app": "gone"}}})).await;
    chat.until(&[]).await;
    assert!(chat.is_synced());
}

async fn a_change_takes_less_than_100_ms(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    let chat = cluster.follow("chat");
    chat.until(&["a-rank-0 http://10.0.0.1:8000"]).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        cluster.pod_is("a", "10.0.0.1", false).await;
        took.push(chat.until(&[]).await);
        cluster.pod_is("a", "10.0.0.1", true).await;
        took.push(chat.until(&["a-rank-0 http://10.0.0.1:8000"]).await);
    }
    took.sort_unstable();
    println!("from the answer of the API server to the endpoint: {took:?}");
    assert!(took[took.len() / 2].as_millis() < 100, "{took:?}");
}

async fn another_selector_lists_other_pods(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "blue"}), &[8000]).await;
    cluster.pod("blue", "10.0.0.1", json!({"app": "blue"})).await;
    cluster.pod("green", "10.0.0.2", json!({"app": "green"})).await;
    let chat = cluster.follow("chat");
    chat.until(&["blue-rank-0 http://10.0.0.1:8000"]).await;
    cluster.patch(POOL, "InferencePool", "chat", json!({"spec": {"selector": {"matchLabels": {"app": "green"}}}})).await;
    chat.until(&["green-rank-0 http://10.0.0.2:8000"]).await;
    let pods: Vec<String> =
        cluster.watches.list().into_iter().filter(|one| one.resource == "pods").map(|one| one.filter).collect();
    assert_eq!(pods, ["app=green"], "the watch of the old selector ends");
}

async fn ports_come_and_go(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000, 8001]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    let chat = cluster.follow("chat");
    let both = ["a-rank-0 http://10.0.0.1:8000", "a-rank-1 http://10.0.0.1:8001"];
    chat.until(&both).await;
    cluster.patch(POOL, "InferencePool", "chat", json!({"spec": {"targetPorts": [{"number": 8000}]}})).await;
    chat.until(&both[..1]).await;
    cluster.patch(POOL, "InferencePool", "chat", json!({"spec": {"targetPorts": [{"number": 8000}, {"number": 8001}]}})).await;
    chat.until(&both).await;
    cluster.delete("v1", "Pod", "a").await;
    chat.until(&[]).await;
}

async fn annotations_restrict_ports(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000, 8001, 8002]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    let chat = cluster.follow("chat");
    let all = ["a-rank-0 http://10.0.0.1:8000", "a-rank-1 http://10.0.0.1:8001", "a-rank-2 http://10.0.0.1:8002"];
    chat.until(&all).await;
    let annotate = async |ports: serde_json::Value| {
        let annotations = json!({"metadata": {"annotations": {"llm-d.ai/active-ports": ports}}});
        cluster.patch("v1", "Pod", "a", annotations).await;
    };
    annotate(json!("8002,8000")).await;
    chat.until(&[all[0], all[2]]).await;
    annotate(json!("")).await;
    chat.until(&[]).await;
    annotate(json!(null)).await;
    chat.until(&all).await;
}

async fn a_deleted_pool_has_no_endpoints_until_it_is_there_again(cluster: Cluster) {
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    let chat = cluster.follow("chat");
    let one = ["a-rank-0 http://10.0.0.1:8000"];
    chat.until(&one).await;
    cluster.delete(POOL, "InferencePool", "chat").await;
    chat.until(&[]).await;
    eventually("the pool is not synced", || !chat.is_synced()).await;
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    chat.until(&one).await;
    assert!(chat.is_synced());
}

async fn a_pool_that_is_not_there_yet_is_not_synced(cluster: Cluster) {
    let chat = cluster.follow("chat");
    eventually("the pools are listed", || cluster.watches.list().iter().any(|one| one.lists == 1)).await;
    assert!(!chat.is_synced());
    // A pool without pods is known all the same.
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    eventually("the pool is synced", || chat.is_synced()).await;
    assert_eq!(chat.endpoints(), [""; 0]);
}

async fn definitions_may_be_installed_later(cluster: Cluster) {
    cluster.uninstall(Bundle::Current).await;
    let chat = cluster.follow("chat");
    eventually("the missing definition is noticed", || cluster.watches.list().iter().any(|one| one.error.is_some())).await;
    assert!(!chat.is_synced());
    assert!(cluster.watches.failing().is_empty(), "what is not installed is not a failure");
    cluster.install(Bundle::Current).await;
    cluster.pool("chat", json!({"app": "vllm"}), &[8000]).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    chat.until(&["a-rank-0 http://10.0.0.1:8000"]).await;
}

async fn the_pool_of_before_is_read_too(cluster: Cluster) {
    let spec = json!({"selector": {"app": "vllm"}, "targetPortNumber": 8200, "extensionRef": {"name": "epp"}});
    cluster.create(LEGACY, "InferencePool", json!({"metadata": {"name": "chat"}, "spec": spec})).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm"})).await;
    let chat = cluster.follow_target(Source::Pool { name: "chat".to_owned(), group: PoolGroup::Legacy });
    chat.until(&["a-rank-0 http://10.0.0.1:8200"]).await;
}

async fn pods_by_selector_need_no_pool(cluster: Cluster) {
    // Nothing else may be looked at.
    cluster.grant(json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}])).await;
    cluster.pod("a", "10.0.0.1", json!({"app": "vllm", "tier": "gold"})).await;
    cluster.pod("b", "10.0.0.2", json!({"app": "vllm", "tier": "lead"})).await;
    let selector = "app=vllm,tier in (gold,silver)".to_owned();
    let chat = cluster.follow_target(Source::Pods { selector, ports: vec![8000, 8001] });
    chat.until(&["a-rank-0 http://10.0.0.1:8000", "a-rank-1 http://10.0.0.1:8001"]).await;
    assert!(chat.is_synced() && chat.watch.state().borrow().app_protocol.is_empty());
}

async fn a_service_s_slices_are_endpoints(cluster: Cluster) {
    let slice = |name: &str, address: &str, ready: bool| {
        json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "vllm"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}, "zone": "z1"}],
        })
    };
    let kind = ("discovery.k8s.io/v1", "EndpointSlice");
    cluster.create(kind.0, kind.1, slice("vllm-1", "10.0.0.1", true)).await;
    let chat = cluster.follow_target(Source::Service { name: "vllm".to_owned(), ports: Vec::new() });
    chat.until(&["10.0.0.1-rank-0 http://10.0.0.1:8000"]).await;
    assert_eq!(chat.pool.load().endpoints[0].label("topology.kubernetes.io/zone"), Some("z1"));
    cluster.create(kind.0, kind.1, slice("vllm-2", "10.0.0.2", true)).await;
    chat.until(&["10.0.0.1-rank-0 http://10.0.0.1:8000", "10.0.0.2-rank-0 http://10.0.0.2:8000"]).await;
    cluster
        .patch(kind.0, kind.1, "vllm-1", json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]}))
        .await;
    chat.until(&["10.0.0.2-rank-0 http://10.0.0.2:8000"]).await;
}

async fn pools_by_label(cluster: Cluster) {
    let named = |name: &str, team: &str| {
        json!({"metadata": {"name": name, "labels": {"team": team}},
               "spec": {"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}]}})
    };
    cluster.create(POOL, "InferencePool", named("a", "red")).await;
    cluster.create(POOL, "InferencePool", named("b", "blue")).await;
    let red = cluster.follow_pools("team=red");
    let names = || red.names().borrow().clone();
    let set = |names: &[&str]| Some(names.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>());
    eventually("a is red", || names() == set(&["a"])).await;
    cluster.create(POOL, "InferencePool", named("c", "red")).await;
    eventually("c is red too", || names() == set(&["a", "c"])).await;
    cluster.patch(POOL, "InferencePool", "a", json!({"metadata": {"labels": {"team": "blue"}}})).await;
    eventually("a is red no more", || names() == set(&["c"])).await;
    cluster.delete(POOL, "InferencePool", "c").await;
    eventually("none is red", || names() == set(&[])).await;
}
