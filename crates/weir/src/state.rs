//! What the router knows, as JSON and as metrics.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use serde_json::{Value, json};
use weir_engine_metrics::{ScrapeTotals, Scraper};
use weir_pool::{BreakerState, Endpoint, ListedModel, Readiness, Time};
use weir_router::{PoolRuntime, Router};

use crate::{logging::Logging, reload::ReloadStatus};

/// `/debug/state`.
pub(crate) fn describe(router: &Router, reloads: &ReloadStatus) -> Value {
    let now = router.now();
    let (used, limit) = router.shared().decisions.used_bytes();
    let pools: Vec<Value> = router.pools().iter().map(|runtime| pool(runtime, now)).collect();
    json!({
        "pools": pools,
        "models": router.model_names().into_iter().map(|(model, pool)| json!({"model": model, "pool": pool})).collect::<Vec<_>>(),
        "decisionLog": {"usedBytes": used, "limitBytes": limit},
        "reload": reloads.describe(),
    })
}

fn pool(runtime: &PoolRuntime, now: Time) -> Value {
    let snapshot = runtime.pool.snapshot();
    let endpoints: Vec<Value> = snapshot.endpoints.iter().map(|one| endpoint(one, runtime, now)).collect();
    json!({"name": runtime.pool.name(), "generation": snapshot.generation, "endpoints": endpoints})
}

fn endpoint(one: &Endpoint, runtime: &PoolRuntime, now: Time) -> Value {
    let state = one.state(now, runtime.stale_after);
    json!({
        "id": one.id(),
        "url": one.spec().url.to_string(),
        "addresses": one.addresses().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "labels": one.spec().labels,
        "models": *one.models(),
        "modelList": listing(one),
        "numbers": one.numbers.list().iter().map(|(name, number)| (name.to_string(), json!(number))).collect::<serde_json::Map<_, _>>(),
        "readiness": readiness(one.health.readiness()),
        "draining": one.health.is_draining(),
        "circuit": circuit(one.health.breaker.state(now)),
        "waiting": state.waiting,
        "running": state.running,
        "kvUsage": state.kv_usage,
        "blockSizeTokens": one.engine.block_size_tokens(),
        "numBlocks": one.engine.num_blocks(),
        "metricsAgeMs": state.age.map(|age| age.as_millis() as u64),
        "stale": state.stale,
        "inflightRequests": one.ledger.requests(),
        "foreignRequests": one.engine.foreign_requests(),
        "inflightTokens": one.ledger.tokens(),
        "totalRequests": one.ledger.total_requests(),
    })
}

/// What `models-data-extractor` keeps.
fn listing(one: &Endpoint) -> Vec<Value> {
    let model = |one: &ListedModel| json!({"id": one.id, "object": one.object, "created": one.created, "ownedBy": one.owned_by, "parent": one.parent});
    one.listing().iter().map(model).collect()
}

/// `/debug/plugins/state`, in llm-d's format. With several pools a plugin is named after its pool too.
pub(crate) fn plugins(router: &Router, now: SystemTime) -> Value {
    let several = router.pools().len() > 1;
    let mut plugins = serde_json::Map::new();
    for runtime in router.pools() {
        for one in &runtime.plan.effective.plugins {
            let name = if several { format!("{}/{}", runtime.pool.name(), one.name) } else { one.name.clone() };
            let memory = runtime.plan.producers.iter().find(|producer| producer.name == one.name);
            let described = match memory.and_then(|producer| producer.plugin.memory()) {
                Some((used, limit)) => {
                    json!({"name": one.name, "type": one.kind, "state": {"usedBytes": used, "limitBytes": limit}})
                }
                None => {
                    json!({"name": one.name, "type": one.kind, "message": "plugin does not support state collection"})
                }
            };
            plugins.insert(name, described);
        }
    }
    json!({"timestamp": rfc3339(now), "plugins": plugins})
}

/// A time as `2026-08-01T12:00:00.000000000Z`.
fn rfc3339(time: SystemTime) -> String {
    format!("{:.9}", jiff::Timestamp::try_from(time).unwrap_or_default())
}

fn readiness(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Unknown => "unknown",
        Readiness::Ready => "ready",
        Readiness::NotReady => "not ready",
    }
}

fn circuit(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half open",
    }
}

/// Reads endpoints' numbers when metrics are asked for, so that nothing is counted twice and nothing outlives its endpoint.
pub(crate) struct EndpointCollector {
    pub(crate) router: Arc<dyn Fn() -> Arc<Router> + Send + Sync>,
    pub(crate) scraper: Scraper,
    pub(crate) logging: Arc<Logging>,
    /// Whether names of before are written too.
    pub(crate) legacy_names: Arc<AtomicBool>,
}

/// Counts reloads.
#[derive(Debug)]
pub(crate) struct ReloadCollector {
    pub(crate) reloads: Arc<ReloadStatus>,
}

impl Collector for ReloadCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (applied, refused) = self.reloads.counts();
        let mut family =
            encoder.encode_descriptor("weir_reloads", "Reloads of the configuration, by outcome", None, MetricType::Counter)?;
        for (outcome, count) in [("applied", applied), ("refused", refused)] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for EndpointCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointCollector")
    }
}

type Total = fn(&ScrapeTotals) -> u64;
type Read = fn(&Endpoint, &PoolRuntime, Time) -> f64;

