//! A decision as people and tools read it.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::{DecisionLog, decisions::Record};

impl DecisionLog {
    /// The decisions for a request, oldest first: one per attempt. Empty if none is kept any more.
    pub fn explain(&self, id: &str) -> Vec<Explained> {
        let mut found = Vec::new();
        self.for_each(|record| {
            if Self::is_of(record, id) {
                found.extend(explained(record));
            }
        });
        found.sort_by_key(|one| one.attempt);
        found
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The request's id.
    pub id: String,
    /// When it was decided, milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// The pool.
    pub pool: String,
    /// The profile whose target got the request.
    pub profile: String,
    /// 1 for the first try, then one more for each retry.
    pub attempt: u32,
    /// Microseconds that the request waited to be scheduled.
    pub queue_us: u64,
    /// Microseconds from the end of the body to the decision.
    pub decision_us: u32,
    /// Endpoints that the pool knew.
    pub known: u32,
    /// Endpoints that were scored; the list below holds the best of them.
    pub scored: u32,
    /// Tokens of the prompt, exact or estimated.
    pub prompt_tokens: Option<u64>,
    /// Blocks of the prompt, and tokens in a block; 0 if nobody looked.
    pub prompt_blocks: u32,
    /// Tokens in a block.
    pub block_size_tokens: u32,
    /// Its priority.
    #[serde(default)]
    pub priority: i32,
    /// The objective that gave the priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// The model that was served instead of the one that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// The rewrite and its rule that chose that model; absent if the client did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite_rule: Option<String>,
    /// Scorers in order.
    pub scorers: Vec<ExplainedScorer>,
    /// Best first.
    pub candidates: Vec<ExplainedCandidate>,
    /// How the request ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ExplainedOutcome>,
}

/// A scorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedScorer {
    /// The instance's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its weight.
    pub weight: f64,
}

/// A candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedCandidate {
    /// `namespace/name`.
    pub endpoint: String,
    /// `host:port`.
    pub address: String,
    /// Sum of score times weight.
    pub total: f64,
    /// Scores in the order of the scorers, each in 0..=1.
    pub scores: Vec<f64>,
    /// It got the request.
    pub chosen: bool,
    /// It had the highest total of those that did not get it.
    pub runner_up: bool,
    /// Requests in the engine's queue.
    pub waiting: u32,
    /// Requests in the engine's batch.
    pub running: u32,
    /// Used share of the KV cache.
    pub kv_usage: f64,
    /// Age of the engine's numbers in milliseconds; absent if it was never scraped.
    pub age_ms: Option<u64>,
    /// They were too old to be trusted.
    pub stale: bool,
    /// Requests in flight.
    pub inflight_requests: u64,
    /// Tokens in flight.
    pub inflight_tokens: u64,
    /// Leading blocks of the prompt that it holds.
    pub matched_blocks: u32,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedOutcome {
    /// Status that the client got; 0 if it left before.
    pub status: u16,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Microseconds from the decision to the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// Microseconds from the decision to the end.
    pub total_us: u64,
}

fn explained(record: &Record) -> Option<Explained> {
    let context = record.context.as_ref()?;
    let profile = context.plan.profiles.get(record.profile as usize)?;
    let count = record.candidates.len();
    let runner_up = record.candidates.iter().find(|one| one.index != record.chosen).map(|one| one.index);
    let candidates = record
        .candidates
        .iter()
        .enumerate()
        .filter_map(|(place, one)| {
            let endpoint = context.snapshot.endpoints.get(one.index as usize)?;
            Some(ExplainedCandidate {
                endpoint: endpoint.id().to_owned(),
                address: endpoint.authority().to_owned(),
                total: one.total,
                scores: (0..profile.scorers.len()).filter_map(|s| record.scores.get(s * count + place).copied()).collect(),
                chosen: one.index == record.chosen,
                runner_up: Some(one.index) == runner_up,
                waiting: one.state.waiting,
                running: one.state.running,
                kv_usage: one.state.kv_usage,
                age_ms: one.state.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                stale: one.state.stale,
                inflight_requests: one.state.inflight_requests,
                inflight_tokens: one.state.inflight_tokens,
                matched_blocks: one.matched_blocks,
            })
        })
        .collect();
    Some(Explained {
        id: String::from_utf8_lossy(record.id()).into_owned(),
        at_unix_ms: record
            .at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        pool: context.pool.to_string(),
        profile: profile.name.clone(),
        attempt: record.attempt,
        queue_us: 0,
        decision_us: record.decision_us,
        known: record.known,
        scored: record.candidates_seen,
        prompt_tokens: record.prompt_tokens,
        prompt_blocks: record.total_blocks,
        block_size_tokens: record.block_size_tokens,
        priority: record.priority,
        objective: record.objective.as_deref().map(str::to_owned),
        served_model: record.served.as_deref().map(str::to_owned),
        rewrite_rule: record.rule.as_deref().map(str::to_owned),
        scorers: profile
            .scorers
            .iter()
            .map(|one| ExplainedScorer { name: one.scorer.name.clone(), kind: one.scorer.kind.to_owned(), weight: one.weight })
            .collect(),
        candidates,
        outcome: record.outcome.map(|outcome| ExplainedOutcome {
            status: outcome.status,
            reason: outcome.reason.map(str::to_owned),
            first_byte_us: outcome.first_byte_us,
            total_us: outcome.total_us,
        }),
    })
}
