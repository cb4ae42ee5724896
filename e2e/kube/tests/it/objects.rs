//! Objectives and rewrites.

use serde_json::{Value, json};
use weir_crds::Bundle;
use weir_kubernetes::{ClusterObjects, ObjectsWatch};

use crate::cluster::{Cluster, LEGACY, LLM_D, eventually};

scenarios! {
    objectives_and_rewrites_come_and_go;
    objects_of_the_group_before_are_used_until_the_current_one_is_installed;
    objects_that_may_not_be_seen_are_not_waited_for;
}

fn objective(name: &str, pool: &str, priority: i32) -> Value {
    json!({"metadata": {"name": name}, "spec": {"poolRef": {"name": pool}, "priority": priority}})
}

fn priorities(objects: &ObjectsWatch, pool: &str) -> Vec<(String, i32)> {
    let state: ClusterObjects = objects.state().borrow().clone();
    let (objectives, _) = state.of_pool("inference.networking.k8s.io", pool);
    objectives.into_iter().map(|one| (one.id.name, one.priority)).collect()
}

async fn objectives_and_rewrites_come_and_go(cluster: Cluster) {
    cluster.create(LLM_D, "InferenceObjective", objective("high", "chat", 10)).await;
    cluster.create(LLM_D, "InferenceObjective", objective("else", "other", 7)).await;
    let rules = json!([{"matches": [{"model": {"value": "m"}}], "targets": [{"modelRewrite": "m-v2", "weight": 10}]}]);
    let rewrite = json!({"metadata": {"name": "canary"}, "spec": {"poolRef": {"name": "chat"}, "rules": rules}});
    cluster.create(LLM_D, "InferenceModelRewrite", rewrite).await;
    let objects = cluster.follow_objects();
    eventually("the objects are known", || objects.state().borrow().synced).await;
    assert_eq!(priorities(&objects, "chat"), [("high".to_owned(), 10)]);
    let (_, rewrites) = objects.state().borrow().of_pool("inference.networking.k8s.io", "chat");
    assert_eq!((rewrites[0].id.name.as_str(), rewrites[0].rules[0].targets[0].weight), ("canary", Some(10)));
    assert!(rewrites[0].id.created > 1_700_000_000);
    // The group of the pool counts.
    assert_eq!(objects.state().borrow().of_pool("inference.networking.x-k8s.io", "chat").0, []);

    cluster.patch(LLM_D, "InferenceObjective", "high", json!({"spec": {"priority": -1}})).await;
    eventually("the priority changed", || priorities(&objects, "chat") == [("high".to_owned(), -1)]).await;
    cluster.delete(LLM_D, "InferenceObjective", "high").await;
    eventually("it is gone", || priorities(&objects, "chat").is_empty()).await;
}

async fn objects_of_the_group_before_are_used_until_the_current_one_is_installed(cluster: Cluster) {
    cluster.uninstall(Bundle::Current).await;
    cluster.create(LEGACY, "InferenceObjective", objective("old", "chat", 1)).await;
    let objects = cluster.follow_objects();
    eventually("the old one is used", || priorities(&objects, "chat") == [("old".to_owned(), 1)]).await;
    eventually("all are known", || objects.state().borrow().synced).await;
    cluster.install(Bundle::Current).await;
    cluster.create(LLM_D, "InferenceObjective", objective("new", "chat", 2)).await;
    eventually("the new one is used, the old one is not", || priorities(&objects, "chat") == [("new".to_owned(), 2)]).await;
}

async fn objects_that_may_not_be_seen_are_not_waited_for(cluster: Cluster) {
    cluster.grant(json!([])).await;
    let objects = cluster.follow_objects();
    eventually("they are given up", || objects.state().borrow().synced).await;
    assert!(cluster.watches.failing().iter().any(|one| one.resource == "inferenceobjectives.llm-d.ai"));
    cluster.grant(crate::cluster::default_rules()).await;
    cluster.create(LLM_D, "InferenceObjective", objective("high", "chat", 10)).await;
    eventually("they may be seen now", || priorities(&objects, "chat") == [("high".to_owned(), 10)]).await;
}
