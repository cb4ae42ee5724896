//! A decision on paper: endpoints with their numbers, a request, and what a configuration makes of them.
//!
//! A [`Case`] is written in YAML or JSON. [`Case::run`] puts its endpoints into a pool, and its request through the same
//! [`Router`](crate::Router) that serves traffic, with a clock that stands still and a seeded generator; no socket is opened.
//! Filters, scorers and pickers are watched from outside, so nothing of this is on the way of real requests.

mod attributes;
mod expect;
mod run;
mod watch;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::{Diagnostics, EndpointPickerConfig, Params, Spanned, Standing, yaml};

use crate::ExplainedScorer;

/// A decision on paper: endpoints with their numbers, a request, and what a configuration makes of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(title = "State", rename = "State")]
pub struct Case {
    /// What it shows, for the reader.
    pub description: Option<String>,
    /// How to schedule; `--config` wins. Without either: llm-d's built-in configuration.
    pub config: Option<EndpointPickerConfig>,
    /// What ties and draws come from. Default 7.
    pub seed: u64,
    /// Age in milliseconds from which engine metrics count as stale. Default 2000.
    pub stale_after_ms: u64,
    /// The endpoints, in the order in which plugins see them.
    pub endpoints: Vec<CaseEndpoint>,
    /// Requests that were routed before, oldest first: what plugins have learned.
    pub before: Vec<EarlierRequest>,
    /// The request.
    pub request: CaseRequest,
    /// What must come out; if anything else does, the command fails.
    pub expect: Option<Expectation>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            description: None,
            config: None,
            seed: 7,
            stale_after_ms: 2_000,
            endpoints: Vec::new(),
            before: Vec::new(),
            request: CaseRequest::default(),
            expect: None,
        }
    }
}

/// An endpoint and what is known of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseEndpoint {
    /// Name, unique with the namespace.
    pub name: Spanned<String>,
    /// Namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// `http(s)://host:port`. Default: `http://10.0.0.N:8000`, N its place from 1.
    #[serde(default)]
    pub url: Option<Spanned<String>>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Models and adapters that it lists. Default: unknown, so that it takes any.
    #[serde(default)]
    pub models: Vec<String>,
    /// Whether it may be given requests. Default true.
    #[serde(default = "yes")]
    pub ready: bool,
    /// What its metrics page said. Default: it was never scraped.
    #[serde(default)]
    pub metrics: Option<CaseMetrics>,
    /// What this router has in flight there.
    #[serde(default)]
    pub in_flight: CaseInFlight,
    /// Numbers by name: custom metrics, as `Rate/core-metrics-extractor`, and what other sources bring.
    #[serde(default)]
    pub numbers: BTreeMap<String, f64>,
    /// What producers would find, by `dataType/producerName`; it replaces what they do find.
    #[serde(default)]
    pub attributes: BTreeMap<String, Params>,
}

fn default_namespace() -> String {
    weir_api::DEFAULT_NAMESPACE.to_owned()
}

fn yes() -> bool {
    true
}

/// What a metrics page said; what is left out, the page did not say.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseMetrics {
    /// Requests in the queue.
    pub waiting: Option<u32>,
    /// Requests in the batch.
    pub running: Option<u32>,
    /// Used share of the KV cache, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Tokens in one KV-cache block.
    pub block_size_tokens: Option<u32>,
    /// Blocks of the whole KV cache.
    pub num_blocks: Option<u32>,
    /// Adapters.
    pub lora: Option<CaseLora>,
    /// How long ago it was fetched, in milliseconds. Default 0.
    pub age_ms: u64,
}

/// Adapters on one engine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseLora {
    /// Adapters that run.
    pub active: Vec<String>,
    /// Adapters that requests wait for.
    pub waiting: Vec<String>,
    /// How many may be active at once.
    pub max: u32,
}

/// What is in flight.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseInFlight {
    /// Requests; at least 1 if there are tokens, at most 100,000.
    pub requests: u32,
    /// Tokens.
    pub tokens: u64,
}

/// A request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseRequest {
    /// Its id. Default `case`.
    pub id: Option<String>,
    /// Path that it is posted to. Default: `/v1/chat/completions` if the body has `messages`, `/v1/completions` if it has not;
    /// without a body, a path that is not parsed.
    pub path: Option<String>,
    /// Headers.
    pub headers: BTreeMap<String, Spanned<String>>,
    /// Its priority: what its objective says. Default 0.
    pub priority: i32,
    /// The body: JSON, or a text that is taken as it is.
    pub body: Option<serde_json::Value>,
}

