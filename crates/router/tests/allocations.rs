//! What a decision allocates: a gate that does not depend on how fast or busy the machine is.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method};
use weir_api::EndpointPickerConfig;
use weir_plan::{CompileOptions, Registry, compile};
use weir_pool::{EndpointSpec, EndpointUrl, Pool};
use weir_protocol::Api;
use weir_router::{Clock, DecisionLog, DecisionLogConfig, End, PoolRuntime, RequestHead, Router, RouterMetrics, Shared};

/// From the body to the endpoint and out of the ledger again, with the decision log and metrics on.
const ALLOCATIONS_PER_REQUEST: u64 = 0;

#[test]
fn a_warm_decision_stays_within_its_allocations() {
    let mut plugins = Registry::default();
    weir_schedule::register(&mut plugins);
    let plan = Arc::new(compile(&EndpointPickerConfig::builtin(), &plugins, CompileOptions::default()).unwrap());
    let metrics = RouterMetrics::register(&mut prometheus_client::registry::Registry::default());
    // A small log, so that it comes round.
    let log = DecisionLog::new(DecisionLogConfig { max_bytes: 64 << 10, candidates: 16 });
    let shared = Shared::new(Clock::default(), log, metrics);
    let pool = Arc::new(Pool::new("p"));
    let specs: Vec<_> = (0..8).map(|i| EndpointSpec::new(format!("e{i}"), EndpointUrl::http("10.0.0.1", 8000 + i))).collect();
    pool.reconcile(&specs);
    for endpoint in &pool.snapshot().endpoints {
        endpoint.health.probe_succeeded();
    }
    let runtime = PoolRuntime::new(pool, plan, vec![], Duration::from_secs(2), &shared);
    let router = Router::new(vec![runtime], shared);
    let headers = HeaderMap::new();
    let text = "said the river to the town.\\n".repeat(90);
    let bodies: Vec<Bytes> =
        (0..16).map(|i| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{i} {text}"}}]}}"#).into()).collect();
    let request = |i: usize| {
        let (id, path) = ("6f6c2b4e-4f0c-4c35-9d5c-6d1f2a3b4c5d", "/v1/chat/completions");
        let head = RequestHead {
            id,
            method: &Method::POST,
            path,
            headers: &headers,
            received: router.now(),
            api: Some(Api::ChatCompletions),
            priority: 0,
            within: None,
            wants_scores: false,
            trace: None,
        };
        let mut routed = router.route(&head, &bodies[i % bodies.len()]).unwrap();
        routed.first_byte(router.now());
        routed.finish(End::Complete);
    };
    (0..500).for_each(request);
    let measured = allocation_counter::measure(|| (0..500).for_each(request));
    let each = measured.count_total / 500;
    assert_eq!(each, ALLOCATIONS_PER_REQUEST, "{} B a request", measured.bytes_total / 500);
}
