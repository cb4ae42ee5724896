//! One pool whose endpoints are picked at random.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use weir_api::EndpointPickerConfig;
use weir_plan::{CompileOptions, compile};
use weir_pool::{EndpointSpec, EndpointUrl, Pool};
use weir_router::{Clock, DecisionLog, DecisionLogConfig, PoolRuntime, Router, RouterMetrics, Shared};

const PLAN: &str = "
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: random-picker
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: random-picker
";

/// A pool of endpoints at these addresses, `e0`, `e1`, …
pub fn pool_of(engines: &[SocketAddr], scheme: &str) -> Arc<Pool> {
    let pool = Pool::new("p");
    let specs: Vec<EndpointSpec> = engines
        .iter()
        .enumerate()
        .map(|(i, address)| {
            let url: EndpointUrl = format!("{scheme}://{address}").parse().unwrap();
            EndpointSpec::new(format!("e{i}"), url)
        })
        .collect();
    pool.reconcile(&specs);
    for endpoint in &pool.snapshot().endpoints {
        endpoint.health.probe_succeeded();
        endpoint.set_models(vec!["m".to_owned()]);
    }
    Arc::new(pool)
}

pub fn router_over(pool: Arc<Pool>, registry: &mut Registry) -> Arc<Router> {
    let mut plugins = weir_plan::Registry::default();
    weir_schedule::register(&mut plugins);
    let config = EndpointPickerConfig::parse(PLAN).unwrap().value;
    let plan = Arc::new(compile(&config, &plugins, CompileOptions::default()).unwrap());
    let metrics = RouterMetrics::register(registry);
    let shared = Shared::new(Clock::default(), DecisionLog::new(DecisionLogConfig::default()), metrics);
    let runtime = PoolRuntime::new(pool, plan, Vec::new(), Duration::from_secs(2), &shared);
    Arc::new(Router::new(vec![runtime], shared))
}
