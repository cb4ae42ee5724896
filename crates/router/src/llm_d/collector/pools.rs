//! What is known of each pool's endpoints together.

use std::{fmt, sync::Arc};

use super::{Families, LabelSet, NEW, POOL, Rows, both, with};
use crate::{PoolRuntime, Router};

/// Averages and spreads over the endpoints of each pool whose numbers are fresh.
pub(super) fn write(router: &Router, families: &mut Families<'_, '_>, legacy: bool) -> fmt::Result {
    let now = router.now();
    let mut gauges: [Rows<f64>; 7] = Default::default();
    let mut queues: [Rows<f64>; 2] = Default::default();
    for runtime in router.pools() {
        let name = runtime.pool.name();
        let labels: LabelSet = vec![("name", name.to_owned())];
        let snapshot = runtime.pool.load();
        let states = snapshot.endpoints.iter().map(|endpoint| (endpoint, endpoint.state(now, runtime.stale_after)));
        let fresh: Vec<_> = states.filter(|(_, state)| !state.stale).collect();
        let spread = |read: fn(&weir_pool::EndpointState) -> f64| mean_and_deviation(fresh.iter().map(|(_, state)| read(state)));
        let (kv, queue, running) =
            (spread(|one| one.kv_usage), spread(|one| f64::from(one.waiting)), spread(|one| f64::from(one.running)));
        let values = [kv.0, queue.0, running.0, kv.1, queue.1, running.1, ready(runtime, router) as f64];
        for (rows, value) in gauges.iter_mut().zip(values) {
            rows.push((labels.clone(), value));
        }
        for (rows, label) in queues.iter_mut().zip(["model_server_endpoint", "model_server_pod"]) {
            let row = |(endpoint, state): &(&Arc<weir_pool::Endpoint>, weir_pool::EndpointState)| {
                (with(labels.clone(), label, &endpoint.spec().name), f64::from(state.waiting))
            };
            rows.extend(fresh.iter().map(row));
        }
    }
    let [kv, queue, running, kv_spread, queue_spread, running_spread, ready] = gauges;
    for (name, help, rows) in [
        ("average_kv_cache_utilization", "Used share of KV caches, averaged over a pool's endpoints", &kv),
        ("average_queue_size", "Requests in engines' queues, averaged over a pool's endpoints", &queue),
        ("average_running_requests", "Requests in engines' batches, averaged over a pool's endpoints", &running),
    ] {
        both(legacy, POOL, name, |name| families.gauge(name, help, rows))?;
    }
    for (name, help, rows) in [
        ("std_dev_kv_cache_utilization", "Standard deviation of the used share of KV caches", &kv_spread),
        ("std_dev_queue_size", "Standard deviation of engines' queues", &queue_spread),
        ("std_dev_running_requests", "Standard deviation of engines' batches", &running_spread),
    ] {
        families.gauge(&format!("{NEW}{name}"), help, rows)?;
    }
    let help = "Endpoints that may be given requests";
    families.gauge(&format!("{NEW}ready_endpoints"), help, &ready)?;
    let [by_endpoint, by_pod] = queues;
    families.gauge(&format!("{NEW}per_endpoint_queue_size"), "Requests in an engine's queue", &by_endpoint)?;
    if legacy {
        families.gauge(&format!("{POOL}ready_pods"), help, &ready)?;
        families.gauge(&format!("{POOL}per_pod_queue_size"), "Requests in an engine's queue", &by_pod)?;
    }
    Ok(())
}

fn ready(runtime: &PoolRuntime, router: &Router) -> usize {
    let now = router.now();
    let snapshot = runtime.pool.load();
    let ready =
        |one: &&Arc<weir_pool::Endpoint>| one.health.readiness() == weir_pool::Readiness::Ready && one.health.may_serve(now);
    snapshot.endpoints.iter().filter(ready).count()
}

/// The deviation is that of a sample (n − 1), to two places, as in llm-d; zeros without values.
pub(super) fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count();
    if count == 0 {
        return (0.0, 0.0);
    }
    let mean = values.clone().sum::<f64>() / count as f64;
    if count == 1 {
        return (mean, 0.0);
    }
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
    (mean, (variance.sqrt() * 100.0).round() / 100.0)
}
