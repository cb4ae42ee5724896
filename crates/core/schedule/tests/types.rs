//! Every plugin type and every old name that llm-d's configurations may use is known.
#![allow(clippy::unwrap_used)]

use weir_api::EndpointPickerConfig;
use weir_plan::{CompileOptions, Registry, compile};

/// Without parsers and `file-discovery`, which have lists of their own.
const TYPES: &str = "
    label-selector-filter by-label decode-filter prefill-filter encode-filter context-length-aware prefix-cache-affinity-filter
    slo-headroom-tier-filter utilization-filter endpoint-attribute-filter topology-affinity-filter session-affinity-filter
    multicluster-session-affinity-filter utilization-detector concurrency-detector header-based-testing-filter
    queue-scorer running-requests-size-scorer kv-cache-utilization-scorer lora-affinity-scorer load-aware-scorer
    active-request-scorer token-load-scorer prefix-cache-scorer precise-prefix-cache-scorer no-hit-lru-scorer latency-scorer
    mm-embeddings-cache-scorer endpoint-attribute-scorer header-label-affinity-scorer topology-affinity-scorer
    session-affinity-scorer multicluster-queue-scorer multicluster-kv-cache-utilization-scorer multicluster-prefix-cache-scorer
    max-score-picker random-picker weighted-random-picker
    single-profile-handler header-profile-handler data-parallel-profile-handler disagg-profile-handler pd-profile-handler
    disagg-headers-handler always-disagg-pd-decider always-disagg-multimodal-decider prefix-based-pd-decider
    latency-slo-admitter probabilistic-admitter disaggregatedset-rollout-screener agent-identity request-attribute-reporter
    destination-endpoint-served-verifier
    token-producer approx-prefix-cache-producer multicluster-approx-prefix-cache-producer precise-prefix-cache-producer
    burst-prefix-cache-producer inflight-load-producer predicted-latency-producer mm-embeddings-cache-producer
    p2p-source-producer session-id-producer
    global-strict-fairness-policy round-robin-fairness-policy program-aware-fairness fcfs-ordering-policy edf-ordering-policy
    slo-deadline-ordering-policy static-usage-limit-policy priority-holdback-policy soft-reflective-ceiling-policy
    sheddable-eviction-filter priority-then-time-eviction-order-policy
    metrics-data-source core-metrics-extractor models-data-source models-data-extractor dcgm-data-source dcgm-extractor
    k8s-notification-source endpoint-notification-source topology-extractor multicluster-metrics-data-source
    multicluster-metrics-extractor multicluster-file-discovery
";

/// Old names, and what they are called now.
const RENAMED: [(&str, &str); 3] = [
    ("by-label-selector", "label-selector-filter"),
    ("tokenizer", "token-producer"),
    ("prefill-header-handler", "disagg-headers-handler"),
];

/// Types that are deprecated as they are.
const DEPRECATED: [(&str, &str); 4] = [
    ("by-label", "{label: a, allowsNoLabel: true}"),
    ("disagg-headers-handler", "{}"),
    ("precise-prefix-cache-scorer", "{}"),
    ("data-parallel-profile-handler", "{}"),
];

fn registry() -> Registry {
    let mut registry = Registry::default();
    weir_schedule::register(&mut registry);
    registry
}

/// Warnings of a configuration with one plugin.
fn warnings(kind: &str, parameters: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- {{type: {kind}, parameters: {parameters}}}\n- {{type: \
         queue-scorer}}\n"
    );
    let config = EndpointPickerConfig::parse(&text).unwrap().value;
    let plan = compile(&config, &registry(), CompileOptions::default()).unwrap();
    plan.warnings.iter().map(|one| one.message.clone()).collect()
}

#[test]
fn every_type_is_known() {
    let registry = registry();
    let missing: Vec<&str> = TYPES.split_whitespace().filter(|name| registry.find(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn old_names_are_known_with_a_warning() {
    let registry = registry();
    for (old, new) in RENAMED {
        let (found, deprecation) = registry.find(old).unwrap();
        assert_eq!((found.name, deprecation.map(|one| one.alias)), (new, Some(old)));
        let said = warnings(old, "{}");
        assert!(said.iter().any(|one| one.contains(old) && one.contains("deprecated") && one.contains(new)), "{old}: {said:?}");
    }
    for (kind, parameters) in DEPRECATED {
        let said = warnings(kind, parameters);
        assert!(
            said.iter().any(|one| one.contains(kind) && (one.contains("deprecated") || one.contains("superseded"))),
            "{said:?}"
        );
    }
}
