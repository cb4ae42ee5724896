//! What the router counts. Handles are resolved when a pool is built, never per request.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::llm_d::{PinnedNames, Sampling};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabel {
    pool: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    pool: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    pool: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PriorityLabels {
    pool: String,
    priority: i32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RewriteLabels {
    model_rewrite_name: String,
    model_name: String,
    target_model: String,
}

type Histograms = Family<PoolLabel, Histogram, fn() -> Histogram>;

const DECISION_SECONDS: [f64; 12] = [2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2];
const REQUEST_SECONDS: [f64; 20] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 60.0, 300.0, 900.0];

/// Families of metrics, registered once per process.
#[derive(Clone, Debug)]
pub struct RouterMetrics {
    requests: Family<OutcomeLabels, Counter>,
    failures: Family<ReasonLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    retries: Family<PoolLabel, Counter>,
    decision: Histograms,
    first_byte: Histograms,
    duration: Histograms,
    prompt_tokens: Family<PoolLabel, Counter>,
    prefix_blocks: Family<PoolLabel, Counter>,
    prefix_blocks_matched: Family<PoolLabel, Counter>,
    priorities: Family<PriorityLabels, Counter>,
    /// Written by the collector of llm-d's families.
    pub(crate) rewrites: Family<RewriteLabels, Counter>,
    /// Models of rules.
    pub(crate) pinned: Arc<PinnedNames>,
}

/// One pool's handles.
#[derive(Clone, Debug)]
pub(crate) struct PoolMetrics {
    name: String,
    families: RouterMetrics,
    pub(crate) complete: Counter,
    pub(crate) client_gone: Counter,
    pub(crate) failed: Counter,
    pub(crate) retries: Counter,
    pub(crate) decision: Histogram,
    pub(crate) first_byte: Histogram,
    pub(crate) duration: Histogram,
    pub(crate) prompt_tokens: Counter,
    pub(crate) prefix_blocks: Counter,
    pub(crate) prefix_blocks_matched: Counter,
    /// Which decisions, and which heads of responses, have their plugins timed.
    pub(crate) timed_decisions: Arc<Sampling>,
    pub(crate) timed_responses: Arc<Sampling>,
}

impl RouterMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        fn histograms(buckets: fn() -> Histogram) -> Histograms {
            Family::new_with_constructor(buckets)
        }
        let metrics = Self {
            requests: Family::default(),
            failures: Family::default(),
            refused: Family::default(),
            retries: Family::default(),
            decision: histograms(|| Histogram::new(DECISION_SECONDS)),
            first_byte: histograms(|| Histogram::new(REQUEST_SECONDS)),
            duration: histograms(|| Histogram::new(REQUEST_SECONDS)),
            prompt_tokens: Family::default(),
            prefix_blocks: Family::default(),
            prefix_blocks_matched: Family::default(),
            priorities: Family::default(),
            rewrites: Family::default(),
            pinned: Arc::default(),
        };
        registry.register("weir_requests", "Requests that were given an endpoint, by how they ended", metrics.requests.clone());
        registry.register(
            "weir_request_failures",
            "Requests that were given an endpoint and failed, by reason",
            metrics.failures.clone(),
        );
        registry.register("weir_requests_refused", "Requests that were given no endpoint, by reason", metrics.refused.clone());
        registry.register("weir_retries", "Requests that were sent to another endpoint", metrics.retries.clone());
        registry.register(
            "weir_decision_seconds",
            "Time from the end of a request's body to its endpoint",
            metrics.decision.clone(),
        );
        registry.register(
            "weir_first_byte_seconds",
            "Time from the decision to the first byte of the response",
            metrics.first_byte.clone(),
        );
        registry.register("weir_request_duration_seconds", "Time from the decision to the end", metrics.duration.clone());
        registry.register("weir_prompt_tokens", "Tokens of prompts, exact or estimated", metrics.prompt_tokens.clone());
        registry.register("weir_prefix_blocks", "Blocks of prompts that were looked up", metrics.prefix_blocks.clone());
        registry.register(
            "weir_prefix_blocks_matched",
            "Leading blocks that the chosen endpoint was believed to hold",
            metrics.prefix_blocks_matched.clone(),
        );
        registry.register(
            "weir_requests_by_priority",
            "Requests that were given an endpoint, by the priority of their objective",
            metrics.priorities.clone(),
        );
        Arc::new(metrics)
    }

    /// A request that no pool took.
    pub(crate) fn refused(&self, pool: &str, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { pool: pool.to_owned(), reason }).inc();
    }

    pub(crate) fn priority(&self, pool: &str, priority: i32) -> Counter {
        self.priorities.get_or_create_owned(&PriorityLabels { pool: pool.to_owned(), priority })
    }

    pub(crate) fn rewrite(&self, object: &str, model: &str, target: &str) -> Counter {
        self.rewrites.get_or_create_owned(&RewriteLabels {
            model_rewrite_name: object.to_owned(),
            model_name: model.to_owned(),
            target_model: target.to_owned(),
        })
    }

    pub(crate) fn pool(&self, name: &str) -> PoolMetrics {
        let label = PoolLabel { pool: name.to_owned() };
        let outcome = |outcome| self.requests.get_or_create_owned(&OutcomeLabels { pool: name.to_owned(), outcome });
        PoolMetrics {
            name: name.to_owned(),
            families: self.clone(),
            complete: outcome("complete"),
            client_gone: outcome("client_gone"),
            failed: outcome("failed"),
            retries: self.retries.get_or_create_owned(&label),
            decision: self.decision.get_or_create_owned(&label),
            first_byte: self.first_byte.get_or_create_owned(&label),
            duration: self.duration.get_or_create_owned(&label),
            prompt_tokens: self.prompt_tokens.get_or_create_owned(&label),
            prefix_blocks: self.prefix_blocks.get_or_create_owned(&label),
            prefix_blocks_matched: self.prefix_blocks_matched.get_or_create_owned(&label),
            timed_decisions: Arc::default(),
            timed_responses: Arc::default(),
        }
    }
}

impl PoolMetrics {
    /// Counts a failure by its reason; rare, so the lookup is worth it.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.failed.inc();
        self.families.failures.get_or_create(&ReasonLabels { pool: self.name.clone(), reason }).inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.families.refused(&self.name, reason);
    }
}
