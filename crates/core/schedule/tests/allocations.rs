//! Deciding allocates nothing once it is warm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use http::HeaderMap;
use weir_api::EndpointPickerConfig;
use weir_plan::{Attributes, CompileOptions, Outgoing, Registry, RequestView, Targets};
use weir_pool::{Endpoint, EndpointSpec, EndpointState, EndpointUrl, LoraState, Scrape, Time};
use weir_protocol::{Api, Scanned, scan};
use weir_schedule::{Scratch, produce, register, run};

const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: label-selector-filter, parameters: {matchExpressions: [{key: bad, operator: DoesNotExist}]}}
- type: decode-filter
- type: queue-scorer
- type: running-requests-size-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: no-hit-lru-scorer
- {type: session-affinity-scorer, parameters: {strategy: session_id}}
- type: lora-affinity-scorer
- type: active-request-scorer
- type: load-aware-scorer
- type: token-load-scorer
- {type: context-length-aware, parameters: {enableFiltering: true}}
- {type: utilization-filter, parameters: {conditions: [{metric: waiting-queue, maxValue: 9}, {metric: active-requests, maxValue: 9}]}}
- type: prefix-cache-affinity-filter
- type: slo-headroom-tier-filter
- {type: core-metrics-extractor, parameters: {engineConfigs: [{name: x, customMetrics: [{attributeKey: Rate, metricSpec: r}]}]}}
- {type: endpoint-attribute-filter, parameters: {attribute: Rate, algorithm: {type: threshold, threshold: {operator: LessThan, value: 10}}}}
- {type: endpoint-attribute-scorer, parameters: {attributeKey: Rate, algorithm: {type: linear_lower_is_better}}}
- {type: header-label-affinity-scorer, parameters: {headerName: x-role, labelKey: llm-d.ai/role}}
- type: latency-scorer
- type: mm-embeddings-cache-scorer
- type: topology-affinity-filter
- type: topology-affinity-scorer
- type: multicluster-queue-scorer
- type: utilization-detector
- type: concurrency-detector
- {type: PICKER, parameters: {maxNumOfEndpoints: COUNT}}
";

fn endpoint(i: u16) -> Arc<Endpoint> {
    let mut spec = EndpointSpec::new(format!("e{i}"), EndpointUrl::http("10.0.0.1", 8_000 + i));
    spec.labels.insert("llm-d.ai/role".to_owned(), "both".to_owned());
    let endpoint = Endpoint::with_serial(spec, i.into());
    let lora = Some(LoraState { active: vec!["a".to_owned()], waiting: Vec::new(), max: 2 });
    endpoint.engine.record(&Scrape { lora, ..Scrape::default() }, 0, Time::ZERO);
    endpoint.numbers.set("Rate/core-metrics-extractor", Some(f64::from(i % 7)));
    Arc::new(endpoint)
}

fn deciding_allocates_nothing(picker: &str, count: &str, endpoints: u16) {
    let mut registry = Registry::default();
    register(&mut registry);
    let config = EndpointPickerConfig::parse(&CONFIG.replace("PICKER", picker).replace("COUNT", count)).unwrap().value;
    let plan = weir_plan::compile(&config, &registry, CompileOptions::default()).unwrap();

    let endpoints: Vec<Arc<Endpoint>> = (0..endpoints).map(endpoint).collect();
    let state = |i: usize| EndpointState { waiting: i as u32 % 3, age: Some(Duration::ZERO), ..EndpointState::default() };
    let states: Vec<EndpointState> = (0..endpoints.len()).map(state).collect();
    let candidates: Vec<u32> = (0..endpoints.len() as u32).collect();
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}\n"}}]}}"#, "word ".repeat(2_000));
    let mut headers = HeaderMap::new();
    headers.insert("x-session-id", "s".parse().unwrap());
    headers.insert("x-role", "both".parse().unwrap());
    let (mut scanned, mut attributes, mut scratch) = (Scanned::default(), Attributes::default(), Scratch::default());
    let mut random = Rng::with_seed(1);
    let mut outgoing = Outgoing::default();

    let mut decide = |learn: bool| {
        scan(Api::ChatCompletions, body.as_bytes(), &mut scanned).unwrap();
        let request = RequestView {
            id: "r",
            now: Time::from_millis(10),
            priority: 0,
            fairness_id: "default-flow",
            api: Some(Api::ChatCompletions),
            model: "m",
            headers: &headers,
            body: body.as_bytes(),
            scanned: Some(&scanned),
        };
        attributes.reset(&plan.columns);
        produce(&plan, &request, &endpoints, &mut attributes);
        let picked = run(&plan, &request, &endpoints, &states, &candidates, &attributes, &mut scratch, &mut random).unwrap();
        let targets = Targets {
            endpoints: &endpoints,
            primary: scratch.targets(picked.profile),
            prefill: scratch.prefill_targets(),
            results: scratch.results(),
        };
        if learn {
            for plugin in &plan.pre_request {
                plugin.plugin.picked(&request, &targets, &attributes, &mut outgoing);
            }
        }
        picked.primary
    };
    // Until every endpoint was chosen once, learning fills tables.
    let mut chosen = std::collections::HashSet::new();
    for _ in 0..400 {
        chosen.insert(decide(true));
    }
    assert_eq!(allocation_counter::measure(|| drop(Box::new(1))).count_total, 1);
    let used = allocation_counter::measure(|| {
        for _ in 0..100 {
            decide(false);
        }
    });
    assert_eq!(used.count_total, 0, "{picker} {count} over {} endpoints: {used:?}", endpoints.len());
    assert!(!chosen.is_empty());
}

#[test]
fn max_score_picker() {
    deciding_allocates_nothing("max-score-picker", "1", 8);
    deciding_allocates_nothing("max-score-picker", "3", 100);
    deciding_allocates_nothing("max-score-picker", "1", 1_000);
}

#[test]
fn weighted_random_picker() {
    deciding_allocates_nothing("weighted-random-picker", "1", 8);
    deciding_allocates_nothing("weighted-random-picker", "3", 100);
}

#[test]
fn random_picker() {
    deciding_allocates_nothing("random-picker", "1", 8);
    deciding_allocates_nothing("random-picker", "30", 100);
}