/// A request that was routed before.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EarlierRequest {
    /// How long ago, in milliseconds. Default 1.
    pub ago_ms: Option<u64>,
    /// Name of the endpoint that every profile chose for it. Default: what the configuration chooses.
    pub to: Option<Spanned<String>>,
    /// Names of the endpoints that single profiles chose.
    pub to_by_profile: BTreeMap<String, Spanned<String>>,
    /// The request.
    pub request: CaseRequest,
}

/// What must come out. Endpoints are named by name, or by `namespace/name`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Expectation {
    /// The endpoint that gets the request.
    pub picked: Option<Spanned<String>>,
    /// The reason for which the request is refused.
    pub refused: Option<Spanned<String>>,
    /// What filters leave, by the name of the filter (or `profile/filter`).
    pub kept: BTreeMap<String, Vec<String>>,
    /// What scorers give, by the name of the scorer (or `profile/scorer`), then by endpoint: clamped, without weight.
    pub scores: BTreeMap<String, BTreeMap<String, f64>>,
    /// Targets of profiles, best first.
    pub targets: BTreeMap<String, Vec<String>>,
    /// Headers that plugins set on the request.
    pub request_headers: BTreeMap<String, String>,
    /// Headers of the response.
    pub response_headers: BTreeMap<String, String>,
    /// How far a score may be off. Default 0.000001.
    pub tolerance: f64,
}

impl Default for Expectation {
    fn default() -> Self {
        Self {
            picked: None,
            refused: None,
            kept: BTreeMap::new(),
            scores: BTreeMap::new(),
            targets: BTreeMap::new(),
            request_headers: BTreeMap::new(),
            response_headers: BTreeMap::new(),
            tolerance: 1e-6,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// `namespace/name` of the endpoint that gets the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picked: Option<String>,
    /// The profile that chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Why nobody gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Tokens of the prompt, exact or estimated; absent if nobody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Profiles of the plan, in order.
    pub profiles: Vec<ProfileVerdict>,
    /// Headers that plugins set on the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_headers: BTreeMap<String, String>,
    /// Port that plugins put in the place of the endpoint's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_port: Option<u16>,
    /// Headers that plugins add to the response.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub response_headers: BTreeMap<String, String>,
    /// What is not as [`Expectation`] says; empty if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
}

/// A refusal.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Status that the client gets.
    pub status: u16,
    /// Stable reason.
    pub reason: &'static str,
    /// For the client.
    pub message: String,
}

/// What one profile did.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileVerdict {
    /// Its name.
    pub name: String,
    /// Whether the handler ran it.
    pub ran: bool,
    /// Filters, in order, as far as they ran.
    pub filters: Vec<FilterVerdict>,
    /// Scorers, in order.
    pub scorers: Vec<ExplainedScorer>,
    /// What the filters left, best first.
    pub candidates: Vec<CandidateVerdict>,
    /// What the picker chose, best first.
    pub targets: Vec<String>,
}

/// What one filter did.
#[derive(Clone, Debug, Serialize)]
pub struct FilterVerdict {
    /// The instance's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Endpoints that it kept.
    pub kept: Vec<String>,
    /// Endpoints that it removed.
    pub removed: Vec<String>,
}

/// What one endpoint got.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateVerdict {
    /// `namespace/name`.
    pub endpoint: String,
    /// Sum of score times weight.
    pub total: f64,
    /// Scores in the order of the scorers, each in 0..=1.
    pub scores: Vec<f64>,
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        let node = yaml::parse(text)?;
        let (case, mut found) = yaml::decode::<Self>(&node, "", yaml::Case::Sensitive);
        let Some(mut case) = case.filter(|_| !found.has_errors()) else { return Err(found) };
        if let Some(config) = node.get("config").filter(|_| case.config.is_some()) {
            match EndpointPickerConfig::from_node(config, "config", Standing::Inside) {
                Ok(checked) => case.config = Some(checked.value),
                Err(more) => found.extend(more),
            }
        }
        found.into_result()?;
        Ok(case)
    }

    /// The JSON Schema of the file.
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }
}

#[cfg(test)]
mod tests;
