//! What weir writes: leases, conditions, events.

use std::time::Duration;

use serde_json::{Value, json};
use weir_kubernetes::{ClusterObject, Election, LeaseConfig, Reporter, Verdict, Wrote};

use crate::cluster::{Cluster, LLM_D, default_rules, eventually};

scenarios! {
    one_replica_leads_and_gives_the_lease_back;
    a_lease_that_is_not_renewed_is_taken;
    a_leader_leads_on_while_the_api_server_is_away;
    conditions_are_written_once;
    without_the_right_to_write_nothing_breaks;
}

fn writing_rules() -> Value {
    let mut rules = default_rules();
    let more = json!([
        {"apiGroups": ["llm-d.ai"], "resources": ["inferenceobjectives/status", "inferencemodelrewrites/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    ]);
    rules.as_array_mut().unwrap().extend(more.as_array().unwrap().iter().cloned());
    rules
}

fn candidate(cluster: &Cluster, identity: &str, duration: u64) -> Election {
    let config = LeaseConfig {
        namespace: cluster.namespace.clone(),
        name: "epp-team-chat.llm-d.ai".to_owned(),
        identity: identity.to_owned(),
        duration: Duration::from_secs(duration),
        renew_deadline: Duration::from_secs(2),
        retry_period: Duration::from_millis(100),
    };
    Election::start(cluster.client.clone(), config)
}

async fn one_replica_leads_and_gives_the_lease_back(cluster: Cluster) {
    cluster.grant(writing_rules()).await;
    let a = candidate(&cluster, "a", 60);
    eventually("a leads", || a.state().borrow().leading).await;
    let b = candidate(&cluster, "b", 60);
    eventually("b sees a", || b.state().borrow().holder.as_deref() == Some("a")).await;
    assert!(!b.state().borrow().leading);
    a.stop().await;
    let took = eventually("b leads", || b.state().borrow().leading).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let lease = cluster.get("coordination.k8s.io/v1", "Lease", "epp-team-chat.llm-d.ai").await.unwrap();
    assert_eq!(lease.data["spec"]["holderIdentity"], "b");
    b.stop().await;
    let lease = cluster.get("coordination.k8s.io/v1", "Lease", "epp-team-chat.llm-d.ai").await.unwrap();
    assert_eq!(lease.data["spec"]["holderIdentity"].as_str().unwrap_or_default(), "");
}

async fn a_lease_that_is_not_renewed_is_taken(cluster: Cluster) {
    cluster.grant(writing_rules()).await;
    let spec = json!({"holderIdentity": "gone", "leaseDurationSeconds": 1, "renewTime": "2030-01-01T00:00:00.000000Z",
                      "acquireTime": "2030-01-01T00:00:00.000000Z"});
    cluster
        .create("coordination.k8s.io/v1", "Lease", json!({"metadata": {"name": "epp-team-chat.llm-d.ai"}, "spec": spec}))
        .await;
    // Its clock is years ahead: what counts is how long it stays as it is.
    let a = candidate(&cluster, "a", 60);
    let took = eventually("a leads", || a.state().borrow().leading).await;
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let lease = cluster.get("coordination.k8s.io/v1", "Lease", "epp-team-chat.llm-d.ai").await.unwrap();
    assert_eq!(lease.data["spec"]["leaseTransitions"], 1);
    a.stop().await;
}

async fn a_leader_leads_on_while_the_api_server_is_away(cluster: Cluster) {
    cluster.grant(writing_rules()).await;
    let a = candidate(&cluster, "a", 1);
    eventually("a leads", || a.state().borrow().leading).await;
    cluster.stop().await;
    eventually("a cannot reach its lease", || !a.state().borrow().reachable).await;
    // Longer than the lease.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(a.state().borrow().leading);
    cluster.restart().await;
    eventually("a reaches it again", || a.state().borrow().reachable).await;
    assert!(a.state().borrow().leading);
    let taken = json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 600}});
    cluster.patch("coordination.k8s.io/v1", "Lease", "epp-team-chat.llm-d.ai", taken).await;
    eventually("a sees another holder", || !a.state().borrow().leading).await;
    a.stop().await;
}

async fn object(cluster: &Cluster) -> (weir_kubernetes::ObjectsWatch, ClusterObject) {
    let objective = json!({"metadata": {"name": "high"}, "spec": {"poolRef": {"name": "chat"}, "priority": 10}});
    cluster.create(LLM_D, "InferenceObjective", objective).await;
    let objects = cluster.follow_objects();
    eventually("it is known", || !objects.state().borrow().objects.is_empty()).await;
    let one = objects.state().borrow().objects[0].clone();
    (objects, one)
}

async fn conditions_are_written_once(cluster: Cluster) {
    cluster.grant(writing_rules()).await;
    let (objects, one) = object(&cluster).await;
    let mut reporter = Reporter::new(cluster.client.clone());
    let lost = Verdict { rejected: None, note: None, pool_exists: false };
    assert_eq!(reporter.judge(&one, &lost).await, Wrote::Done);
    let ready = |want: &str| {
        let state = objects.state().borrow().clone();
        state.objects[0].conditions.iter().any(|one| one.kind == "Ready" && one.status == want)
    };
    eventually("it is written", || ready("False")).await;
    let one = objects.state().borrow().objects[0].clone();
    assert_eq!(one.conditions.len(), 3);
    assert_eq!(reporter.judge(&one, &lost).await, Wrote::Nothing);
    let events = cluster.api("v1", "Event").list(&Default::default()).await.unwrap();
    let said: Vec<&str> = events.items.iter().filter_map(|one| one.data["reason"].as_str()).collect();
    assert_eq!(said, ["PoolNotFound"]);
    assert_eq!(events.items[0].data["involvedObject"]["name"], "high");
    let good = Verdict { pool_exists: true, ..lost };
    assert_eq!(reporter.judge(&one, &good).await, Wrote::Done);
    eventually("it is written", || ready("True")).await;
}

async fn without_the_right_to_write_nothing_breaks(cluster: Cluster) {
    let (_objects, one) = object(&cluster).await;
    let mut reporter = Reporter::new(cluster.client.clone());
    let lost = Verdict { rejected: None, note: None, pool_exists: false };
    assert_eq!(reporter.judge(&one, &lost).await, Wrote::Later);
    let about = (&one).into();
    assert_eq!(reporter.tell(&about, "Warning", "Reason", "message").await, Wrote::Later);
}
