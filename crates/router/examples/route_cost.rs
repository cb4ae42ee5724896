//! Time of one decision, from the body to the endpoint and out of the ledger again: `cargo run --release -p weir-router --example
//! route_cost [ENDPOINTS]`. Prints the smallest mean of several rounds.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use weir_api::EndpointPickerConfig;
use weir_plan::{CompileOptions, Registry, compile};
use weir_pool::{EndpointSpec, EndpointUrl, Pool};
use weir_protocol::Api;
use weir_router::{Clock, DecisionLog, DecisionLogConfig, End, PoolRuntime, RequestHead, Router, RouterMetrics, Shared};

/// A system prompt that all share and four turns, with the line ends and quotes that real prompts have; or one long turn.
fn body(conversation: u64, bytes: usize) -> Bytes {
    let message = |seed, length| format!(r#"{{"role":"user","content":{}}}"#, serde_json::Value::from(prose(seed, length)));
    let turns: Vec<String> = if bytes > 10_000 {
        vec![message(conversation, bytes)]
    } else {
        let own = (0..4).map(|turn| message(100 + conversation * 4 + turn, bytes / 8));
        std::iter::once(message(1, bytes / 2)).chain(own).collect()
    };
    format!(r#"{{"max_tokens":32,"messages":[{}],"model":"m","stream":false,"temperature":0.7}}"#, turns.join(",")).into()
}

fn prose(seed: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        text.extend((0..random.usize(2..9)).map(|_| random.lowercase()));
        text.push_str(match random.u8(0..40) {
            0 => ".\n",
            1 => "\" ",
            _ => " ",
        });
    }
    text
}

fn main() {
    let mut plugins = Registry::default();
    weir_schedule::register(&mut plugins);
    let plan = Arc::new(compile(&EndpointPickerConfig::builtin(), &plugins, CompileOptions::default()).unwrap());
    let only: Option<usize> = std::env::args().nth(1).and_then(|text| text.parse().ok());
    for (endpoints, bytes) in [(2, 2_500), (8, 2_500), (100, 2_500), (8, 400_000)] {
        if only.is_some_and(|only| only != usize::from(endpoints)) {
            continue;
        }
        let metrics = RouterMetrics::register(&mut prometheus_client::registry::Registry::default());
        let shared = Shared::new(Clock::default(), DecisionLog::new(DecisionLogConfig::default()), metrics);
        let pool = Arc::new(Pool::new("p"));
        let specs: Vec<_> =
            (0..endpoints).map(|i| EndpointSpec::new(format!("e{i}"), EndpointUrl::http("10.0.0.1", 8000 + i))).collect();
        pool.reconcile(&specs);
        pool.snapshot().endpoints.iter().for_each(|one| {
            one.health.probe_succeeded();
        });
        let runtime = PoolRuntime::new(pool, Arc::clone(&plan), vec![], Duration::from_secs(2), &shared);
        let router = Router::new(vec![runtime], shared);
        let headers = HeaderMap::new();
        let bodies: Vec<Bytes> = (0..64).map(|i| body(i, bytes)).collect();
        let rounds = if bytes > 100_000 { 20 } else { 2_000 };
        let mut best = f64::MAX;
        for _ in 0..10 {
            let started = Instant::now();
            for i in 0..rounds {
                let head = RequestHead {
                    id: "6f6c2b4e-4f0c-4c35-9d5c-000000000000",
                    method: &Method::POST,
                    path: "/v1/chat/completions",
                    headers: &headers,
                    received: router.now(),
                    api: Some(Api::ChatCompletions),
                    priority: 0,
                    within: None,
                    wants_scores: false,
                    trace: None,
                };
                let mut routed = router.route(&head, &bodies[i % 64]).unwrap();
                routed.first_byte(router.now());
                routed.finish(End::Complete);
            }
            best = best.min(started.elapsed().as_secs_f64() * 1e6 / rounds as f64);
        }
        println!("{endpoints:4} endpoints, {bytes:6} B: {best:7.2} µs a request");
    }
}
