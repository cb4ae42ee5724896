//! Prints what a decision costs: `cargo run --release -p weir-schedule --example cost`.
#![allow(clippy::print_stdout)]

use std::{error::Error, sync::Arc, time::Duration, time::Instant};

use fastrand::Rng;
use http::HeaderMap;
use weir_api::EndpointPickerConfig;
use weir_plan::{Attributes, CompileOptions, Outgoing, Registry, RequestView, Targets};
use weir_pool::{Endpoint, EndpointSpec, EndpointState, EndpointUrl, Time};
use weir_protocol::{Api, Scanned, scan};
use weir_schedule::{Scratch, produce, register, run};

/// llm-d's optimized baseline.
const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: no-hit-lru-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: no-hit-lru-scorer, weight: 2}
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut registry = Registry::default();
    register(&mut registry);
    let config = EndpointPickerConfig::parse(CONFIG).map_err(|_| "configuration")?.value;
    for (count, prompt_bytes) in [(8_u16, 2_500), (8, 400_000), (100, 2_500), (1_000, 2_500)] {
        let plan = weir_plan::compile(&config, &registry, CompileOptions::default()).map_err(|_| "plan")?;
        let endpoints: Vec<Arc<Endpoint>> = (0..count)
            .map(|i| {
                Arc::new(Endpoint::with_serial(
                    EndpointSpec::new(format!("e{i}"), EndpointUrl::http("10.0.0.1", 8_000 + i)),
                    i.into(),
                ))
            })
            .collect();
        let mut random = Rng::with_seed(1);
        let state = |random: &mut Rng| EndpointState {
            waiting: random.u32(..9),
            running: random.u32(..99),
            kv_usage: random.f64(),
            age: Some(Duration::ZERO),
            ..EndpointState::default()
        };
        let states: Vec<EndpointState> = (0..count).map(|_| state(&mut random)).collect();
        let candidates: Vec<u32> = (0..count.into()).collect();
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "word ".repeat(prompt_bytes / 5));
        let mut scanned = Scanned::default();
        scan(Api::ChatCompletions, body.as_bytes(), &mut scanned)?;
        let headers = HeaderMap::new();
        let request = RequestView {
            id: "r",
            now: Time::ZERO,
            priority: 0,
            fairness_id: "default-flow",
            api: Some(Api::ChatCompletions),
            model: "m",
            headers: &headers,
            body: body.as_bytes(),
            scanned: Some(&scanned),
        };
        let mut outgoing = Outgoing::default();
        let (mut attributes, mut scratch) = (Attributes::default(), Scratch::default());
        let (mut best_produce, mut best_run, mut best_learn) = (Duration::MAX, Duration::MAX, Duration::MAX);
        let rounds = 100;
        for _ in 0..50 {
            let start = Instant::now();
            for _ in 0..rounds {
                attributes.reset(&plan.columns);
                produce(&plan, &request, &endpoints, &mut attributes);
            }
            best_produce = best_produce.min(start.elapsed() / rounds);
            let start = Instant::now();
            for _ in 0..rounds {
                run(&plan, &request, &endpoints, &states, &candidates, &attributes, &mut scratch, &mut random)?;
            }
            best_run = best_run.min(start.elapsed() / rounds);
            let start = Instant::now();
            for _ in 0..rounds {
                let targets = Targets { endpoints: &endpoints, primary: scratch.targets(0), prefill: &[], results: &[] };
                for plugin in &plan.pre_request {
                    plugin.plugin.picked(&request, &targets, &attributes, &mut outgoing);
                }
            }
            best_learn = best_learn.min(start.elapsed() / rounds);
        }
        println!(
            "{count:>4} endpoints, prompt of {prompt_bytes:>6} bytes: produce {best_produce:.2?}, score and pick {best_run:.2?}, learn \
             {best_learn:.2?}"
        );
    }
    Ok(())
}