const PER_ENDPOINT: [(&str, &str, Read); 8] = [
    ("weir_endpoint_ready", "1 if the endpoint may be given requests", |one, _, now| {
        f64::from(u8::from(one.health.readiness() == Readiness::Ready && one.health.may_serve(now)))
    }),
    ("weir_endpoint_circuit_open", "1 while the endpoint's circuit is open or half open", |one, _, now| {
        f64::from(u8::from(one.health.breaker.state(now) != BreakerState::Closed))
    }),
    ("weir_endpoint_inflight_requests", "Requests of this router in flight", |one, _, _| one.ledger.requests() as f64),
    ("weir_endpoint_inflight_tokens", "Tokens of this router in flight", |one, _, _| one.ledger.tokens() as f64),
    ("weir_endpoint_queue_size", "Requests waiting in the engine", |one, _, _| f64::from(one.engine.waiting())),
    ("weir_endpoint_running_requests", "Requests running in the engine", |one, _, _| f64::from(one.engine.running())),
    ("weir_endpoint_kv_cache_usage_ratio", "Used share of the engine's KV cache", |one, _, _| one.engine.kv_usage()),
    ("weir_endpoint_metrics_age_seconds", "Age of the engine's numbers; -1 if never fetched", |one, runtime, now| {
        one.state(now, runtime.stale_after).age.map_or(-1.0, |age| age.as_secs_f64())
    }),
];

impl EndpointCollector {
    /// llm-d's counters of what went wrong with sources.
    fn data_layer(&self, encoder: &mut DescriptorEncoder<'_>, totals: &[ScrapeTotals]) -> fmt::Result {
        let mut polls: BTreeMap<&str, u64> = BTreeMap::new();
        let mut pages: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for one in totals {
            *polls.entry(one.source).or_default() += one.errors;
            for extractor in &one.extractors {
                *pages.entry((one.source, extractor)).or_default() += one.incomplete;
            }
        }
        let prefixes = ["llm_d_epp_", "llm_d_inference_scheduler_"];
        let wanted = if self.legacy_names.load(Relaxed) { 2 } else { 1 };
        for prefix in &prefixes[..wanted] {
            let name = format!("{prefix}datalayer_poll_errors");
            let mut family =
                encoder.encode_descriptor(&name, "[ALPHA] Polls of a source that failed", None, MetricType::Counter)?;
            for (source, count) in &polls {
                ConstCounter::new(*count).encode(family.encode_family(&[("source_type", *source)])?)?;
            }
            let name = format!("{prefix}datalayer_extract_errors");
            let help = "[ALPHA] Pages that lacked something that an extractor looks for";
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for ((source, extractor), count) in &pages {
                let labels = [("source_type", *source), ("extractor_type", *extractor)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for EndpointCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let router = (self.router)();
        let now = router.now();
        let snapshots: Vec<_> = router.pools().iter().map(|runtime| (runtime, runtime.pool.snapshot())).collect();
        for (name, help, read) in PER_ENDPOINT {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (runtime, snapshot) in &snapshots {
                for one in &snapshot.endpoints {
                    let labels = [("pool", runtime.pool.name()), ("endpoint", one.id())];
                    ConstGauge::new(read(one, runtime, now)).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let mut ready = encoder.encode_descriptor(
            "weir_pool_ready_endpoints",
            "Endpoints that may be given requests",
            None,
            MetricType::Gauge,
        )?;
        for status in router.status() {
            ConstGauge::new(status.ready as f64).encode(ready.encode_family(&[("pool", status.name.as_str())])?)?;
        }
        let totals = self.scraper.totals();
        let per_pool: [(&str, &str, Total); 3] = [
            ("weir_scrapes", "Scrapes and probes of endpoints", |one| one.scrapes),
            ("weir_scrape_errors", "Scrapes and probes without a usable answer", |one| one.errors),
            ("weir_scrape_bytes", "Bytes of scraped pages", |one| one.bytes),
        ];
        for (name, help, read) in per_pool {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            // The sources of a pool stand together.
            for sources in totals.chunk_by(|one, next| one.pool == next.pool) {
                let Some(first) = sources.first() else { continue };
                let sum: u64 = sources.iter().map(read).sum();
                ConstCounter::new(sum).encode(family.encode_family(&[("pool", first.pool.as_str())])?)?;
            }
        }
        self.data_layer(&mut encoder, &totals)?;
        let lines = encoder.encode_descriptor(
            "weir_log_lines_dropped",
            "Log lines that nobody read in time",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.logging.dropped_lines()).encode(lines)?;
        let memory: Vec<_> = router
            .pools()
            .iter()
            .flat_map(|runtime| runtime.plan.producers.iter().map(move |one| (runtime.pool.name(), one)))
            .filter_map(|(pool, one)| Some(([("pool", pool), ("producer", one.name.as_str())], one.plugin.memory()?)))
            .collect();
        for (name, help, limit) in [
            ("weir_producer_used_bytes", "Bytes that a data producer holds", false),
            ("weir_producer_limit_bytes", "Most bytes that a data producer may hold", true),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, (used, most)) in &memory {
                ConstGauge::new(if limit { *most } else { *used } as f64).encode(family.encode_family(labels)?)?;
            }
        }
        let (used, limit) = router.shared().decisions.used_bytes();
        for (name, help, value) in [
            ("weir_decision_log_used_bytes", "Bytes held by the log of decisions", used),
            ("weir_decision_log_limit_bytes", "Most bytes that the log of decisions may hold", limit),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as f64).encode(gauge)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_everybody_does() {
        let text = rfc3339(SystemTime::UNIX_EPOCH + Duration::new(1_785_585_600, 7));
        assert_eq!(text, "2026-08-01T12:00:00.000000007Z");
    }
}
