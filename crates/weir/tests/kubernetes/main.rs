//! The whole program in a cluster: a fake API server, simulated model servers, and weir as a process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

mod election;
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use weir_fake_kube::{Fake, Options};

use self::support::{Pools, Weir, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picker_follows_its_pool() {
    let cluster = Pools::new().await;
    let server = Weir::sim("m");
    let epp = Weir::epp(&cluster, &["--pool-name=chat", "--pool-namespace=team", "--metrics-endpoint-auth=false"]);
    let waits = epp.readyz();
    assert_eq!((waits.0, waits.1["ready"].as_bool()), (503, Some(false)));
    eventually("it says what it waits for", || epp.readyz().1["kubernetes"]["waitsFor"][0].as_str().is_some());
    cluster.pool("chat", "vllm", server.port).await;
    cluster.pod("a", "vllm").await;
    eventually("it is ready", || epp.readyz().0 == 200);
    let endpoints = || epp.state()["pools"][0]["endpoints"].clone();
    assert_eq!(endpoints()[0]["id"], "team/a-rank-0");
    let (_, metrics) = epp.get("/metrics");
    assert!(metrics.contains("weir_kubernetes_watches{resource=\"pods\",namespace=\"team\"} 1"), "{metrics}");
    cluster.fake.request("DELETE", "/api/v1/namespaces/team/pods/a", &json!({})).await;
    eventually("the pod is gone", || endpoints().as_array().is_some_and(Vec::is_empty));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_serves_every_pool_that_a_label_selects() {
    let cluster = Pools::new().await;
    let (red, blue) = (Weir::sim("red-model"), Weir::sim("blue-model"));
    let weir = Weir::serve(&cluster, "kubernetes: {namespace: team, poolSelector: \"team in (a,b)\"}", "");
    cluster.labelled_pool("red", json!({"team": "a"}), "red", red.port).await;
    cluster.labelled_pool("other", json!({"team": "c"}), "other", 1).await;
    cluster.pod("red-0", "red").await;
    eventually("the first pool serves", || weir.complete("red-model").0 == 200);
    eventually("it is ready", || weir.readyz().0 == 200);
    cluster.labelled_pool("blue", json!({"team": "b"}), "blue", blue.port).await;
    cluster.pod("blue-0", "blue").await;
    eventually("the second pool serves", || weir.complete("blue-model").0 == 200);
    let pools = || -> Vec<String> {
        let state = weir.state();
        state["pools"].as_array().unwrap().iter().map(|pool| pool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(pools(), ["blue", "red"]);
    cluster.fake.request("DELETE", "/apis/inference.networking.k8s.io/v1/namespaces/team/inferencepools/red", &json!({})).await;
    eventually("the pool is gone", || pools() == ["blue"]);
    assert_eq!((weir.complete("red-model").0, weir.complete("blue-model").0), (404, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewrites_are_in_force_and_their_authors_are_told() {
    let cluster = Pools::new().await;
    let server = Weir::sim("m-v2");
    cluster.pool("chat", "vllm", server.port).await;
    cluster.pod("a", "vllm").await;
    let weir = Weir::serve(&cluster, "kubernetes: {namespace: team, pool: chat}", "");
    eventually("the model is served", || weir.complete("m-v2").0 == 200);
    assert_eq!(weir.complete("m").0, 404);
    let rules = json!([{"matches": [{"model": {"value": "m"}}], "targets": [{"modelRewrite": "m-v2"}]}]);
    let rewrite =
        |name: &str, pool: &str| json!({"metadata": {"name": name}, "spec": {"poolRef": {"name": pool}, "rules": rules}});
    let path = "/apis/llm-d.ai/v1alpha2/namespaces/team/inferencemodelrewrites";
    cluster.fake.request("POST", path, &rewrite("canary", "chat")).await;
    eventually("the rewrite is in force", || weir.complete("m").0 == 200);
    let (_, answer) = weir.complete("m");
    assert_eq!(answer["model"], "m");

    cluster.fake.request("POST", path, &rewrite("typo", "chta")).await;
    cluster.fake.request("POST", path, &rewrite("zz-late", "chat")).await;
    let said = async |name: &str, kind: &str| {
        let (_, object) = cluster.fake.request("GET", &format!("{path}/{name}"), &json!({})).await;
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.iter()
            .find(|one| one["type"] == kind)
            .map(|one| format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap()))
    };
    for (name, kind, want) in [
        ("canary", "Ready", "True InForce"),
        ("typo", "ResolvedRefs", "False PoolNotFound"),
        ("typo", "Ready", "False PoolNotFound"),
        ("zz-late", "Accepted", "False Shadowed"),
    ] {
        let began = Instant::now();
        while said(name, kind).await.as_deref() != Some(want) {
            assert!(began.elapsed() < Duration::from_secs(20), "{name}: {kind} is {:?}", said(name, kind).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let (_, events) = cluster.fake.request("GET", "/api/v1/namespaces/team/events", &json!({})).await;
    let reasons: Vec<&str> = events["items"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"PoolNotFound") && reasons.contains(&"Shadowed"), "{events}");

    // Once everything is said, nothing more is.
    let before = cluster.fake.written().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.fake.written().len(), before, "{:?}", cluster.fake.written());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_does_not_notice_that_the_api_server_is_away() {
    let cluster = Pools::new().await;
    let server = Weir::sim("m");
    cluster.pool("chat", "vllm", server.port).await;
    cluster.pod("a", "vllm").await;
    let weir = Weir::serve(&cluster, "kubernetes: {namespace: team, pool: chat}", "");
    eventually("it serves", || weir.complete("m").0 == 200 && weir.readyz().0 == 200);
    cluster.fake.stop().await;
    eventually("it is noticed", || weir.readyz().1["kubernetes"]["failing"][0].is_object());
    let began = Instant::now();
    let mut served = 0;
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(weir.complete("m").0, 200);
        assert_eq!(weir.readyz().0, 200);
        served += 1;
    }
    assert!(served > 20, "{served}");
    cluster.fake.request("DELETE", "/api/v1/namespaces/team/pods/a", &json!({})).await;
    cluster.fake.restart().await.unwrap();
    eventually("what happened meanwhile is known", || {
        weir.state()["pools"][0]["endpoints"].as_array().is_some_and(Vec::is_empty)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_those_whom_the_cluster_allows() {
    let options = Options { users: ["weir", "scraper", "nobody"].map(str::to_owned).to_vec(), ..Options::default() };
    let cluster = Pools::with(options).await;
    let epp = Weir::epp(&cluster, &["--pool-name=chat", "--pool-namespace=team"]);
    let status = |token: &str, path: &str| epp.get_as(token, path).0;
    assert_eq!((status("", "/livez"), status("", "/readyz")), (200, 503));
    assert_eq!((status("", "/metrics"), status("", "/debug/state")), (401, 401));
    // Without the right to ask, nobody may.
    assert_eq!(status("scraper", "/metrics"), 503);
    cluster.apply("metrics-auth/asks.yaml", "weir").await;
    cluster.apply("metrics-auth/reads.yaml", "scraper").await;
    eventually("the scraper may", || status("scraper", "/metrics") == 200);
    assert_eq!((status("nobody", "/metrics"), status("stranger", "/metrics")), (403, 401));
    assert_eq!(status("scraper", "/debug/state"), 403);
    // What is known stays known for a while.
    cluster.fake.stop().await;
    assert_eq!(status("scraper", "/metrics"), 200);
}

/// The command lines of KServe's presets, as they are rendered with TLS on and off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kserve_starts() {
    let cluster = Pools::new().await;
    let server = Weir::sim("m");
    cluster.pool("llama-inference-pool", "vllm", server.port).await;
    cluster.pod("a", "vllm").await;
    let config = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: single-profile-handler\n\
                  - type: queue-scorer\n- type: kv-cache-utilization-scorer\n- type: prefix-cache-scorer\n- type: no-hit-lru-scorer\n\
                  - type: max-score-picker\nschedulingProfiles:\n- name: default\n  plugins:\n  - {pluginRef: queue-scorer, weight: 2}\n  \
                  - {pluginRef: kv-cache-utilization-scorer, weight: 2}\n  - {pluginRef: prefix-cache-scorer, weight: 3}\n  \
                  - {pluginRef: no-hit-lru-scorer, weight: 2}\n  - {pluginRef: max-score-picker}\n";
    for off in [
        &["", "", "", "", "--config-text", config][..],
        &["--enable-cert-reload=true", "--secure-serving=true", "", "", "-config-text", config],
        &["", "", "", "", "--configText", config],
    ] {
        let preset = ["--pool-name", "llama-inference-pool", "--pool-namespace", "team", "--zap-encoder", "json"];
        let words: Vec<&str> = preset.into_iter().chain(off.iter().copied()).collect();
        let epp = Weir::epp(&cluster, &words);
        eventually("it is ready", || epp.readyz().0 == 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_may_come_with_a_reload() {
    let cluster = Pools::new().await;
    let server = Weir::sim("m");
    cluster.pool("chat", "vllm", server.port).await;
    cluster.pod("a", "vllm").await;
    let weir = Weir::serve(&cluster, "static: [{url: \"http://127.0.0.1:9\"}]", "");
    assert_ne!(weir.complete("m").0, 200);
    weir.configure("kubernetes: {namespace: team, podSelector: app=vllm, ports: [", &format!("{}]}}", server.port));
    eventually("the new pool serves", || weir.complete("m").0 == 200);
    assert_eq!(weir.state()["pools"][0]["endpoints"][0]["id"], "team/a-rank-0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_at_the_cluster() {
    let cluster = Pools::new().await;
    cluster.pool("chat", "vllm", 8000).await;
    cluster.pod("a", "vllm").await;
    let objective =
        json!({"metadata": {"name": "typo"}, "spec": {"poolRef": {"name": "chta", "group": "inference.networking.k8s.io"}}});
    cluster.create("/apis/llm-d.ai/v1alpha2/namespaces/team/inferenceobjectives", &objective).await;
    let found = Weir::doctor(&cluster, &["--namespace", "team"]);
    let verdict = |check: &str| -> String {
        let all = found["findings"].as_array().unwrap();
        let one = all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("{check}: {found}"));
        one["verdict"].as_str().unwrap().to_owned()
    };
    for (check, want) in [
        ("kube.reachable", "ok"),
        ("kube.rights", "ok"),
        ("kube.ready", "ok"),
        ("kube.picker", "warning"),
        ("kube.objects", "warning"),
    ] {
        assert_eq!(verdict(check), want, "{check}: {found}");
    }
    let lost = Weir::doctor(&cluster, &["--namespace", "elsewhere"]);
    assert!(lost["wrong"].as_u64().unwrap() >= 2, "{lost}");
}

#[tokio::test]
async fn without_a_cluster_it_says_so() {
    let fake = Fake::start(Options::default()).await.unwrap();
    drop(fake);
    let text = Weir::fails(&["epp", "--pool-name=chat"], "/nowhere/kubeconfig");
    assert!(text.contains("no Kubernetes cluster is configured") && text.contains("KUBECONFIG"), "{text}");
}
